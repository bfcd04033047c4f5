"""From a config node with `_target_` to an object: the only module that imports what a config names."""

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from peft_study.config.adapters import ADAPTER_TARGET
from peft_study.errors import UserError, near_names

_TARGET = "method.adapter._target_"


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
