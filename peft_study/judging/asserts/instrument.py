"""Takes an assertion apart: into parts, evaluated in the sandbox, and what joins them to literals, which stays here."""

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
from peft_study.judging.asserts.parts import BUILDERS, NUMERIC, Parts
from peft_study.judging.asserts.reach import Reach, reach_of_assertions

_OF_MATH = frozenset({"isclose", "fabs"})
"""Functions among NUMERIC that are not built in."""
_LOOPING = frozenset({"range", "zip", "enumerate", "print"})
"""Built-in functions beside those that a program may be written to replace."""
_SCOPED = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
"""What means something else inside a lambda."""
_SCOPED_CALLS = frozenset({"super", "locals", "vars", "dir", "eval", "exec"})
"""Built-in functions that look at the function they are called in."""


@dataclass(frozen=True)
class Check:
    """One assertion.

    Attributes:
        line: in the tests' source, from 1.
        holds: what remains of it, over the names `_0`, `_1`, ... of its parts; None where it is evaluated as a whole
            inside the sandbox.
        parts: how many values come from the sandbox.
        required: every complete run of the tests evaluates it.
    """

    line: int
    holds: CodeType | None
    parts: int
    required: bool


@dataclass(frozen=True)
class Instrumented:
    """Tests whose assertions are calls of a function.

    Attributes:
        source: the tests, as the sandbox runs them.
        name: of the function.
        checks: the assertions, in the order of their numbers.
        asserts: they hold something that a wrong program would fail.
        exits: lines in `source` that may end the tests by an exit, as `unittest.main()` does.
        lines: pairs of a line in `source` and the line in the tests that it comes from, both from 1, in order.
    """

    source: str
    name: str
    checks: tuple[Check, ...]
    asserts: bool
    exits: tuple[int, ...]
    lines: tuple[tuple[int, int], ...]

    def line_of(self, line: int) -> int:
        """The line in the tests that a line of `source` comes from."""
        before = bisect_right(self.lines, (line, math.inf))
        return self.lines[before - 1][1] if before else line


@cache
def instrument(tests: str) -> Instrumented:
    """Take the tests' assertions apart, once for each source: it may not be possible later, see Raises.

    Args:
        tests: Python source.

    Raises:
        SyntaxError: it is none, or holds an integer of more digits than Python reads at the moment.
        RecursionError: it is nested too deeply.
    """
    tree = ast.parse(tests)
    asserts = may_fail(tree)
    name = f"_check_{secrets.token_hex(8)}"
    transformer = _Transformer(name, _shared_names(tree), reach_of_assertions(tree))
    tree = ast.fix_missing_locations(transformer.visit(tree))
    source = ast.unparse(tree)
    written = ast.parse(source)
    ends_tests = Exits(written).ends_tests
    exits = tuple(
        {node.lineno for node in ast.walk(written) if isinstance(node, ast.expr | ast.Raise) and ends_tests(node)}
    )
    return Instrumented(source, name, tuple(transformer.checks), asserts, exits, _lines(tree, written))


def _lines(tree: ast.Module, written_anew: ast.Module) -> tuple[tuple[int, int], ...]:
    """Pairs of lines, see `Instrumented`; what is written anew has its statements in the same order."""
    written, read = (
        [node.lineno for node in ast.walk(module) if isinstance(node, ast.stmt)] for module in (written_anew, tree)
    )
    return tuple(sorted(zip(written, read, strict=True)))


def _shared_names(tree: ast.AST) -> frozenset[str]:
    """Names that mean the same in the tests and in the parent: what is built in, `math` and its functions."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "math":
            imported |= _OF_MATH if node.names[0].name == "*" else {alias.name for alias in node.names}
    bound = set(_bound(tree))
    shared = {*TYPES, *NUMERIC, *BUILDERS} - _OF_MATH | {"math"} | (imported & _OF_MATH)
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if named <= shared | bound | _LOOPING and "__main__" not in bound:
        # The program can only be what a built-in name stands for: `for x in cases: assert round(x, 1) == ...`.
        shared -= {*NUMERIC, *BUILDERS}
    return frozenset(shared - bound)


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names that the tests give another meaning than `_shared_names` says, anywhere."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(name, ast.Store() | ast.Del()):
                yield name
            case ast.arg(name) | ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.Import(names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names if not _is_math(alias))
            case ast.ImportFrom(module, names):
                same = module == "math"
                yield from (
                    each.asname or each.name for each in names if not same or each.asname not in (None, each.name)
                )
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name


def _is_math(alias: ast.alias) -> bool:
    return alias.name == "math" and alias.asname in (None, "math")


class _Transformer(ast.NodeTransformer):
    """Replaces each assertion and remembers what was taken out of it."""

    def __init__(self, name: str, shared: frozenset[str], reaches: Mapping[ast.Assert, Reach]) -> None:
        self._name = name
        self._shared = shared
        self._reaches = reaches
        self.checks: list[Check] = []

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        number, reach = len(self.checks), self._reaches[node]
        if reach.caught or reach.in_class or any(map(_needs_its_place, ast.walk(node))):
            # The whole assertion runs inside: what it raises may be caught there, or it works in this place alone.
            self.checks.append(Check(node.lineno, None, 0, reach.required))
            whole = ast.If(ast.Constant(True), [node, ast.Expr(self._call(number, Parts(self._shared)))], [])
            return ast.copy_location(whole, node)
        split = Parts(self._shared)
        remaining = ast.fix_missing_locations(ast.Expression(split.truth(node.test)))
        holds = compile(remaining, "assertion", "eval")
        self.checks.append(Check(node.lineno, holds, split.values, reach.required))
        return ast.copy_location(ast.Expr(self._call(number, split)), node)

    def _call(self, number: int, split: Parts) -> ast.Call:
        told = [ast.Constant(number), ast.Constant(split.always), ast.Constant(split.modes)]
        parts = [ast.Lambda(_NO_ARGUMENTS, part) for part in split.parts]
        return ast.Call(ast.Name(self._name, ast.Load()), [*told, *parts], [])


def _needs_its_place(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SCOPED_CALLS:
        return node.func.id in ("eval", "exec") or not node.args
    return isinstance(node, _SCOPED)


_NO_ARGUMENTS = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
