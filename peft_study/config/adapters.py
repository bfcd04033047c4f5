"""The adapter classes that a config may name. Importing peft for this would take seconds, so its text is read."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

ADAPTER_TARGET = re.compile(r"peft\.[A-Za-z0-9]+Config")


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
