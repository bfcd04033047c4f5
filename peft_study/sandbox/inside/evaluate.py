"""Evaluates assertions in the program's module, and sends the values that they compare.

`judging.asserts.instrument` replaces each assertion by a call of the function from `checker`, with the parts that must
be evaluated in this process. Their values go to the parent, which holds the rest of the assertion. The literals that a
value is compared with never enter this process.

Each record carries a digest over all records so far. The key arrives with the tests, after the program's module has
run to its end, and its only copy is inside a C object.
"""

import builtins
import io
import json
import os
import sys
import types
from _blake2 import blake2b  # hashlib would load OpenSSL into every process
from collections.abc import Callable, Iterator
from typing import Any

from peft_study.sandbox.inside import encode, exceptions
from peft_study.sandbox.inside.reply import DIGEST_BYTES, RAISED, READY, TESTS_FD, TESTS_FILE, VALUES_OF_MODE, send

# Functions keep the built-ins that exist when they are defined, so a program cannot replace them.
globals()["__builtins__"] = dict(vars(builtins))

_read, _close = os.read, os.close
_compile, _exec = compile, exec
_open = io.open_code
_LIBRARY = os.__file__.removesuffix("os.py")
_digits, _limit_digits = sys.get_int_max_str_digits, sys.set_int_max_str_digits


def compile_any_length(source: str, name: str) -> Any:
    """Compile source that belongs to the problem, whose integers may have any length."""
    limit = _digits()
    _limit_digits(0)
    try:
        return _compile(source, name, "exec", dont_inherit=True)
    finally:
        _limit_digits(limit)


def run_tests(module: types.ModuleType) -> None:
    """Ask for the tests, run them in the program's module, and send what they saw.

    Program and tests see each other's names, as in one file. The module becomes `__main__` only after the program has
    run. A main guard of the tests therefore holds, and one of the program does not.

    Args:
        module: the module that the program ran in.
    """
    send(READY)
    received = b""
    while part := _read(TESTS_FD, 1 << 16):
        received += part
    _close(TESTS_FD)
    tests = json.loads(received)
    # `pop`, so that no object of Python holds the key when the program's functions are called again.
    chain = blake2b(key=bytes.fromhex(tests.pop("key")), digest_size=DIGEST_BYTES)
    received = b""  # holds the key, too

    def record(text: str) -> None:
        body = text.encode("ascii")
        chain.update(body)
        send(body + b" " + chain.hexdigest().encode("ascii") + b"\n")

    namespace = vars(module)
    namespace["__name__"] = "__main__"
    sys.modules["__main__"] = module
    exits = tests.pop("exits")
    namespace[tests.pop("name")] = checker(record)
    code = compile_any_length(tests.pop("source"), TESTS_FILE)
    try:
        _exec(code, namespace)
    except SystemExit as leaving:
        # unittest.main() ends this way. An exit from the program does not count as the end of the tests.
        if exceptions.exit_code(leaving.code) != 0 or not _ends_tests(leaving, code, exits):
            raise
    record("done")


def _ends_tests(leaving: SystemExit, tests: types.CodeType, exits: list[int]) -> bool:
    """Whether an exit comes from the tests."""
    # No frame of the program may lie between the tests and the exit, and the innermost frame of the tests must be at
    # one of the lines of `exits`. File names do not decide: a program can give its code any name.
    codes_of_tests = {id(code) for code in _codes(tests)}
    frames: types.TracebackType | None = exceptions.traceback_of(leaving)
    while frames is not None and frames.tb_frame.f_code is not tests:
        frames = frames.tb_next
    line = 0
    while frames is not None:
        code = frames.tb_frame.f_code
        if id(code) in codes_of_tests:
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
    """Whether a code object names a file of the standard library, and that file holds this code."""
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


def checker(record: Callable[[str], None]) -> Callable[..., None]:
    """Make the function that stands in place of assertions.

    Args:
        record: sends one record.
    """

    def check(number: int, optional: int, modes: str, *parts: Callable[[], Any]) -> None:
        """Evaluate the parts of an assertion and send their values.

        Args:
            number: the number of the assertion.
            optional: the position from which parts may raise.
            modes: a letter per part: a value ("v"), the members of a container ("m"), two values to compare ("c"), two
                values of which the second is a container ("i").
            parts: functions without parameters.
        """
        values: list[str] = []
        for position, (mode, part) in enumerate(zip(modes, parts, strict=True)):
            try:
                values += _FORMS[mode](part())
            except Exception:
                # Python would have evaluated this part, so its exception ends the tests as in plain Python.
                if position < optional:
                    raise
                values += [RAISED] * VALUES_OF_MODE[mode]
        record(f"[{number},{','.join(values)}]" if values else f"[{number}]")

    return check


def _compared(
    part: tuple[Any, Any, Callable[[Any, Any], Any]], write_right: Callable[[Any], str] = encode.to_tagged_open
) -> list[str]:
    """Two values and the result of their comparison. The result is null if the parent can compare the values."""
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
        return [encode.to_tagged_open(left), write_right(right), "null"]
    return [encode.OPAQUE, encode.OPAQUE, "true" if compare(left, right) else "false"]


_FORMS: dict[str, Callable[[Any], list[str]]] = {
    "v": lambda value: [encode.to_tagged_open(value)],
    "m": lambda value: [encode.members_tagged(value)],
    "c": _compared,
    "i": lambda part: _compared(part, encode.members_tagged),
}
