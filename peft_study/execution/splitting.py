"""Splitting a problem's `tests` into verdicts without changing what they mean."""

import ast
import warnings
from collections.abc import Iterator, Sequence


def split_assertions(tests: str) -> list[str]:
    """The sources to run one by one: a verdict each.

    Tests are flat where setup without any assertion comes first and then nothing but assertions (MBPP: its
    `test_setup_code` and `test_list`). Each assertion then runs on its own, in a new interpreter, behind the whole
    setup. All other tests (HumanEval's `check(candidate)`, a loop around assertions) are one source and one verdict.

    Apart, an assertion sees nothing that an earlier one did. Flat tests in which that could matter stay together:
    those where an assertion binds a name (`:=`), advances an iterator with `next`, calls a method of what the setup
    made (`stack.pop()`), or expects something else of a call that an earlier one makes word for word.

    Args:
        tests: Python source.

    Returns:
        the sources, in order; at least one.

    Raises:
        ValueError: the source does not parse, or asserts nothing.
    """
    # As Python's tokenizer ends lines, so that positions in the tree are positions in this text.
    tests = _without_warnings(tests.replace("\r\n", "\n").replace("\r", "\n"))
    body = ast.parse(tests).body
    if not any(map(_asserts, body)):
        raise ValueError("the tests assert nothing")
    first = next(index for index, statement in enumerate(body) if _asserts(statement))
    setup, rest = body[:first], body[first:]
    assertions = [statement for statement in rest if isinstance(statement, ast.Assert)]
    if len(assertions) < len(rest) or not _independent(setup, assertions):
        return [tests]
    before = _text_before(tests, assertions[0])
    return [before + (ast.get_source_segment(tests, assertion) or "") + "\n" for assertion in assertions]


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
    return any(isinstance(node, ast.Assert) for node in ast.walk(statement))


def _independent(setup: Sequence[ast.stmt], assertions: Sequence[ast.Assert]) -> bool:
    made = {name for statement in setup for name in _bound_values(statement)}
    expected: dict[str, str] = {}
    for assertion in assertions:
        for node in ast.walk(assertion):
            if isinstance(node, ast.NamedExpr) or (isinstance(node, ast.Call) and _advances(node.func, made)):
                return False
        call, whole = _call_compared(assertion.test), ast.dump(assertion.test)
        # What gives one thing first and another one later has a memory.
        if call is not None and expected.setdefault(ast.dump(call), whole) != whole:
            return False
    return True


def _call_compared(test: ast.expr) -> ast.Call | None:
    return test.left if isinstance(test, ast.Compare) and isinstance(test.left, ast.Call) else None


def _bound_values(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds to values; modules, functions and classes are none that an assertion would wear."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _advances(function: ast.expr, made: set[str]) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "next"
    root = function
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    return isinstance(function, ast.Attribute) and isinstance(root, ast.Name) and root.id in made


def _text_before(source: str, statement: ast.stmt) -> str:
    """The source up to a statement, whose column is counted in UTF-8 bytes."""
    lines = source.split("\n")
    head = lines[statement.lineno - 1].encode()[: statement.col_offset].decode()
    return "".join(f"{line}\n" for line in lines[: statement.lineno - 1]) + head
