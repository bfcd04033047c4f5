"""Takes an assertion apart: into parts, evaluated in the sandbox, and what joins them to literals, which stays here."""

import ast
import math
import secrets
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

from peft_study.judging.decode import TYPES
from peft_study.judging.exits import Exits
from peft_study.judging.reach import Reach, may_fail, reach_of_assertions
from peft_study.sandbox.inside.reply import VALUES_OF_MODE

NUMERIC = ("abs", "round", "isclose", "fabs")
"""Functions that join literals to values: `abs(f(x) - 1.5) < 1e-6`."""
BUILDERS = ("set", "frozenset", "tuple", "list", "dict", "float")
"""Functions that make a literal of literals: `set([1, 2])`."""
_OF_MATH = frozenset({"isclose", "fabs"})
"""Functions among NUMERIC that are not built in."""
_LOOPING = frozenset({"range", "zip", "enumerate", "print"})
"""Built-in functions beside those that a program may be written to replace."""
_IDENTITY = (ast.Is, ast.IsNot)
_MEMBERSHIP = (ast.In, ast.NotIn)
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
            whole = ast.If(ast.Constant(True), [node, ast.Expr(self._call(number, _Split(self._shared)))], [])
            return ast.copy_location(whole, node)
        split = _Split(self._shared)
        remaining = ast.fix_missing_locations(ast.Expression(split.truth(node.test)))
        holds = compile(remaining, "assertion", "eval")
        self.checks.append(Check(node.lineno, holds, split.values, reach.required))
        return ast.copy_location(ast.Expr(self._call(number, split)), node)

    def _call(self, number: int, split: "_Split") -> ast.Call:
        told = [ast.Constant(number), ast.Constant(split.always), ast.Constant(split.modes)]
        parts = [ast.Lambda(_NO_ARGUMENTS, part) for part in split.parts]
        return ast.Call(ast.Name(self._name, ast.Load()), [*told, *parts], [])


def _needs_its_place(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SCOPED_CALLS:
        return node.func.id in ("eval", "exec") or not node.args
    return isinstance(node, _SCOPED)


_NO_ARGUMENTS = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])


class _Split:
    """Divides one expression into parts and what remains.

    Args:
        shared: names that mean the same in the tests and in the parent.

    Attributes:
        parts: to be evaluated in the sandbox, in order.
        modes: a letter for each part, see `evaluate.checker`.
        values: how many values come from them.
        always: how many of the parts are evaluated whatever the others are.
    """

    def __init__(self, shared: frozenset[str]) -> None:
        self.parts: list[ast.expr] = []
        self.modes = ""
        self.values = 0
        self._shared = shared
        self._always: int | None = None
        self._calls_inside = False

    @property
    def always(self) -> int:
        return len(self.parts) if self._always is None else self._always

    def truth(self, node: ast.expr) -> ast.expr:
        """Where only the truth of the expression matters."""
        if isinstance(node, ast.BoolOp):
            first = self.truth(node.values[0])
            if self._always is None:
                self._always = len(self.parts)
            return ast.BoolOp(node.op, [first, *map(self.truth, node.values[1:])])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, self.truth(node.operand))
        # Where nothing else is named, the assertion is about what the program may have put in their place.
        self._calls_inside = self._names_nothing_else(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if self._mixes(node) or self._is_literal(node):
            return self.value(node)
        return self._truth_part(node)

    def value(self, node: ast.expr) -> ast.expr:
        """Where its value matters."""
        if self._is_literal(node):
            return node
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if not self._mixes(node):
            return self._part(node)
        if isinstance(node, ast.BinOp):
            return ast.BinOp(self.value(node.left), node.op, self.value(node.right))
        assert isinstance(node, ast.Call)
        keywords = [ast.keyword(keyword.arg, self.value(keyword.value)) for keyword in node.keywords]
        return ast.Call(node.func, [self.value(argument) for argument in node.args], keywords)

    def _comparison(self, node: ast.Compare) -> ast.expr:
        sides = [node.left, *node.comparators]
        if not any(self._is_literal(side) or self._mixes(side) for side in sides):
            if all(isinstance(operator, _IDENTITY) for operator in node.ops):
                return self._truth_part(node)  # which object it is cannot be told to anybody outside
            if len(node.ops) == 1:
                return self._compared(node)
        left = self._hidden(self.value(node.left), node.ops[0])
        pairs = zip(node.ops, node.comparators, strict=True)
        return ast.Compare(left, node.ops, [self._hidden(self._side(*pair), pair[0]) for pair in pairs])

    def _side(self, operator: ast.cmpop, node: ast.expr) -> ast.expr:
        if isinstance(operator, _MEMBERSHIP) and not self._is_literal(node):
            return self._part(node, "m")
        return self.value(node)

    @staticmethod
    def _hidden(node: ast.expr, operator: ast.cmpop) -> ast.expr:
        """A literal behind `is`, so that Python does not warn of it: the tests are what they are."""
        if isinstance(operator, _IDENTITY) and isinstance(node, ast.Constant | ast.Tuple):
            return ast.Subscript(ast.List([node], ast.Load()), ast.Constant(0), ast.Load())
        return node

    def _compared(self, node: ast.Compare) -> ast.expr:
        """Both sides are told, and compared outside; where neither can be told, they are compared inside."""
        left, right = ast.Name("_left", ast.Load()), ast.Name("_right", ast.Load())
        names = ast.arguments([], [ast.arg("_left"), ast.arg("_right")], None, [], [], None, [])
        compare = ast.Lambda(names, ast.Compare(left, node.ops, [right]))
        mode = "i" if isinstance(node.ops[0], _MEMBERSHIP) else "c"
        self._add(ast.Tuple([node.left, node.comparators[0], compare], ast.Load()), mode)
        first, second, inside = (ast.Name(f"_{self.values - back}", ast.Load()) for back in (3, 2, 1))
        undecided = ast.Compare(inside, [ast.Is()], [ast.Constant(None)])
        return ast.IfExp(undecided, ast.Compare(first, node.ops, [second]), inside)

    def _truth_part(self, node: ast.expr) -> ast.Name:
        """Any object has a truth, also one that has no form as bytes."""
        return self._part(ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node)))

    def _part(self, node: ast.expr, mode: str = "v") -> ast.Name:
        self._add(node, mode)
        return ast.Name(f"_{self.values - 1}", ast.Load())

    def _add(self, node: ast.expr, mode: str) -> None:
        self.parts.append(node)
        self.modes += mode
        self.values += VALUES_OF_MODE[mode]

    def _names_nothing_else(self, node: ast.expr) -> bool:
        return all(part.id in self._shared for part in ast.walk(node) if isinstance(part, ast.Name))

    def _mixes(self, node: ast.expr) -> bool:
        """A sum, a difference or a numeric function that has a literal somewhere in it, which must not be told."""
        if isinstance(node, ast.BinOp):
            operands = [node.left, node.right]
            known = isinstance(node.op, ast.Add | ast.Sub)
        elif isinstance(node, ast.Call):
            operands = [*node.args, *(keyword.value for keyword in node.keywords)]
            known = self._calls_numeric(node) and not any(isinstance(a, ast.Starred) for a in node.args)
            known = known and all(keyword.arg is not None for keyword in node.keywords)
        else:
            return False
        return known and any(self._is_literal(operand) or self._mixes(operand) for operand in operands)

    def _calls_numeric(self, node: ast.Call) -> bool:
        match node.func:
            case ast.Name(name) | ast.Attribute(ast.Name("math"), name):
                root = name if isinstance(node.func, ast.Name) else "math"
                return name in NUMERIC and root in self._shared and not self._calls_inside
        return False

    def _is_literal(self, node: ast.expr) -> bool:
        """Only literals and built-in types, and what the parent can build of them."""
        match node:
            case ast.Constant():
                return True
            case ast.Name(name):
                return name in TYPES and name in self._shared
            case ast.Attribute(ast.Name("math"), "inf" | "nan" | "pi" | "e"):
                return "math" in self._shared
            case ast.Call(ast.Name(name), _, keywords):
                return (
                    name in BUILDERS
                    and name in self._shared
                    and not self._calls_inside
                    and not keywords
                    and all(map(self._is_literal, node.args))
                )
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.UnaryOp() | ast.BinOp():
                return all(map(self._is_literal, _operands(node)))
        return False


def _operands(node: ast.expr) -> Iterator[Any]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
