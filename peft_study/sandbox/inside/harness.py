"""Runs one program inside its own process, where nothing it does has to be believed.

A script is a plain `__main__`: its output is its answer. A call's answer is the JSON of what the function returned.
Both are compared by the parent, which alone knows what is expected.

Assertions run in the program's own module, behind the program. `assertions.instrument` has replaced each by a call of
`check` with what has to be evaluated here, and the values go to the parent, which holds the rest of the assertion: the
literals that a value is compared with never come here. Each record carries a digest over all records so far under a key
that arrives with the tests, after the program's module has run to its end, and whose only copy is inside a C object.
"""

import builtins
import io
import json
import os
import sys
import types
from _blake2 import blake2b  # hashlib would load OpenSSL into every process
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from peft_study.sandbox.inside import encode, streams

# What is defined below keeps the built-ins of now, whatever a program puts in their place.
_BUILTINS = globals()["__builtins__"] = dict(vars(builtins))

_REPLY, _TESTS = 3, 4
_FILE, TESTS_FILE = "main.py", "tests.py"
_FRAMES_TO_PROGRAM = 4
"""From `run` to the program's module."""
READY = b"ready\n"
RAISED = '["!"]'
"""Stands for a value whose evaluation raised, where the assertion may not need it."""
DIGEST_BYTES = 16
RAISED_MARK = b"!"
"""Begins a line that tells of the exception that ended the program or its tests. It proves nothing."""
_MOST_MESSAGE = 1000

_write, _read, _close = os.write, os.read, os.close
_compile, _exec = compile, exec
_traceback = BaseException.__dict__["__traceback__"].__get__
"""What was raised may be of a class of the program, which may have an attribute of this name."""
_LIBRARY = os.__file__.removesuffix("os.py")
_open = io.open_code
_digits, _limit_digits = sys.get_int_max_str_digits, sys.set_int_max_str_digits


def prepare() -> None:
    """What is done once, before the first fork."""
    import _sitebuiltins
    import atexit

    for name in ("exit", "quit"):  # the site module defines them, and is left out
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()
    atexit._clear()
    streams.prepare()


def run(job: dict[str, Any]) -> int:
    """Run a job's program.

    Args:
        job: kind, prelude, source, function and arguments, as the pool sends them.

    Returns:
        The exit code that an interpreter running this program would end with.
    """
    kind = job["kind"]
    name = "__main__" if kind == "script" else "candidate"
    sys.argv = [_FILE]
    # The program begins as deep as it would without what stands below it here.
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth() + _FRAMES_TO_PROGRAM)
    # Nothing here holds on to the module, whose objects an interpreter lets go at its end.
    code = _guarded(lambda: _program(kind, _new_module(name), job), tell=kind == "asserts")
    # As an interpreter ends: wait for threads, call what was registered, write out, let objects go, write out.
    for ender, function in (("threading", "_shutdown"), ("atexit", "_run_exitfuncs")):
        with suppress(BaseException):
            if ender in sys.modules:
                getattr(sys.modules[ender], function)()
    if not streams.flush():
        code = code or 120  # as the interpreter does
    if kind == "script":
        streams.finalize(name)
        streams.flush()
    return code


def _new_module(name: str) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    # As in a file that an interpreter runs.
    vars(module).update(__file__=_FILE, __cached__=None, __annotations__={})
    return module


def _depth() -> int:
    frame: types.FrameType | None = sys._getframe(1)
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _program(kind: str, module: types.ModuleType, job: dict[str, Any]) -> None:
    namespace = vars(module)
    namespace["__builtins__"] = builtins  # not the copy kept here
    if job["prelude"]:
        _exec(_compile_given(job["prelude"], "prelude.py"), namespace)
    # Python skips a byte-order mark at the start of a file.
    _exec(_compile(job["source"].removeprefix("\ufeff"), _FILE, "exec", dont_inherit=True), namespace)
    if kind == "call":
        value = _function(namespace, job["function"])(*_arguments(job["arguments"]))
        _send(encode.to_json(value).encode("ascii"))
    elif kind == "asserts":
        _run_tests(module)


def _compile_given(source: str, name: str) -> Any:
    """Compile what belongs to the problem, whose integers may have any length."""
    limit = _digits()
    _limit_digits(0)
    try:
        return _compile(source, name, "exec", dont_inherit=True)
    finally:
        _limit_digits(limit)


def _function(namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """The method of class `Solution`, as the published APPS checker has it; else the function of that name.

    In this order, because a prelude may have a function of the same name (`product`).
    """
    if hasattr(namespace.get("Solution"), name):
        found: Callable[..., Any] = getattr(namespace["Solution"](), name)
        return found
    function: Callable[..., Any] = namespace[name]
    return function


def _arguments(text: str) -> list[Any]:
    """A call's arguments. JSON has text alone for keys: where all keys of the first argument are integers, they become
    such again, as the checker published with APPS has it."""
    arguments: list[Any] = json.loads(text)
    if arguments and type(arguments[0]) is dict:
        with suppress(ValueError):
            arguments[0] = {int(key): value for key, value in arguments[0].items()}
    return arguments


def _run_tests(module: types.ModuleType) -> None:
    """Ask for the tests, run them in the program's module, and tell what they saw.

    Program and tests see each other's names, as in one file. Only behind the program is that file `__main__`, so that
    a main guard of the tests holds, and one of the program does not.
    """
    _send(READY)
    received = b""
    while part := _read(_TESTS, 1 << 16):
        received += part
    _close(_TESTS)
    tests = json.loads(received)
    chain = blake2b(key=bytes.fromhex(tests.pop("key")), digest_size=DIGEST_BYTES)
    received = b""

    def record(text: str) -> None:
        body = text.encode("ascii")
        chain.update(body)
        _send(body + b" " + chain.hexdigest().encode("ascii") + b"\n")

    namespace = vars(module)
    namespace["__name__"] = "__main__"
    sys.modules["__main__"] = module
    exits = tests.pop("exits")
    namespace[tests.pop("name")] = _checker(record)
    code = _compile_given(tests.pop("source"), TESTS_FILE)
    try:
        _exec(code, namespace)
    except SystemExit as leaving:
        # unittest.main() ends so. An exit from the program does not count as the end of the tests.
        if _exit_code(leaving.code) != 0 or not _ends_tests(leaving, code, exits):
            raise
    record("done")


def _ends_tests(leaving: SystemExit, tests: types.CodeType, exits: list[int]) -> bool:
    """Whether an exit is the tests' own.

    No frame of the program may stand between the tests and the exit, and the innermost frame of the tests must be at
    one of the lines of `exits`. File names do not decide: a program can give its code any name.
    """
    own = {id(code) for code in _codes(tests)}
    frames: types.TracebackType | None = _traceback(leaving)
    while frames is not None and frames.tb_frame.f_code is not tests:
        frames = frames.tb_next
    line = 0
    while frames is not None:
        code = frames.tb_frame.f_code
        if id(code) in own:
            line = frames.tb_lineno
        elif not _is_of_library(code):
            return False
        frames = frames.tb_next
    return line in exits


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those of all functions and classes in it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from _codes(constant)


def _is_of_library(code: types.CodeType) -> bool:
    """Whether the file that a code object names is the standard library's, and holds this code."""
    name = code.co_filename
    if not name.startswith(_LIBRARY) or "/../" in name:
        return False
    try:
        with _open(name) as file:
            module = _compile(file.read(), name, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return False
    return any(_form(code) == _form(each) for each in _codes(module))


def _form(code: types.CodeType) -> tuple[object, ...]:
    return code.co_qualname, code.co_firstlineno, code.co_code, code.co_names


def _checker(record: Callable[[str], None]) -> Callable[..., None]:
    def check(number: int, optional: int, modes: str, *parts: Callable[[], Any]) -> None:
        """Evaluate the parts of an assertion and tell their values; those behind the first `optional` may raise.

        Args:
            number: of the assertion.
            optional: see above.
            modes: a letter a part: a value ("v"), what is looked through ("m"), two that are compared
                ("c"), the second by looking through it ("i").
            parts: functions without arguments.
        """
        values: list[str] = []
        for position, (mode, part) in enumerate(zip(modes, parts, strict=True)):
            try:
                values += _FORMS[mode](part())
            except Exception:
                if position < optional:
                    raise
                values += [RAISED] * VALUES_OF_MODE[mode]
        record(f"[{number},{','.join(values)}]" if values else f"[{number}]")

    return check


def _compared(
    part: tuple[Any, Any, Callable[[Any, Any], Any]], tell_right: Callable[[Any], str] = encode.to_tagged_open
) -> list[str]:
    """Two values, and whether the comparison holds where neither can be told, else null: then the parent compares."""
    left, right, compare = part
    if encode.has_equality_of_its_class(left) and encode.has_equality_of_its_class(right):
        return [encode.OPAQUE, encode.OPAQUE, "true" if compare(left, right) else "false"]
    written = []
    for side in (left, right):
        try:
            written.append(encode.to_tagged(side))
        except encode.NotPlainError:
            continue
    if written:
        return [encode.to_tagged_open(left), tell_right(right), "null"]
    return [encode.OPAQUE, encode.OPAQUE, "true" if compare(left, right) else "false"]


_FORMS: dict[str, Callable[[Any], list[str]]] = {
    "v": lambda value: [encode.to_tagged_open(value)],
    "m": lambda value: [encode.members_tagged(value)],
    "c": _compared,
    "i": lambda part: _compared(part, encode.members_tagged),
}
VALUES_OF_MODE = {"v": 1, "m": 1, "c": 3, "i": 3}
"""How many values a part of each mode becomes."""


def _send(body: bytes) -> None:
    while body:
        body = body[_write(_REPLY, body) :]


def _guarded(program: Callable[[], None], *, tell: bool) -> int:
    """Run it, and say what an interpreter would on an exception that nobody caught; to the parent, too, if `tell`."""
    try:
        program()
    except SystemExit as leaving:
        if tell:
            _tell(leaving)
        return _exit_code(leaving.code)
    except BaseException as error:
        if tell:
            _tell(error)
        with suppress(BaseException):
            error = BaseException.with_traceback(error, _own_frames(error))
            sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _tell(error: BaseException) -> None:
    """Tell the parent the exception's type, its message, and the last place in the program or the tests."""
    with suppress(BaseException):
        file, line = [("", 0), *_places(error)][-1]
        if isinstance(error, SyntaxError) and error.filename in (_FILE, TESTS_FILE):
            file, line = str(error.filename), error.lineno or 0
        name, message = _name_and_message(error)
        told = {"type": name, "message": message[:_MOST_MESSAGE], "file": file, "line": line}
        _send(RAISED_MARK + encode.to_json(told).encode("ascii") + b"\n")


def _name_and_message(error: BaseException) -> tuple[str, str]:
    """An exception's type and text. For the exit of `unittest.main()`, the first test that failed, and why."""
    if isinstance(error, SyntaxError):
        return type(error).__name__, error.msg
    frames = error.__traceback__ if isinstance(error, SystemExit) else None
    while frames is not None:
        result = getattr(frames.tb_frame.f_locals.get("self"), "result", None)
        failures = [*getattr(result, "errors", ()), *getattr(result, "failures", ())]
        if failures:
            test, text = failures[0]
            return str(test.id()), str(text).strip().rpartition("\n")[2]
        frames = frames.tb_next
    return type(error).__name__, str(error)


def _places(error: BaseException) -> list[tuple[str, int]]:
    """File and line of each frame of the program and the tests that an exception went through, the outermost first."""
    places = []
    frames = _traceback(error)
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file in (_FILE, TESTS_FILE):
            places.append((file, frames.tb_lineno))
        frames = frames.tb_next
    return places


def _own_frames(error: BaseException) -> types.TracebackType | None:
    """The traceback from the program's first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    return frames or error.__traceback__


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if type(code) in (int, bool):
        return int(code) & 0xFF
    with suppress(BaseException):
        sys.stderr.write(f"{code}\n")
    return 1
