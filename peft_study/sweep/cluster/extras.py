"""Checks that an optional part of this package is installed."""

from importlib.util import find_spec

from peft_study.errors import UserError


def require(module: str, extra: str) -> None:
    """Check that a library of an optional part can be imported.

    Args:
        module: the library's name in Python.
        extra: the optional part of pyproject.toml, and the launcher's name.

    Raises:
        UserError: the library is not installed.
    """
    if find_spec(module) is None:
        raise UserError(
            f"hydra/launcher={extra} needs the library {module}, which is not installed",
            where=f"hydra/launcher={extra}",
            hint=f"pip install --constraint constraints.txt --editable '.[{extra}]'",
        )
