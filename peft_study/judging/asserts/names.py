"""The names in a syntax tree."""

import ast
from collections.abc import Iterable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


def last_name(node: ast.expr) -> str:
    """Return the name of a variable or of the last attribute in a chain, "" for other expressions."""
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def names_in(node: ast.AST) -> set[str]:
    """Return all variable names below a node."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def stored_names(node: ast.AST) -> set[str]:
    """Return all variable names that are assigned below a node."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def imported_name(alias: ast.alias) -> str:
    """Return the name that an import binds: `a` for `import a.b`."""
    return alias.asname or alias.name.partition(".")[0]


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
