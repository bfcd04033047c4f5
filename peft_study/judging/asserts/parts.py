"""Divides an assertion into parts, evaluated in the sandbox, and the rest, which only the parent evaluates."""

import ast

from peft_study.judging.asserts.decode import TYPES
from peft_study.sandbox.inside.reply import VALUES_OF_MODE

NUMERIC = ("abs", "round", "isclose", "fabs")
"""Functions that join literals to values: `abs(f(x) - 1.5) < 1e-6`."""
BUILDERS = ("set", "frozenset", "tuple", "list", "dict", "float")
"""Functions that make a literal of literals: `set([1, 2])`."""
_IDENTITY = (ast.Is, ast.IsNot)
_MEMBERSHIP = (ast.In, ast.NotIn)


class Parts:
    """Divides one expression into parts and the rest.

    Args:
        shared: names with the same meaning in the tests and in the parent.

    Attributes:
        parts: expressions for the sandbox, in order.
        modes: a letter per part, see `evaluate.checker`.
        values: number of values that the parts give.
        always: number of parts that Python always evaluates. They come first.
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
        """Return the rest of an expression whose truth alone matters."""
        if isinstance(node, ast.BoolOp):
            first = self.truth(node.values[0])
            if self._always is None:
                self._always = len(self.parts)
            # Python may skip the rest, whose parts may therefore raise.
            return ast.BoolOp(node.op, [first, *map(self.truth, node.values[1:])])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, self.truth(node.operand))
        # If it names only built-ins, a program may have redefined the function under test under such a name.
        self._calls_inside = all(part.id in self._shared for part in ast.walk(node) if isinstance(part, ast.Name))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if self._mixes(node) or self._is_literal(node):
            return self.value(node)
        return self._truth_part(node)

    def value(self, node: ast.expr) -> ast.expr:
        """Return the rest of an expression whose value matters."""
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
                return self._truth_part(node)  # identity of objects has no meaning in another process
            if len(node.ops) == 1:
                return self._both_sides(node)
        left = self._hidden(self.value(node.left), node.ops[0])
        comparators = [
            self._hidden(self._comparator(operator, comparator), operator)
            for operator, comparator in zip(node.ops, node.comparators, strict=True)
        ]
        return ast.Compare(left, node.ops, comparators)

    def _comparator(self, operator: ast.cmpop, node: ast.expr) -> ast.expr:
        # A container that cannot be encoded is replaced by its members.
        if isinstance(operator, _MEMBERSHIP) and not self._is_literal(node):
            return self._part(node, "m")
        return self.value(node)

    @staticmethod
    def _hidden(node: ast.expr, operator: ast.cmpop) -> ast.expr:
        """Hide a literal after `is` in a list, so that Python does not warn of it. The tests cannot be changed."""
        if isinstance(operator, _IDENTITY) and isinstance(node, ast.Constant | ast.Tuple):
            return ast.Subscript(ast.List([node], ast.Load()), ast.Constant(0), ast.Load())
        return node

    def _both_sides(self, node: ast.Compare) -> ast.expr:
        """Send both sides to the parent. If neither can be encoded, the sandbox compares them."""
        left, right = ast.Name("_left", ast.Load()), ast.Name("_right", ast.Load())
        names = ast.arguments([], [ast.arg("_left"), ast.arg("_right")], None, [], [], None, [])
        compare = ast.Lambda(names, ast.Compare(left, node.ops, [right]))
        mode = "i" if isinstance(node.ops[0], _MEMBERSHIP) else "c"
        self._add(ast.Tuple([node.left, node.comparators[0], compare], ast.Load()), mode)
        first, second, inside = (ast.Name(f"_{self.values - back}", ast.Load()) for back in (3, 2, 1))
        undecided = ast.Compare(inside, [ast.Is()], [ast.Constant(None)])
        return ast.IfExp(undecided, ast.Compare(first, node.ops, [second]), inside)

    def _truth_part(self, node: ast.expr) -> ast.Name:
        # Every object has a truth value, even if it cannot be encoded.
        return self._part(ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), node)))

    def _part(self, node: ast.expr, mode: str = "v") -> ast.Name:
        self._add(node, mode)
        return ast.Name(f"_{self.values - 1}", ast.Load())

    def _add(self, node: ast.expr, mode: str) -> None:
        self.parts.append(node)
        self.modes += mode
        self.values += VALUES_OF_MODE[mode]

    def _mixes(self, node: ast.expr) -> bool:
        """Whether a sum, a difference or a numeric function contains a literal, which must not reach the sandbox."""
        if isinstance(node, ast.BinOp):
            operands = [node.left, node.right]
            supported = isinstance(node.op, ast.Add | ast.Sub)
        elif isinstance(node, ast.Call):
            operands = [*node.args, *(keyword.value for keyword in node.keywords)]
            supported = self._calls_numeric(node) and not any(isinstance(a, ast.Starred) for a in node.args)
            supported = supported and all(keyword.arg is not None for keyword in node.keywords)
        else:
            return False
        return supported and any(self._is_literal(operand) or self._mixes(operand) for operand in operands)

    def _calls_numeric(self, node: ast.Call) -> bool:
        match node.func:
            case ast.Name(name):
                return name in NUMERIC and name in self._shared and not self._calls_inside
            case ast.Attribute(ast.Name("math"), name):
                return name in NUMERIC and "math" in self._shared and not self._calls_inside
        return False

    def _is_literal(self, node: ast.expr) -> bool:
        """Whether an expression consists of literals and built-in types, so that the parent can evaluate it."""
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
                operands = (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
                return all(map(self._is_literal, operands))
        return False
