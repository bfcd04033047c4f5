"""What an interpreter does when a program ends by an exception, and what the parent hears of it."""

import builtins
import sys
import types
from contextlib import suppress
from typing import Any

from peft_study.sandbox.inside import encode
from peft_study.sandbox.inside.reply import PROGRAM_FILE, RAISED_MARK, TESTS_FILE, send

# Functions keep the built-ins that exist when they are defined, so a program cannot replace them.
globals()["__builtins__"] = dict(vars(builtins))

traceback_of = BaseException.__dict__["__traceback__"].__get__
"""Reads the traceback of an exception, even if the program's class defines an attribute of this name."""
_MOST_MESSAGE = 1000


def exit_code(code: Any) -> int:
    """Return the exit code of `SystemExit(code)`. Text goes to standard error, as in an interpreter."""
    if code is None:
        return 0
    if type(code) in (int, bool):
        return int(code) & 0xFF
    with suppress(BaseException):
        sys.stderr.write(f"{code}\n")
    return 1


def print_traceback(error: BaseException, harness: tuple[dict[str, Any], ...]) -> None:
    """Call the exception hook with the frames of the program.

    Args:
        error: the uncaught exception.
        harness: globals of the modules whose frames lie below the program's first frame.
    """
    with suppress(BaseException):
        error = BaseException.with_traceback(error, _frames_of_program(error, harness))
        sys.excepthook(type(error), error, error.__traceback__)


def report(error: BaseException) -> None:
    """Send the parent the exception's type, its message and the last place in the program or the tests."""
    with suppress(BaseException):
        file, line = [("", 0), *_places(error)][-1]
        if isinstance(error, SyntaxError) and error.filename in (PROGRAM_FILE, TESTS_FILE):
            file, line = str(error.filename), error.lineno or 0
        name, message = _name_and_message(error)
        row = {"type": name, "message": message[:_MOST_MESSAGE], "file": file, "line": line}
        send(RAISED_MARK + encode.to_json(row).encode("ascii") + b"\n")


def _name_and_message(error: BaseException) -> tuple[str, str]:
    """An exception's type and text. For the exit of `unittest.main()`, the first failed test and the reason."""
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
    """File and line of each frame of the program and the tests in a traceback, outermost first."""
    places = []
    frames = traceback_of(error)
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file in (PROGRAM_FILE, TESTS_FILE):
            places.append((file, frames.tb_lineno))
        frames = frames.tb_next
    return places


def _frames_of_program(error: BaseException, harness: tuple[dict[str, Any], ...]) -> types.TracebackType | None:
    """The traceback without the harness's frames at its start."""
    frames = error.__traceback__
    while frames is not None and any(frames.tb_frame.f_globals is module for module in harness):
        frames = frames.tb_next
    return frames or error.__traceback__
