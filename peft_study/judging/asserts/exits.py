"""Exits that end tests: `unittest.main()`, `sys.exit(0)`, `raise SystemExit`, and aliases of them."""

import ast

from peft_study.judging.asserts.names import FUNCTIONS, imported_name, names_in, stored_names

_RUNNERS = frozenset({"main", "TestProgram"})  # of unittest: they run tests and exit with their outcome
_LEAVING = frozenset({"exit", "quit"})
_EXITS = _RUNNERS | _LEAVING


class Exits:
    """The names of exits in some tests.

    A name is an exit if the tests import it or assign an exit to it. A function `main` of the program is therefore not
    an exit. `exit` and `quit` are built in.

    Args:
        tree: the tests.
    """

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
        self._variables = stored_names(tree)
        self._names = {name: name for name in _LEAVING - {function.name for function in functions}}
        self._roots: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
        assignments = [node for node in nodes if isinstance(node, ast.Assign)]
        # Until nothing changes, because an alias may stand for another alias.
        while any(self._assign(node) for node in assignments):
            pass
        self._ending: set[str] = set()
        while any(self._define(function) for function in functions):
            pass

    def ends_tests(self, node: ast.AST) -> bool:
        """Return whether a node names an exit, or raises an exception that may be one."""
        return self._raises_exit(node) or (isinstance(node, ast.expr) and bool(self._exit_named(node)))

    def may_pass(self, node: ast.AST) -> bool:
        """Return whether a node may end the tests at once without failing them."""
        match node:
            case ast.Call(ast.Name(name) | ast.Attribute(_, name)) if name in self._ending:
                return True
            case ast.Call(function, arguments, keywords):
                name = self._exit_named(function)
                if name in _RUNNERS:
                    return not any(
                        keyword.arg == "exit" and _literal_truth(keyword.value) is False for keyword in keywords
                    )
                # An argument that is not a literal may be 0.
                return bool(name) and not (arguments and _literal_truth(arguments[0]) is True)
        return self._raises_exit(node)

    def may_fail(self, node: ast.AST) -> bool:
        """Return whether a node may end the tests with a failure."""
        match node:
            case ast.Attribute() | ast.Name():
                return self._exit_named(node) in _RUNNERS
            case ast.Call(function, [code, *_]):
                return bool(self._exit_named(function)) and _literal_truth(code) is not False
        return False

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = imported_name(alias)
            if isinstance(node, ast.Import):
                self._roots.add(name)
            elif alias.name == "*" and node.module == "unittest":
                self._names |= {runner: runner for runner in _RUNNERS}
            elif alias.name in _EXITS:
                self._names[name] = alias.name
            else:
                self._roots.add(name)

    def _assign(self, node: ast.Assign) -> bool:
        """Note the names that an assignment binds to an exit. Return whether any is new."""
        before = len(self._names), len(self._roots)
        exit_name, root = self._exit_named(node.value), _root(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and exit_name:
                self._names[target.id] = exit_name
            elif isinstance(target, ast.Name) and root in self._roots:
                self._roots.add(target.id)
        return before != (len(self._names), len(self._roots))

    def _define(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Note a function that may end the tests. Return whether it is new."""
        new = function.name not in self._ending and any(map(self.may_pass, ast.walk(function)))
        if new:
            self._ending.add(function.name)
        return new

    def _exit_named(self, node: ast.expr) -> str:
        """The exit that an expression names, "" if it names something else."""
        match node:
            case ast.Name(name):
                return self._names.get(name, "")
            case ast.Attribute(value, name) if name in _EXITS and _root(value) in self._roots:
                return name
        return ""

    def _raises_exit(self, node: ast.AST) -> bool:
        match node:
            case ast.Raise(ast.Name(name)) if name in self._variables:
                return True  # the variable may hold a SystemExit
            case ast.Raise(ast.expr() as exception):
                return "SystemExit" in names_in(exception)
        return False


def _root(node: ast.expr) -> str:
    """The first name in a chain of attributes and calls."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _literal_truth(node: ast.expr) -> bool | None:
    return bool(node.value) if isinstance(node, ast.Constant) else None
