"""Which assertions every complete run of the tests evaluates, and which may fail without failing the tests.

Python's own rules decide: a test may return early, loop over nothing, or catch what an assertion raises.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from peft_study.judging.asserts.exits import Exits
from peft_study.judging.asserts.names import last_name, loaded_names, names_in, without_dots

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_CATCH_ASSERTIONS = frozenset({"AssertionError", "Exception", "BaseException"})
_CATCHING_CONTEXTS = frozenset({"suppress", "raises", "assertRaises", "assertRaisesRegex"})
_LEAVING_CALLS = frozenset({"exit", "quit", "_exit", "fail"})
_PURE_CALLS = frozenset(
    {"range", "zip", "enumerate", "list", "tuple", "set", "dict", "sorted", "reversed", "items", "keys", "values"}
)
"""Calls in a loop's iterable that leave it as long as what the tests wrote."""


@dataclass(frozen=True)
class Reach:
    """How a run of the tests comes by an assertion.

    Attributes:
        required: every run that comes to its end evaluates it.
        caught: the tests may catch the AssertionError that it raises, and pass all the same.
        in_class: it stands in the body of a class, whose names a function in it does not see.
    """

    required: bool = True
    caught: bool = False
    in_class: bool = False


def reach_of_assertions(tree: ast.Module) -> dict[ast.Assert, Reach]:
    """Follow the tests from top to bottom.

    Args:
        tree: the tests.

    Returns:
        how each `assert` statement is reached.
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
        # A function that only such a function calls may not be called either.
        called = flow.called


class _Flow:
    """Walks blocks of statements and notes the reach of each assertion.

    Args:
        called: names of functions that every complete run of the tests may call, a superset.
        caught: names of functions that are called where the tests catch what an assertion raises.
        calling: names of decorators that call what they decorate.
        exits: what ends the tests.

    Attributes:
        reaches: see `reach_of_assertions`.
        called: the names among `called` that stand where every complete run comes by.
    """

    def __init__(self, called: Set[str], caught: Set[str], calling: Set[str], exits: Exits) -> None:
        self.reaches: dict[ast.Assert, Reach] = {}
        self.called: set[str] = set()
        self._may_be_called, self._caught, self._calling = called, caught, calling
        self._exits = exits
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
                # `assert False` stands where a passing run does not come by.
                passes = not isinstance(test, ast.Constant) or bool(test.value)
                self.reaches[node] = replace(reach, required=reach.required and passes and not reach.caught)
            case ast.If():
                self.block(node.body, reach if _is_main_guard(node.test) else sometimes)
                self.block(node.orelse, sometimes)
            case ast.For() | ast.AsyncFor():
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
        """A function is called by its name, a method by its attribute where its class is named too.

        So `re.compile('a').match('a')` is not a call of a function or a method `match` of the tests.
        """
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
    """Functions of the tests that are called where what an assertion raises is caught, directly or through another."""
    bodies = {node.name: node.body for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)}
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
    """Functions of the tests that call what they decorate, in their own body."""
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, _FUNCTIONS) and function.args.args
        for node in _nodes_of_body(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function.args.args[0].arg
    }


def _nodes_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """What stands in a function, without what stands in a function in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def _expects_failure(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(last_name(decorator) == "expectedFailure" for decorator in node.decorator_list)


def _fails(statements: Sequence[ast.stmt]) -> bool:
    """Whether a handler ends with a failure of the tests, so that it hides nothing."""
    match statements[-1]:
        case ast.Raise():
            return True
        case ast.Assert(ast.Constant(value)):
            return not value
        case ast.Expr(ast.Call(function, [ast.Constant(code), *_])):
            return last_name(function) in _LEAVING_CALLS and bool(code)
    return False


def _may_leave(node: ast.AST, exits: Exits, *, in_loop: bool = False) -> bool:
    """Whether a statement may end the block around it before its end: by a return, a break, a yield that nobody comes
    back from, or an exit that does not fail the tests."""
    if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) or exits.may_pass(node):
        return True
    if isinstance(node, ast.Break | ast.Continue):
        return not in_loop
    if isinstance(node, _SCOPES):
        return False
    in_loop = in_loop or isinstance(node, _LOOPS)
    return any(_may_leave(child, exits, in_loop=in_loop) for child in ast.iter_child_nodes(node))


def _calls_the_program(iterable: ast.expr) -> bool:
    """Whether a loop runs over what a call gives, which may be nothing."""
    return any(isinstance(node, ast.Call) and last_name(node.func) not in _PURE_CALLS for node in ast.walk(iterable))


def _is_main_guard(test: ast.expr) -> bool:
    return "__name__" in names_in(test) and isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)


def _names_in_header(node: ast.stmt) -> Iterator[str]:
    """Names that a statement itself reads, without the blocks in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            for part in ast.walk(child):
                yield from loaded_names(part)
