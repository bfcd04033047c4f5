"""Standard streams of a forked process, in the state that a new interpreter gives them."""

import builtins
import gc
import io
import os
import sys
from contextlib import suppress
from typing import Any

# Functions keep the built-ins that exist when they are defined, so a program cannot replace them.
globals()["__builtins__"] = dict(vars(builtins))

_NAMES = ("stdin", "stdout", "stderr")
# These paths lead to /proc, which the sandbox lacks, and `open("/dev/stdin")` is common in contest programs.
_DESCRIPTORS = {f"/dev/{name}": number for number, name in enumerate(_NAMES)} | {
    f"{folder}/{number}": number for folder in ("/dev/fd", "/proc/self/fd") for number in range(len(_NAMES))
}
_collect, _is_enabled = gc.collect, gc.isenabled
# Standard output and error, even if a program replaces them in `sys`.
_written: list[io.TextIOWrapper] = []


def prepare() -> None:
    """Open the streams and let `open` find them by their paths. Called once, before the first fork.

    Opening streams takes longer than most programs run. The pipes serve only for queries when a stream is opened, such
    as whether it can seek. A child has other pipes at 0, 1 and 2.
    """
    reading, writing = os.pipe()
    for source, number in ((reading, 0), (writing, 1), (writing, 2)):
        os.dup2(source, number)
    os.close(reading)
    os.close(writing)
    for number, name in enumerate(_NAMES):
        stream = _stream(number, name)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        if number:
            _written.append(stream)
    _find_by_path()


def flush() -> bool:
    """Flush the streams.

    Returns:
        False if flushing a stream that the program has put in their place failed.
    """
    written = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            written = False
    for stream in _written:  # an interpreter ignores errors of replaced streams
        with suppress(BaseException):
            stream.flush()
    return written


def finalize(module: str) -> None:
    """Release the objects of a program in the order of CPython's `Py_FinalizeEx`. Their `__del__` may still write.

    Args:
        module: name of the program's module. Nothing else may refer to the module or its names.
    """
    # This collection finds little garbage. It makes the second one release a file before its buffer.
    with suppress(BaseException):
        if _is_enabled():
            _collect()
    for name in _NAMES:
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    sys.modules.pop(module, None)
    with suppress(BaseException):
        _collect()


def _stream(number: int, name: str) -> io.TextIOWrapper:
    """A standard stream as `create_stdio` in CPython's pylifecycle.c makes it in UTF-8 mode."""
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    errors = "backslashreplace" if name == "stderr" else "surrogateescape"
    stream: Any = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=name == "stderr")
    stream.mode = "r" if number == 0 else "w"  # templates of contest programs look at `sys.stdin.mode`
    return stream  # type: ignore[no-any-return]


def _find_by_path() -> None:
    """Let `open` and `os.open` duplicate the descriptor that a path such as /dev/stdin names."""
    open_file, open_descriptor, path_of, duplicate = io.open, os.open, os.fspath, os.dup

    def number_of(file: Any) -> int | None:
        return _DESCRIPTORS.get(path_of(file)) if isinstance(file, str | os.PathLike) else None

    def open(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        number = number_of(file) if opener is None else None
        if number is not None:
            opener = lambda path, flags: duplicate(number)  # noqa: E731
        return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        number = number_of(path)
        return open_descriptor(path, flags, mode, dir_fd=dir_fd) if number is None else duplicate(number)

    open.__module__, open.__qualname__ = "io", "open"
    os_open.__module__, os_open.__name__, os_open.__qualname__ = "os", "open", "open"
    builtins.open = io.open = open
    os.open = os_open
