"""Takes an assertion apart: into parts, evaluated in the sandbox, and what joins them to literals, which stays here."""

import ast
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

NUMERIC = ("abs", "round", "isclose", "fabs")
"""Functions that join literals to values: `abs(f(x) - 1.5) < 1e-6`."""
BUILDERS = ("set", "frozenset", "tuple", "list", "dict", "float")
"""Functions that make a literal of literals: `set([1, 2])`."""
_CONSTANTS = ("inf", "nan", "pi", "e")
_SOMETIMES = (ast.If, ast.ExceptHandler, ast.match_case, ast.IfExp)


@dataclass(frozen=True)
class Check:
    """One assertion.

    Attributes:
        line: in the tests' source, from 1.
        holds: what remains of it, over the names `_0`, `_1`, ... of its parts; None where it was evaluated as a
        whole. parts: how many values come from the sandbox. required: it stands where every run of the tests comes
        by.
    """

    line: int
    holds: CodeType | None
    parts: int
    required: bool


@dataclass(frozen=True)
class Instrumented:
    """Tests whose assertions are calls of `{name}`."""

    source: str
    name: str
    checks: tuple[Check, ...]


@lru_cache(maxsize=4096)
def instrument(tests: str) -> Instrumented:
    """Take the tests' assertions apart.

    Args:
        tests: Python source.

    Raises:
        SyntaxError: it is none.
    """
    tree = ast.parse(tests)
    transformer = _Transformer(f"_check_{secrets.token_hex(8)}")
    tree = ast.fix_missing_locations(transformer.visit(tree))
    return Instrumented(ast.unparse(tree), transformer.name, tuple(transformer.checks))


class _Transformer(ast.NodeTransformer):
    """Replaces each assertion and remembers what was taken out of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []
        self._sometimes = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        self._sometimes += isinstance(node, _SOMETIMES)
        try:
            return super().generic_visit(node)
        finally:
            self._sometimes -= isinstance(node, _SOMETIMES)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        """What stands behind `else` is not reached where the body raises, as it may have to."""
        node.body = self._statements(node.body)
        self._sometimes += 1
        node.handlers = list(map(self.visit, node.handlers))
        node.orelse = self._statements(node.orelse)
        self._sometimes -= 1
        node.finalbody = self._statements(node.finalbody)
        return node

    def _statements(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(statement) for statement in statements]

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        number, required = len(self.checks), not self._sometimes
        if any(isinstance(part, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom) for part in ast.walk(node)):
            # These mean something else inside a function of their own.
            self.checks.append(Check(node.lineno, None, 0, required))
            true = ast.Constant(True)
            return ast.If(true, [node, ast.Expr(self._call(number, 0, []))], [])
        split = _Split()
        remaining = ast.fix_missing_locations(ast.Expression(split.truth(node.test)))
        holds = compile(remaining, "assertion", "eval")
        if isinstance(node.test, ast.Constant) and not node.test.value:
            required = False  # `assert False` stands where no run should come by
        self.checks.append(Check(node.lineno, holds, len(split.parts), required))
        parts = [ast.Lambda(_NO_ARGUMENTS, part) for part in split.parts]
        return ast.copy_location(ast.Expr(self._call(number, split.always, parts)), node)

    def _call(self, number: int, always: int, parts: list[ast.Lambda]) -> ast.Call:
        return ast.Call(ast.Name(self.name, ast.Load()), [ast.Constant(number), ast.Constant(always), *parts], [])


_NO_ARGUMENTS = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])


class _Split:
    """Divides one expression into parts and what remains.

    Attributes:
        parts: to be evaluated in the sandbox, in order.
        always: how many of the parts are evaluated whatever the others are.
    """

    def __init__(self) -> None:
        self.parts: list[ast.expr] = []
        self._always: int | None = None

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
        if isinstance(node, ast.Compare) or _mixes(node) or _is_literal(node):
            return self.value(node)
        # Any object has a truth, also one that has no form as bytes.
        return self._part(ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node)))

    def value(self, node: ast.expr) -> ast.expr:
        """Where its value matters."""
        if _is_literal(node):
            return node
        if isinstance(node, ast.Compare):
            return ast.Compare(self.value(node.left), node.ops, [self.value(side) for side in node.comparators])
        if not _mixes(node):
            return self._part(node)
        if isinstance(node, ast.BinOp):
            return ast.BinOp(self.value(node.left), node.op, self.value(node.right))
        assert isinstance(node, ast.Call)
        keywords = [ast.keyword(keyword.arg, self.value(keyword.value)) for keyword in node.keywords]
        return ast.Call(node.func, [self.value(argument) for argument in node.args], keywords)

    def _part(self, node: ast.expr) -> ast.Name:
        self.parts.append(node)
        return ast.Name(f"_{len(self.parts) - 1}", ast.Load())


def _mixes(node: ast.expr) -> bool:
    """A sum, a difference or a numeric function that has a literal somewhere in it, which must not be told."""
    if isinstance(node, ast.BinOp):
        operands = [node.left, node.right]
        known = isinstance(node.op, ast.Add | ast.Sub)
    elif isinstance(node, ast.Call):
        operands = [*node.args, *(keyword.value for keyword in node.keywords)]
        known = _function_name(node) in NUMERIC and not any(isinstance(a, ast.Starred) for a in node.args)
        known = known and all(keyword.arg is not None for keyword in node.keywords)
    else:
        return False
    return known and any(_is_literal(operand) or _mixes(operand) for operand in operands)


def _function_name(node: ast.Call) -> str | None:
    match node.func:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name("math"), name):
            return name
    return None


def _is_literal(node: ast.expr) -> bool:
    """Only literals, and what the parent can build of them."""
    match node:
        case ast.Constant():
            return True
        case ast.Attribute(ast.Name("math"), "inf" | "nan" | "pi" | "e"):
            return True
        case ast.Call(ast.Name(name), _, keywords):
            return name in BUILDERS and not keywords and all(map(_is_literal, node.args))
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.UnaryOp() | ast.BinOp():
            return all(map(_is_literal, _operands(node)))
    return False


def _operands(node: ast.expr) -> Iterator[Any]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
