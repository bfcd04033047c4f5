"""Runs one program inside its own process, where nothing it does has to be believed.

A script is a plain `__main__`: its output is its answer. A call's answer is the JSON of what the function returned.
Both are compared by the parent, which alone knows what is expected.

Assertions run in the program's own interpreter. `assertions.instrument` has replaced each by a call of `check` with
what has to be evaluated here, and the values go to the parent, which holds the rest of the assertion: the literals
that a value is compared with never come here. Each record carries a digest over all records so far under a key that
arrives with the tests, after the program's module has run to its end, and whose only copy is inside a C object.
"""

import builtins
import io
import json
import os
import sys
import types
from _blake2 import blake2b  # hashlib would load OpenSSL into every process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from peft_study.execution import encode

# What is defined below keeps the built-ins of now, whatever a program puts in their place.
_BUILTINS = globals()["__builtins__"] = dict(vars(builtins))

_REPLY, _TESTS = 3, 4
_FILE = "main.py"
_FRAMES_TO_PROGRAM = 4
"""From `run` to the program's module."""
READY = b"ready\n"
RAISED = '["!"]'
"""Stands for a value whose evaluation raised, where the assertion may not need it."""
DIGEST_BYTES = 16

_write, _read, _close = os.write, os.read, os.close
_compile, _exec = compile, exec
_digits, _limit_digits = sys.get_int_max_str_digits, sys.set_int_max_str_digits
_streams: list[io.TextIOWrapper] = []
"""Standard output and error, whatever a program puts in their place."""


def prepare() -> None:
    """What is done once, before the first fork."""
    import _sitebuiltins
    import atexit

    for name in ("exit", "quit"):  # the site module defines them, and is left out
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()
    atexit._clear()
    _open_streams()


def run(job: dict[str, Any]) -> int:
    """Run a job's program.

    Args:
        job: kind, prelude, source, function and arguments, as the pool sends them.

    Returns:
        The exit code that an interpreter running this program would end with.
    """
    kind = job["kind"]
    module = types.ModuleType("__main__" if kind == "script" else "candidate")
    sys.modules[module.__name__] = module
    sys.argv = [_FILE]
    vars(module)["__file__"] = _FILE
    # The program begins as deep as it would without what stands below it here.
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth() + _FRAMES_TO_PROGRAM)
    code = _guarded(lambda: _program(kind, module, job))
    # As an interpreter ends: wait for threads, call what was registered, write out.
    for name, function in (("threading", "_shutdown"), ("atexit", "_run_exitfuncs")):
        with suppress(BaseException):
            if name in sys.modules:
                getattr(sys.modules[name], function)()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            code = code or 120  # as the interpreter does
    for stream in _streams:  # it lets these go, if they have been replaced, without a word
        with suppress(BaseException):
            stream.flush()
    return code


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
    _exec(_compile(job["source"], _FILE, "exec", dont_inherit=True), namespace)
    if kind == "call":
        value = _function(namespace, job["function"])(*_arguments(job["arguments"]))
        _send(encode.to_json(value).encode("ascii"))
    elif kind == "asserts":
        _run_tests(namespace)


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


def _run_tests(namespace: dict[str, Any]) -> None:
    """Ask for the tests, run them, and tell what they saw."""
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

    # The program's functions see their own globals, in which there is no way to write a record.
    around = dict(namespace)
    around["__builtins__"] = dict(_BUILTINS)
    around[tests.pop("name")] = _checker(record)
    _exec(_compile_given(tests.pop("source"), "tests.py"), around)
    record("done")


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


def _open_streams() -> None:
    """Open standard streams as an interpreter without a locale does, for the pipes that a child finds at 0, 1 and 2.

    Once for all: opening them takes longer than what most programs do. The pipes of now are only for what a stream
    asks when it is opened, such as whether it can seek.
    """
    reading, writing = os.pipe()
    for source, number in ((reading, 0), (writing, 1), (writing, 2)):
        os.dup2(source, number)
    os.close(reading)
    os.close(writing)
    opened = (
        ("stdin", io.TextIOWrapper(os.fdopen(0, "rb", closefd=False), "utf-8", "surrogateescape")),
        ("stdout", io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", "surrogateescape")),
        (
            "stderr",
            io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True),
        ),
    )
    for name, stream in opened:
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        _streams.append(stream)
    del _streams[0]


def _guarded(program: Callable[[], None]) -> int:
    """Run it, and say what an interpreter would on an exception that nobody caught."""
    try:
        program()
    except SystemExit as leaving:
        return _exit_code(leaving.code)
    except BaseException as error:
        with suppress(BaseException):
            error = BaseException.with_traceback(error, _own_frames(error))
            sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


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
