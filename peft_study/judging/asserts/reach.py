"""Which assertions every complete run of the tests evaluates, and which may fail without failing the tests.

Python's rules decide: a test may return early, loop over an empty value, or catch the exception of an assertion.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from peft_study.judging.asserts.exits import Exits
from peft_study.judging.asserts.names import DEFINITIONS, FUNCTIONS, last_name, loaded_names, names_in, without_dots

_SCOPES = (*DEFINITIONS, ast.Lambda)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_CATCH_ASSERTIONS = frozenset({"AssertionError", "Exception", "BaseException"})
_CATCHING_CONTEXTS = frozenset({"suppress", "raises", "assertRaises", "assertRaisesRegex"})
_LEAVING_CALLS = frozenset({"exit", "quit", "_exit", "fail"})
# The result of these calls is as long as their arguments, so a loop over literals runs.
_PURE_CALLS = frozenset(
    {"range", "zip", "enumerate", "list", "tuple", "set", "dict", "sorted", "reversed", "items", "keys", "values"}
)


@dataclass(frozen=True)
class Reach:
    """How a run of the tests reaches an assertion.

    Attributes:
        required: every complete run evaluates the assertion.
        caught: the tests may catch the AssertionError, and pass.
        in_class: the assertion is in the body of a class, whose names a function in it does not see.
    """

    required: bool = True
    caught: bool = False
    in_class: bool = False


def reach_of_assertions(tree: ast.Module) -> dict[ast.Assert, Reach]:
    """Follow the tests from top to bottom.

    Args:
        tree: the tests.

    Returns:
        the reach of each `assert` statement.
    """
    caught = _functions_with_caught_assertions(tree)
    called = {name for node in ast.walk(tree) for name in loaded_names(node)}
    calling = _calling_decorators(tree)
    exits = Exits(tree)
    while True:
        flow = _Flow(called, caught, calling, exits)
        flow.block(tree.body, Reach())
        if flow.called == called:
            return flow.reaches
        # A function that only an uncalled function calls is not called either, so repeat until nothing changes.
        called = flow.called


class _Flow:
    """Walks blocks of statements and notes the reach of each assertion.

    Args:
        called: a superset of the names of functions that every complete run calls.
        caught: names of functions whose calls are in code that catches AssertionError.
        calling: names of decorators that call the decorated function.
        exits: exits that end the tests.
    """

    def __init__(self, called: Set[str], caught: Set[str], calling: Set[str], exits: Exits) -> None:
        self.reaches: dict[ast.Assert, Reach] = {}
        self.called: set[str] = set()  # those of the names that every complete run reads
        self._may_be_called, self._caught, self._calling, self._exits = called, caught, calling, exits
        self._class = ""

    def block(self, statements: Iterable[ast.stmt], reach: Reach) -> None:
        for statement in statements:
            self._statement(statement, reach)
            if _may_leave(statement, self._exits):
                reach = replace(reach, required=False)

    def _statement(self, node: ast.stmt, reach: Reach) -> None:
        sometimes = replace(reach, required=False)
        if reach.required:
            self.called |= self._may_be_called & set(_names_in_header(node))
        match node:
            case ast.Assert(test):
                # A passing run never reaches `assert False`.
                passes = not isinstance(test, ast.Constant) or bool(test.value)
                self.reaches[node] = replace(reach, required=reach.required and passes and not reach.caught)
            case ast.If():
                # The program's module becomes `__main__` before the tests run, so their main guard holds.
                self.block(node.body, reach if _is_main_guard(node.test) else sometimes)
                self.block(node.orelse, sometimes)
            case ast.For() | ast.AsyncFor():
                # A loop over a name counts as run. A program could otherwise skip it by shadowing the name.
                self.block(node.body, sometimes if _calls_the_program(node.iter) else reach)
                self.block(node.orelse, sometimes)
            case ast.While():
                always = isinstance(node.test, ast.Constant) and bool(node.test.value)
                self.block(node.body, reach if always else sometimes)
                self.block(node.orelse, sometimes)
            case ast.With() | ast.AsyncWith():
                self.block(node.body, _inside_contexts(node, reach))
            case ast.Try() | ast.TryStar():
                self._try(node, reach)
            case ast.Match():
                for case in node.cases:
                    self.block(case.body, sometimes)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                called = self._is_called(node, method=reach.in_class)
                caught = reach.caught or node.name in self._caught or _expects_failure(node)
                self.block(node.body, Reach(reach.required and called, caught))
            case ast.ClassDef():
                outer, self._class = self._class, node.name
                self.block(node.body, replace(reach, in_class=True, caught=reach.caught or _expects_failure(node)))
                self._class = outer

    def _is_called(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> bool:
        """Whether the tests call a function by its name, or a method by its attribute if they name its class too."""
        # `re.compile('a').match('a')` is therefore not a call of a function or method `match` of the tests.
        names = {self._class, f".{node.name}"} if method else {node.name}
        return bool(names <= self._may_be_called or self._calling & {ast.unparse(each) for each in node.decorator_list})

    def _try(self, node: ast.Try | ast.TryStar, reach: Reach) -> None:
        sometimes = replace(reach, required=False)
        self.block(node.body, _inside_try(node, reach))
        for handler in node.handlers:
            self.block(handler.body, sometimes)
        self.block(node.orelse, sometimes)
        self.block(node.finalbody, reach)


def _inside_try(node: ast.Try | ast.TryStar, reach: Reach) -> Reach:
    passing = [handler for handler in node.handlers if not _fails(handler.body)]
    caught = any(handler.type is None or _CATCH_ASSERTIONS & names_in(handler.type) for handler in passing)
    return replace(reach, required=reach.required and not passing, caught=reach.caught or caught)


def _inside_contexts(node: ast.With | ast.AsyncWith, reach: Reach) -> Reach:
    catching = [
        item.context_expr
        for item in node.items
        if isinstance(item.context_expr, ast.Call) and last_name(item.context_expr.func) in _CATCHING_CONTEXTS
    ]
    caught = any(_CATCH_ASSERTIONS & names_in(context) for context in catching)
    return replace(reach, required=reach.required and not catching, caught=reach.caught or caught)


def _functions_with_caught_assertions(tree: ast.Module) -> set[str]:
    """Functions of the tests that are called, directly or not, in code that catches AssertionError."""
    bodies = {node.name: node.body for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    waiting = [
        statement
        for node in ast.walk(tree)
        if (isinstance(node, ast.Try | ast.TryStar) and _inside_try(node, Reach()).caught)
        or (isinstance(node, ast.With | ast.AsyncWith) and _inside_contexts(node, Reach()).caught)
        for statement in node.body
    ]
    caught: set[str] = set()
    while waiting:
        names = without_dots(name for node in ast.walk(waiting.pop()) for name in loaded_names(node))
        for name in (names & bodies.keys()) - caught:
            caught.add(name)
            waiting += bodies[name]
    return caught


def _calling_decorators(tree: ast.Module) -> set[str]:
    """Decorators of the tests that call the decorated function in their body, not in a wrapper."""
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, FUNCTIONS) and function.args.args
        for node in _nodes_of_body(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.args.args[0].arg
    }


def _nodes_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Nodes of a function without those of nested functions."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def _expects_failure(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(last_name(decorator) == "expectedFailure" for decorator in node.decorator_list)


def _fails(statements: Sequence[ast.stmt]) -> bool:
    """Whether a handler ends with a failure of the tests, so that it hides no assertion."""
    match statements[-1]:
        case ast.Raise():
            return True
        case ast.Assert(ast.Constant(value)):
            return not value
        case ast.Expr(ast.Call(function, [ast.Constant(code), *_])):
            return last_name(function) in _LEAVING_CALLS and bool(code)
    return False


def _may_leave(node: ast.AST, exits: Exits, *, in_loop: bool = False) -> bool:
    """Whether a statement may leave the block around it early."""
    # It may by a return, a break, a yield that is not resumed, or an exit that does not fail the tests.
    if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) or exits.may_pass(node):
        return True
    if isinstance(node, ast.Break | ast.Continue):
        return not in_loop
    if isinstance(node, _SCOPES):
        return False
    in_loop = in_loop or isinstance(node, _LOOPS)
    return any(_may_leave(child, exits, in_loop=in_loop) for child in ast.iter_child_nodes(node))


def _calls_the_program(iterable: ast.expr) -> bool:
    """Whether a loop runs over the result of a call, which may be empty."""
    return any(isinstance(node, ast.Call) and last_name(node.func) not in _PURE_CALLS for node in ast.walk(iterable))


def _is_main_guard(test: ast.expr) -> bool:
    return "__name__" in names_in(test) and isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)


def _names_in_header(node: ast.stmt) -> Iterator[str]:
    """Names that a statement reads outside of its blocks."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            for part in ast.walk(child):
                yield from loaded_names(part)
