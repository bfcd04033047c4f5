"""The names in a syntax tree."""

import ast
from collections.abc import Iterable, Iterator


def last_name(node: ast.expr) -> str:
    """Return the name of a variable or of the last attribute in a chain, "" for other expressions."""
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def names_in(node: ast.AST) -> set[str]:
    """Return all variable names below a node."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def loaded_names(node: ast.AST) -> Iterator[str]:
    """Yield the name that a node reads. An attribute's name follows a dot."""
    match node:
        case ast.Name(name, ast.Load()):
            yield name
        case ast.Attribute(_, name, ast.Load()):
            yield f".{name}"


def without_dots(names: Iterable[str]) -> set[str]:
    """Return names of variables and attributes in the same form."""
    return {name.removeprefix(".") for name in names}
