"""Whether tests can fail: which statements fail them, and which of those a run may reach."""

import ast
from collections.abc import Mapping, Set

from peft_study.judging.asserts.exits import Exits
from peft_study.judging.asserts.names import (
    DEFINITIONS,
    FUNCTIONS,
    last_name,
    loaded_names,
    names_in,
    stored_names,
    without_dots,
)

# Functions and attributes that find functions by name, or call them later. What they find cannot be read off the tests.
_LOOKUPS = frozenset(
    {"globals", "locals", "vars", "dir", "eval", "exec", "getattr", "__dict__", "__subclasses__", "getmembers"}
    | {"TestLoader", "defaultTestLoader", "testmod", "run_module", "run_path", "register", "__main__"}
)


def is_check(node: ast.AST) -> bool:
    """Return whether a node can fail a test by itself.

    Such nodes are an `assert`, a call such as `m.assert_called_once()` or `self.fail()`, a raised AssertionError, and a
    context that expects an exception (`pytest.raises`).
    """
    match node:
        case ast.Assert():
            return True
        case ast.Call(function):
            return last_name(function).startswith("assert") or last_name(function) in ("raises", "fail")
        case ast.Attribute(_, name, ast.Load()):
            return name.startswith("assert")  # may be bound to another name and called later
        case ast.Raise(ast.expr() as exception):
            return "AssertionError" in names_in(exception)
    return False


def may_fail(tree: ast.Module) -> bool:
    """Return whether a run of the tests may reach something that fails them: a check, an exception or an exit.

    A test function that nothing calls, and a `TestCase` that nothing runs, fail no program. If the tests look functions
    up by name, all functions count as called. A decorated function counts as called if the tests define the decorator.

    Args:
        tree: the tests.
    """
    exits = Exits(tree)
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    defined = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)} | stored_names(tree)
    waiting: list[ast.AST] = [tree]
    loaded: set[str] = set()
    functions: list[tuple[set[str], ast.stmt]] = []
    while waiting:
        node = waiting.pop()
        if _can_fail(node, exits):
            return True
        names = set(loaded_names(node))
        loaded |= names
        if _LOOKUPS & without_dots(names):
            return any(_can_fail(each, exits) for each in ast.walk(tree))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINITIONS) and _may_be_called_by_decorator(child, defined):
                loaded.add(child.name)
            # Decorators and defaults run with the definition, and the body only if something calls the function.
            if isinstance(child, FUNCTIONS):
                waiting += [part for part in ast.iter_child_nodes(child) if part not in child.body]
                functions += [(_callers(child, node), statement) for statement in child.body]
            elif not (isinstance(node, ast.ClassDef) and isinstance(child, ast.Name) and child in node.bases):
                waiting.append(child)
        # The body of a function is looked through once the tests load a name that may call it.
        if not waiting:
            loaded = _with_bases(loaded, bases) | {_subclass_of(name) for each in bases.values() for name in each}
            waiting = [statement for callers, statement in functions if callers & loaded]
            functions = [(callers, statement) for callers, statement in functions if not callers & loaded]
    return False


def _can_fail(node: ast.AST, exits: Exits) -> bool:
    if isinstance(node, ast.Raise) or is_check(node) or exits.may_fail(node):
        return True
    return isinstance(node, ast.Call) and last_name(node.func) == "exec"


def _callers(function: ast.FunctionDef | ast.AsyncFunctionDef, parent: ast.AST) -> set[str]:
    """Names whose use may call a function: its name, and the name of its class if it is a method."""
    if not isinstance(parent, ast.ClassDef):
        return {function.name}
    subclass = {_subclass_of(parent.name)} if function.name == "__init_subclass__" else set()
    return {function.name, parent.name} | subclass


def _subclass_of(name: str) -> str:
    """Stands among loaded names for the definition of a subclass."""
    return f"{name}()"


def _with_bases(loaded: set[str], bases: Mapping[str, Set[str]]) -> set[str]:
    """Add the base classes of loaded classes."""
    while more := {base for name in loaded for base in bases.get(name, ())} - loaded:
        loaded = loaded | more
    return loaded


def _may_be_called_by_decorator(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, defined: Set[str]) -> bool:
    """Whether a decorator is a lambda, or contains a name that the tests define."""
    return any(
        names_in(decorator) & defined or any(isinstance(part, ast.Lambda) for part in ast.walk(decorator))
        for decorator in node.decorator_list
    )
