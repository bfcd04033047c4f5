"""Splitting a problem's `tests` into verdicts without changing what they mean."""

import ast
import builtins
import warnings
from collections.abc import Iterator, Sequence

from peft_study.judging.asserts.failing import is_check, may_fail

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ACTING = frozenset(
    {"__import__", "delattr", "eval", "exec", "globals", "input", "locals", "next", "open", "setattr", "vars"}
)
"""Built-ins that can change, or show, what a later assertion sees."""
_PURE = frozenset(dir(builtins)) - _ACTING


def split_assertions(tests: str) -> list[str]:
    """The sources to run one by one: a verdict each.

    An assertion that runs on its own, in a new interpreter, sees nothing that an earlier one did. So tests are split
    (MBPP's are, mostly) only where all of this holds; all others are one source and one verdict:

    - Imports, functions and classes come first, then nothing but assertions. No definition says `global` or
      `nonlocal`, writes to an attribute or a member of what the tests define or import, or has a default that can be
      changed.
    - Every assertion calls one and the same function under test, a name that the tests neither define nor import,
      and says that name in no other way. It may be a built-in's name where the assertions say no other (`sum`).
    - What else an assertion names is built in (and neither reads nor changes a namespace, a file or an iterator),
      defined or imported by the tests, or a variable of its own comprehension or lambda. It binds no name (`:=`).
    - No call of the function under test stands in two assertions that expect something different.

    What remains: a function that keeps something between calls is judged from its first state at each assertion.
    Assertions in a function that the tests call stay together whatever they hold.

    Args:
        tests: Python source.

    Returns:
        the sources, in order; none where the tests hold nothing that a wrong program would fail.

    Raises:
        ValueError: the source does not parse.
    """
    # As Python's tokenizer ends lines, so that positions in the tree are positions in this text.
    tests = _without_warnings(tests.replace("\r\n", "\n").replace("\r", "\n"))
    tree = ast.parse(tests)
    if not may_fail(tree):
        return []
    body = tree.body
    first = next((index for index, statement in enumerate(body) if _asserts(statement)), len(body))
    setup, rest = body[:first], body[first:]
    assertions = [statement for statement in rest if isinstance(statement, ast.Assert)]
    if not assertions or len(assertions) < len(rest) or not _independent(setup, assertions):
        return [tests]
    before = _text_before(tests, assertions[0])
    return [before + _on_its_line(tests, assertion, assertions[0].lineno) for assertion in assertions]


def _on_its_line(tests: str, assertion: ast.Assert, first_line: int) -> str:
    """An assertion's text behind empty lines, so that it keeps its line number."""
    return "\n" * (assertion.lineno - first_line) + (ast.get_source_segment(tests, assertion) or "") + "\n"


def _without_warnings(tests: str) -> str:
    """The tests, written anew where they hold what Python warns of, such as an invalid escape sequence.

    They are compiled again for every candidate, in several threads, and nobody here can mend them.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            tree = ast.parse(tests)
            return ast.unparse(tree) + "\n" if warned else tests
        except SyntaxError as error:
            raise ValueError(f"the tests are not Python ({error.msg}, their line {error.lineno})") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the tests are not Python ({error or 'nested too deeply'})") from error


def _asserts(statement: ast.stmt) -> bool:
    return any(map(is_check, ast.walk(statement)))


def _independent(setup: Sequence[ast.stmt], assertions: Sequence[ast.Assert]) -> bool:
    if not all(isinstance(statement, (*_DEFINITIONS, *_IMPORTS)) for statement in setup):
        return False
    known = {name for statement in setup for name in _names_bound(statement)}
    if any(_keeps_state(statement, known) for statement in setup):
        return False
    name = _under_test(assertions, known)
    if name is None:
        return False
    expected: dict[str, str] = {}
    for assertion in assertions:
        if any(isinstance(node, ast.NamedExpr) for node in ast.walk(assertion)):
            return False
        calls = _only_calls(assertion.test, name)
        whole = ast.dump(assertion.test)
        # What gives one thing first and another one later has a memory.
        if not calls or any(expected.setdefault(call, whole) != whole for call in calls):
            return False
    return True


def _under_test(assertions: Sequence[ast.Assert], known: set[str]) -> str | None:
    """The one name in all assertions that is neither known nor built in; else the only one, built in or not (`sum`)."""
    names = set().union(*(_free_names(assertion.test) for assertion in assertions)) - known
    found = names - _PURE or names
    return found.pop() if len(found) == 1 else None


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    """What an import or a definition gives a name to."""
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
    elif isinstance(statement, _IMPORTS):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]


def _keeps_state(definition: ast.stmt, known: set[str]) -> bool:
    """Whether what is defined may remember its calls."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Global | ast.Nonlocal):
            return True
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            root = _root(node)
            if not isinstance(root, ast.Name) or root.id in known or root.id == "cls":
                return True
        if isinstance(node, _FUNCTIONS):
            defaults = [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
            if not all(isinstance(default, ast.Constant | ast.Name | ast.UnaryOp) for default in defaults):
                return True
    return False


def _root(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def _free_names(expression: ast.expr) -> set[str]:
    """The names in it, without those that a comprehension or a lambda in it binds."""
    nodes = list(ast.walk(expression))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - bound


def _only_calls(expression: ast.expr, name: str) -> list[str] | None:
    """All calls of a function, as text; None where its name stands for something else than a call."""
    nodes = list(ast.walk(expression))
    calls = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]
    mentions = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    return list(map(ast.dump, calls)) if len(calls) == mentions else None


def _text_before(source: str, statement: ast.stmt) -> str:
    """The source up to a statement, whose column is counted in UTF-8 bytes."""
    lines = source.split("\n")
    head = lines[statement.lineno - 1].encode()[: statement.col_offset].decode()
    return "".join(f"{line}\n" for line in lines[: statement.lineno - 1]) + head
