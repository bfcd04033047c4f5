"""The names in a syntax tree."""

import ast
from collections.abc import Iterable, Iterator


def last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def loaded_names(node: ast.AST) -> Iterator[str]:
    """The name that a node reads; of an attribute, behind a dot."""
    match node:
        case ast.Name(name, ast.Load()):
            yield name
        case ast.Attribute(_, name, ast.Load()):
            yield f".{name}"


def without_dots(names: Iterable[str]) -> set[str]:
    return {name.removeprefix(".") for name in names}
