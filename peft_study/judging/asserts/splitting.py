"""Splits the tests of a problem into separate verdicts without changing their meaning."""

import ast
import builtins
import warnings
from collections.abc import Iterator, Sequence

from peft_study.judging.asserts.failing import is_check, may_fail
from peft_study.judging.asserts.names import DEFINITIONS, FUNCTIONS, imported_name, names_in, stored_names

_IMPORTS = (ast.Import, ast.ImportFrom)
# Built-in functions that can change or read what a later assertion sees.
_ACTING = frozenset(
    {"__import__", "delattr", "eval", "exec", "globals", "input", "locals", "next", "open", "setattr", "vars"}
)
_PURE = frozenset(dir(builtins)) - _ACTING


def split_assertions(tests: str) -> list[str]:
    """Split tests into sources that each give a verdict.

    An assertion in a new interpreter sees no effects of earlier ones. So tests are split (most of MBPP's are) only if
    all of the following holds. Other tests stay one source with one verdict:

    - Imports, functions and classes come first, and only assertions follow. No definition uses `global` or `nonlocal`,
      writes to an attribute or a member of what the tests define or import, or has a mutable default.
    - Every assertion calls the same function under test, whose name the tests neither define nor import. They use the
      name only in calls. The name may be that of a built-in function if the assertions use no other name (`sum`).
    - Other names in an assertion are built in (and neither read nor change a namespace, a file or an iterator),
      defined or imported by the tests, or variables of a comprehension or lambda. No assertion binds a name (`:=`).
    - No call of the function under test appears in two assertions that expect different results.

    A function that keeps state between calls starts from its first state at each assertion. Assertions in a function
    that the tests call always stay together.

    Args:
        tests: Python source.

    Returns:
        the sources, in order. Empty if no wrong program can fail the tests.

    Raises:
        ValueError: the source does not parse.
    """
    # Line ends as in Python's tokenizer, so that positions in the tree are positions in this text.
    tests = _without_warnings(tests.replace("\r\n", "\n").replace("\r", "\n"))
    tree = ast.parse(tests)
    if not may_fail(tree):
        return []
    checks = [any(map(is_check, ast.walk(statement))) for statement in tree.body]
    first = checks.index(True) if any(checks) else len(checks)
    setup, checking = tree.body[:first], tree.body[first:]
    assertions = [statement for statement in checking if isinstance(statement, ast.Assert)]
    if not assertions or len(assertions) < len(checking) or not _independent(setup, assertions):
        return [tests]
    # Not `ast.get_source_segment`, which splits the whole source for each assertion.
    lines = [line.encode() for line in tests.split("\n")]
    first_line = assertions[0].lineno
    before = _text_between(lines, (1, 0), (first_line, assertions[0].col_offset))
    # Empty lines before an assertion keep its line number, which reasons name.
    return [
        before + "\n" * (assertion.lineno - first_line) + _text_of(lines, assertion) + "\n" for assertion in assertions
    ]


def _without_warnings(tests: str) -> str:
    """Rewrite tests that Python warns of, for example because of an invalid escape sequence."""
    # They are compiled for every candidate, in several threads, and each time would warn.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            tree = ast.parse(tests)
            return ast.unparse(tree) + "\n" if caught else tests
        except SyntaxError as error:
            raise ValueError(f"the tests are not Python ({error.msg}, their line {error.lineno})") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the tests are not Python ({error or 'nested too deeply'})") from error


def _independent(setup: Sequence[ast.stmt], assertions: Sequence[ast.Assert]) -> bool:
    if not all(isinstance(statement, (*DEFINITIONS, *_IMPORTS)) for statement in setup):
        return False
    defined = {name for statement in setup for name in _names_bound(statement)}
    if any(_keeps_state(statement, defined) for statement in setup):
        return False
    name = _under_test(assertions, defined)
    if name is None:
        return False
    assertion_of_call: dict[str, str] = {}
    for assertion in assertions:
        if any(isinstance(node, ast.NamedExpr) for node in ast.walk(assertion)):
            return False
        calls = _only_calls(assertion.test, name)
        text = ast.dump(assertion.test)
        # A function that gives different results for the same call keeps state.
        if not calls or any(assertion_of_call.setdefault(call, text) != text for call in calls):
            return False
    return True


def _under_test(assertions: Sequence[ast.Assert], defined: set[str]) -> str | None:
    """The only name in the assertions that is neither defined nor built in, otherwise the only name (`sum`)."""
    names = set().union(*(_free_names(assertion.test) for assertion in assertions)) - defined
    candidates = names - _PURE or names
    return candidates.pop() if len(candidates) == 1 else None


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    """Names that an import or a definition binds."""
    if isinstance(statement, DEFINITIONS):
        yield statement.name
    elif isinstance(statement, _IMPORTS):
        yield from map(imported_name, statement.names)


def _keeps_state(definition: ast.stmt, defined: set[str]) -> bool:
    """Whether a definition may keep state between calls."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Global | ast.Nonlocal):
            return True
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            root = _root(node)  # a class keeps what a method writes to `cls`
            if not isinstance(root, ast.Name) or root.id in defined or root.id == "cls":
                return True
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            # A mutable default lives as long as its function.
            defaults = [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
            if not all(isinstance(default, ast.Constant | ast.Name | ast.UnaryOp) for default in defaults):
                return True
    return False


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def _free_names(expression: ast.expr) -> set[str]:
    """Names in an expression without those that it binds in a comprehension or lambda."""
    arguments = {node.arg for node in ast.walk(expression) if isinstance(node, ast.arg)}
    return names_in(expression) - stored_names(expression) - arguments


def _only_calls(expression: ast.expr, name: str) -> list[str] | None:
    """All calls of a function as text, None if its name appears outside a call."""
    nodes = list(ast.walk(expression))
    calls = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]
    mentions = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    return list(map(ast.dump, calls)) if len(calls) == mentions else None


def _text_of(lines: Sequence[bytes], statement: ast.stmt) -> str:
    start = (statement.lineno, statement.col_offset)
    return _text_between(lines, start, (statement.end_lineno or 0, statement.end_col_offset or 0))


def _text_between(lines: Sequence[bytes], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two positions of a syntax tree: a line from 1, and a column in bytes."""
    (first, start_column), (last, end_column) = start, end
    text = [*lines[first - 1 : last - 1], lines[last - 1][:end_column]]
    text[0] = text[0][start_column:]
    return b"\n".join(text).decode()
