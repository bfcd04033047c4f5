"""The adapter classes that a config may name. No other module imports what a config names."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from peft_study.errors import UserError, near_names

ADAPTER_TARGET = re.compile(r"peft\.[A-Za-z0-9]+Config")
_TARGET = "method.adapter._target_"


@cache
def adapter_targets() -> frozenset[str]:
    """The config classes that peft exports, read from the text of its `__init__.py`.

    Returns:
        names such as "peft.LoraConfig"; empty if the file does not list its names as a literal.
    """
    spec = importlib.util.find_spec("peft")
    if spec is None or spec.origin is None:
        return frozenset()
    # peft 0.21 lists them in `__all__`. Its import takes seconds, and a plan should start at once.
    for statement in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=elements)):
                names = (str(element.value) for element in elements if isinstance(element, ast.Constant))
                return frozenset(f"peft.{name}" for name in names if name.endswith("Config"))
    return frozenset()


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Call the config class that a node names with the node's other keys.

    Args:
        node: `_target_`, which must be a config class of peft, and its arguments.
        extra: arguments that the code decides; those that the class lacks are left out. A key of the node wins, so
            that a user can override them.

    Raises:
        UserError: a target outside the allow-list, an unknown argument, or a value that the class refuses.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or not ADAPTER_TARGET.fullmatch(target):
        what = f"_target_ must be a config class of peft, got {target!r}"
        raise UserError(what, where=_TARGET, hint="peft.LoraConfig, for example")
    module, _, name = target.rpartition(".")
    peft = importlib.import_module(module)
    class_names = [key for key in vars(peft) if key.endswith("Config")]
    cls = getattr(peft, name, None)
    if not (isinstance(cls, type) and issubclass(cls, peft.PeftConfig)):
        raise UserError(f"peft has no config class {name!r}", where=_TARGET, hint=near_names(name, class_names))
    # peft's classes raise a TypeError that names no setting of ours.
    accepted = {spec.name for spec in fields(cls) if spec.init}
    named = {key: value for key, value in node.items() if key != "_target_"}
    for key in named:
        if key not in accepted:
            what = f"{name} has no setting {key!r}"
            raise UserError(what, where=f"method.adapter.{key}", hint=near_names(key, accepted))
    arguments = {**{key: value for key, value in extra.items() if key in accepted}, **named}
    try:
        return cls(**arguments)
    except Exception as error:  # the class's checks raise many kinds, KeyError and AssertionError among them
        what = f"{name} does not take its settings: {error}"
        raise UserError(what, where="method.adapter", hint=f"see the documentation of {target}") from error
