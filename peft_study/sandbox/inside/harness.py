"""Runs one program in its own process. The parent believes nothing that this process says.

A script runs as a plain `__main__`, and its output is the answer. The answer of a call is the JSON of the returned
value. The parent compares both, and only the parent knows the expected answer. Tests that assert run in the program's
module, after the program: see `evaluate`.
"""

import builtins
import json
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from peft_study.sandbox.inside import encode, evaluate, exceptions, streams
from peft_study.sandbox.inside.reply import PROGRAM_FILE, send

# Functions keep the built-ins that exist when they are defined, so a program cannot replace them.
globals()["__builtins__"] = dict(vars(builtins))

_FRAMES_TO_PROGRAM = 4  # from `run` to the program's module
_HARNESS = globals(), vars(evaluate)
_compile, _exec = compile, exec


def prepare() -> None:
    """Prepare the interpreter once, before the first fork."""
    import _sitebuiltins
    import atexit

    for name in ("exit", "quit"):  # the site module defines them, and the worker runs without it
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()
    atexit._clear()  # handlers of modules that the worker has loaded, which would run at the end of every test
    streams.prepare()


def run(job: dict[str, Any]) -> int:
    """Run a job's program.

    Args:
        job: kind, prelude, source, function and arguments, as the pool sends them.

    Returns:
        The exit code of an interpreter that runs this program.
    """
    kind = job["kind"]
    # As in the published APPS checker, a program that is called is an imported module. Its main guard does not run.
    name = "__main__" if kind == "script" else "candidate"
    sys.argv = [PROGRAM_FILE]
    # The program gets the full recursion depth, as if no frames of the harness were below it.
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth() + _FRAMES_TO_PROGRAM)
    # The module is a temporary: no name keeps it alive when the streams are finalized.
    code = _guarded(lambda: _program(kind, _new_module(name), job), report=kind == "asserts")
    # As an interpreter ends: wait for threads, call exit handlers, flush, release objects, flush.
    for ender, function in (("threading", "_shutdown"), ("atexit", "_run_exitfuncs")):
        with suppress(BaseException):
            if ender in sys.modules:
                getattr(sys.modules[ender], function)()
    if not streams.flush():
        code = code or 120  # CPython's exit code if flushing fails
    if kind == "script":
        streams.finalize(name)
        streams.flush()
    return code


def _new_module(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    # As in a file that an interpreter runs.
    vars(module).update(__file__=PROGRAM_FILE, __cached__=None, __annotations__={})
    return module


def _depth() -> int:
    frame: types.FrameType | None = sys._getframe(1)
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _program(kind: str, module: types.ModuleType, job: dict[str, Any]) -> None:
    namespace = vars(module)
    namespace["__builtins__"] = builtins  # the real module, not the copy of this one
    if job["prelude"]:
        _exec(evaluate.compile_any_length(job["prelude"], "prelude.py"), namespace)
    # Python skips a byte-order mark at the start of a file.
    _exec(_compile(job["source"].removeprefix("\ufeff"), PROGRAM_FILE, "exec", dont_inherit=True), namespace)
    if kind == "call":
        value = _function(namespace, job["function"])(*_arguments(job["arguments"]))
        send(encode.to_json(value).encode("ascii"))
    elif kind == "asserts":
        evaluate.run_tests(module)


def _function(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """The method of class `Solution`, as in the published APPS checker, or the function of that name."""
    # The method comes first because a prelude may hold a function of the same name (`product`).
    has_method = hasattr(namespace.get("Solution"), name)
    function: Callable[..., Any] = getattr(namespace["Solution"](), name) if has_method else namespace[name]
    return function


def _arguments(text: str) -> list[Any]:
    # JSON keys are text. If all keys of the first argument are integers, they become integers again, as in the
    # published APPS checker.
    arguments: list[Any] = json.loads(text)
    if arguments and type(arguments[0]) is dict:
        with suppress(ValueError):
            arguments[0] = {int(key): value for key, value in arguments[0].items()}
    return arguments


def _guarded(program: Callable[[], None], *, report: bool) -> int:
    """Run a program, handle an uncaught exception as an interpreter does, and return the exit code."""
    try:
        program()
    except SystemExit as leaving:
        if report:
            exceptions.report(leaving)
        return exceptions.exit_code(leaving.code)
    except BaseException as error:
        if report:
            exceptions.report(error)
        exceptions.print_traceback(error, _HARNESS)
        return 1
    return 0
