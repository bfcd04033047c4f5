"""Replaces the assertions of some tests by calls that send values to the parent."""

import ast
import math
import secrets
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType

from peft_study.judging.asserts.decode import TYPES
from peft_study.judging.asserts.exits import Exits
from peft_study.judging.asserts.failing import may_fail
from peft_study.judging.asserts.names import imported_name, names_in
from peft_study.judging.asserts.parts import BUILDERS, NUMERIC, Parts
from peft_study.judging.asserts.reach import Reach, reach_of_assertions

_OF_MATH = frozenset({"isclose", "fabs"})  # those of NUMERIC that are not built in
_LOOPING = frozenset({"range", "zip", "enumerate", "print"})  # further ones that are not the function under test
_SCOPED = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)  # their meaning changes inside a lambda
_SCOPED_CALLS = frozenset({"super", "locals", "vars", "dir", "eval", "exec"})  # they depend on the calling function


@dataclass(frozen=True)
class Check:
    """One assertion.

    Attributes:
        line: line in the source of the tests, from 1.
        holds: the rest of the assertion, over the names `_0`, `_1`, ... of the values. None if the sandbox evaluates
            the whole assertion.
        parts: number of values from the sandbox.
        required: every complete run of the tests evaluates the assertion.
    """

    line: int
    holds: CodeType | None
    parts: int
    required: bool


@dataclass(frozen=True)
class Instrumented:
    """Tests whose assertions are calls of a function.

    Attributes:
        source: the tests as the sandbox runs them.
        name: name of the function.
        checks: the assertions, in the order of their numbers.
        asserts: a wrong program can fail the tests.
        exits: lines in `source` that may end the tests by an exit, as `unittest.main()` does.
        lines: pairs of a line in `source` and its line in the tests, both from 1, in order.
    """

    source: str
    name: str
    checks: tuple[Check, ...]
    asserts: bool
    exits: tuple[int, ...]
    lines: tuple[tuple[int, int], ...]

    def line_of(self, line: int) -> int:
        """Return the line in the tests that a line of `source` comes from."""
        before = bisect_right(self.lines, (line, math.inf))
        return self.lines[before - 1][1] if before else line


@cache
def instrument(tests: str) -> Instrumented:
    """Take the assertions of some tests apart.

    The result is cached, because the limit on integer digits may be lower at a later call.

    Raises:
        SyntaxError: the source does not parse, or holds an integer above the current limit on digits.
        RecursionError: the source is nested too deeply.
    """
    tree = ast.parse(tests)
    asserts = may_fail(tree)
    # Random, so that neither the program nor the tests use the name.
    name = f"_check_{secrets.token_hex(8)}"
    transformer = _Transformer(name, _shared_names(tree), reach_of_assertions(tree))
    tree = ast.fix_missing_locations(transformer.visit(tree))
    source = ast.unparse(tree)
    # Parsed again, because the sandbox reports lines of the written source.
    written = ast.parse(source)
    ends_tests = Exits(written).ends_tests
    exits = {node.lineno for node in ast.walk(written) if isinstance(node, ast.expr | ast.Raise) and ends_tests(node)}
    # `ast.unparse` keeps the order of statements, so they pair up.
    lines = sorted(zip(_statement_lines(written), _statement_lines(tree), strict=True))
    return Instrumented(
        source=source,
        name=name,
        checks=tuple(transformer.checks),
        asserts=asserts,
        exits=tuple(exits),
        lines=tuple(lines),
    )


def _statement_lines(tree: ast.Module) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]


def _shared_names(tree: ast.AST) -> frozenset[str]:
    """Names with the same meaning in the tests and in the parent: built-ins, `math` and its functions."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "math":
            imported |= _OF_MATH if node.names[0].name == "*" else {alias.name for alias in node.names}
    bound = set(_bound(tree))
    shared = {*TYPES, *NUMERIC, *BUILDERS} - _OF_MATH | {"math"} | (imported & _OF_MATH)
    if names_in(tree) <= shared | bound | _LOOPING and "__main__" not in bound:
        # No other name can be the function under test: `for x in cases: assert round(x, 1) == ...`.
        shared -= {*NUMERIC, *BUILDERS}
    return frozenset(shared - bound)


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names that the tests bind to another meaning anywhere."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(name, ast.Store() | ast.Del()):
                yield name
            case ast.arg(name) | ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.Import(aliases):
                for alias in aliases:
                    if alias.name != "math" or alias.asname not in (None, "math"):
                        yield imported_name(alias)
            case ast.ImportFrom(module, aliases):
                for alias in aliases:
                    if module != "math" or alias.asname not in (None, alias.name):
                        yield imported_name(alias)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name


class _Transformer(ast.NodeTransformer):
    """Replaces each assertion and records the check that the parent makes."""

    def __init__(self, name: str, shared: frozenset[str], reaches: Mapping[ast.Assert, Reach]) -> None:
        self._name, self._shared, self._reaches = name, shared, reaches
        self.checks: list[Check] = []

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        number, reach = len(self.checks), self._reaches[node]
        if reach.caught or reach.in_class or any(map(_needs_its_place, ast.walk(node))):
            # The sandbox evaluates all of it: the tests may catch its exception, or it works only in this place.
            self.checks.append(Check(node.lineno, None, 0, reach.required))
            whole = ast.If(ast.Constant(True), [node, ast.Expr(self._call(number, Parts(self._shared)))], [])
            return ast.copy_location(whole, node)
        split = Parts(self._shared)
        remaining = ast.fix_missing_locations(ast.Expression(split.truth(node.test)))
        holds = compile(remaining, "assertion", "eval")
        self.checks.append(Check(node.lineno, holds, split.values, reach.required))
        return ast.copy_location(ast.Expr(self._call(number, split)), node)

    def _call(self, number: int, split: Parts) -> ast.Call:
        header = [ast.Constant(number), ast.Constant(split.always), ast.Constant(split.modes)]
        parts = [ast.Lambda(_NO_ARGUMENTS, part) for part in split.parts]
        return ast.Call(ast.Name(self._name, ast.Load()), [*header, *parts], [])


def _needs_its_place(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SCOPED_CALLS:
        return node.func.id in ("eval", "exec") or not node.args
    return isinstance(node, _SCOPED)


_NO_ARGUMENTS = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
