"""Which assertions every complete run of the tests evaluates, and which may fail without failing the tests.

Python's own rules decide: a test may return early, loop over nothing, or catch what an assertion raises.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_CATCH_ASSERTIONS = frozenset({"AssertionError", "Exception", "BaseException"})
_CATCHING_CONTEXTS = frozenset({"suppress", "raises", "assertRaises", "assertRaisesRegex"})
_LEAVING_CALLS = frozenset({"exit", "quit", "_exit", "fail"})
_EXITING_CALLS = frozenset({"main", "exit", "quit", "TestProgram"})
_LOOKUPS = frozenset(
    {"globals", "locals", "vars", "dir", "eval", "exec", "getattr", "__dict__", "__subclasses__", "getmembers"}
    | {"TestLoader", "defaultTestLoader", "testmod", "run_module", "run_path", "register"}
)
"""Names of what finds functions by their names, or calls them later."""
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
    called = {name for node in ast.walk(tree) for name in _loaded_names(node)}
    while True:
        flow = _Flow(called, caught)
        flow.block(tree.body, Reach())
        if flow.called == called:
            return flow.reaches
        # A function that only such a function calls may not be called either.
        called = flow.called


def is_check(node: ast.AST) -> bool:
    """Whether a node can fail a test by itself: an `assert`, a call such as `m.assert_called_once()`, a raised
    AssertionError, or a context that wants an exception (`pytest.raises`)."""
    match node:
        case ast.Assert():
            return True
        case ast.Call(function):
            return _last_name(function).startswith("assert") or _last_name(function) == "raises"
        case ast.Raise(ast.expr() as exception):
            return "AssertionError" in _names(exception)
    return False


def may_fail(tree: ast.Module) -> bool:
    """Whether a run of the tests may come by something that can fail them.

    A test function that nothing calls, and a `TestCase` that nothing runs, fail no program. Where the tests look
    functions up by name, all of them may be called. A decorator calls a function if the tests define it.

    Args:
        tree: the tests.
    """
    nodes = list(ast.walk(tree))
    names = {name for node in nodes for name in _loaded_names(node)}
    defined = {node.name for node in nodes if isinstance(node, _DEFINITIONS)}
    if names & _LOOKUPS or "main" in names - defined:
        return any(map(is_check, nodes))
    waiting: list[ast.AST] = [tree]
    loaded: set[str] = set()
    functions: list[tuple[set[str], ast.stmt]] = []
    while waiting:
        node = waiting.pop()
        if is_check(node):
            return True
        loaded.update(_loaded_names(node))
        callers = {node.name} if isinstance(node, ast.ClassDef) else set()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _FUNCTIONS) and not any(defined & _names(each) for each in child.decorator_list):
                waiting += [part for part in ast.iter_child_nodes(child) if part not in child.body]
                functions += [({child.name} | callers, statement) for statement in child.body]
            else:
                waiting.append(child)
        if not waiting:
            waiting = [statement for names, statement in functions if names & loaded]
            functions = [(names, statement) for names, statement in functions if not names & loaded]
    return False


def exits_tests(node: ast.expr) -> bool:
    """Whether an expression may end the tests by an exit: `unittest.main()`, `sys.exit(0)`, `SystemExit`."""
    match node:
        case ast.Call(function):
            return _last_name(function) in _EXITING_CALLS
        case ast.Name("SystemExit"):
            return True
    return False


class _Flow:
    """Walks blocks of statements and notes the reach of each assertion.

    Args:
        called: names of functions that every complete run of the tests may call, a superset.
        caught: names of functions that are called where the tests catch what an assertion raises.

    Attributes:
        reaches: see `reach_of_assertions`.
        called: the names among `called` that stand where every complete run comes by.
    """

    def __init__(self, called: Set[str], caught: Set[str]) -> None:
        self.reaches: dict[ast.Assert, Reach] = {}
        self.called: set[str] = set()
        self._may_be_called, self._caught = called, caught

    def block(self, statements: Iterable[ast.stmt], reach: Reach) -> None:
        for statement in statements:
            self._statement(statement, reach)
            if _may_leave(statement):
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
                called = bool(node.decorator_list) or node.name in self._may_be_called
                caught = reach.caught or node.name in self._caught
                self.block(node.body, Reach(reach.required and called, caught))
            case ast.ClassDef():
                self.block(node.body, replace(reach, in_class=True))

    def _try(self, node: ast.Try | ast.TryStar, reach: Reach) -> None:
        sometimes = replace(reach, required=False)
        self.block(node.body, _inside_try(node, reach))
        for handler in node.handlers:
            self.block(handler.body, sometimes)
        self.block(node.orelse, sometimes)
        self.block(node.finalbody, reach)


def _inside_try(node: ast.Try | ast.TryStar, reach: Reach) -> Reach:
    passing = [handler for handler in node.handlers if not _fails(handler.body)]
    caught = any(handler.type is None or _CATCH_ASSERTIONS & _names(handler.type) for handler in passing)
    return replace(reach, required=reach.required and not passing, caught=reach.caught or caught)


def _inside_contexts(node: ast.With | ast.AsyncWith, reach: Reach) -> Reach:
    catching = [
        item.context_expr
        for item in node.items
        if isinstance(item.context_expr, ast.Call) and _last_name(item.context_expr.func) in _CATCHING_CONTEXTS
    ]
    caught = any(_CATCH_ASSERTIONS & _names(context) for context in catching)
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
        names = {name for node in ast.walk(waiting.pop()) for name in _loaded_names(node)}
        for name in (names & bodies.keys()) - caught:
            caught.add(name)
            waiting += bodies[name]
    return caught


def _fails(statements: Sequence[ast.stmt]) -> bool:
    """Whether a handler ends with a failure of the tests, so that it hides nothing."""
    match statements[-1]:
        case ast.Raise():
            return True
        case ast.Assert(ast.Constant(value)):
            return not value
        case ast.Expr(ast.Call(function, [ast.Constant(code), *_])):
            return _last_name(function) in _LEAVING_CALLS and bool(code)
    return False


def _may_leave(node: ast.AST, *, in_loop: bool = False) -> bool:
    """Whether a statement may end the block around it before its end: by a return, a break, or a yield that nobody
    comes back from."""
    if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
        return True
    if isinstance(node, ast.Break | ast.Continue):
        return not in_loop
    if isinstance(node, _SCOPES):
        return False
    in_loop = in_loop or isinstance(node, _LOOPS)
    return any(_may_leave(child, in_loop=in_loop) for child in ast.iter_child_nodes(node))


def _calls_the_program(iterable: ast.expr) -> bool:
    """Whether a loop runs over what a call gives, which may be nothing."""
    return any(isinstance(node, ast.Call) and _last_name(node.func) not in _PURE_CALLS for node in ast.walk(iterable))


def _is_main_guard(test: ast.expr) -> bool:
    return "__name__" in _names(test) and isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
    return ""


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _loaded_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(name, ast.Load()) | ast.Attribute(_, name, ast.Load()):
            yield name


def _names_in_header(node: ast.stmt) -> Iterator[str]:
    """Names that a statement itself reads, without the blocks in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            for part in ast.walk(child):
                yield from _loaded_names(part)
