"""The parent's ends of a test's pipes. Reads what a program writes, up to a limit."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK_BYTES = 1 << 16  # the capacity of a pipe on Linux (pipe(7))
STDERR_TAIL_BYTES = 4096


@dataclass
class Sink:
    """The output of one pipe.

    Args:
        fd: the reading end.
        most_bytes: the pipe counts as flooded above this number of bytes.
        tail_bytes: number of last bytes to keep. None keeps all.
        watch: called with each part that arrives.

    Attributes:
        data: what was read and kept.
        seen_bytes: number of bytes read.
        closed: the writing end is closed.
    """

    fd: int
    most_bytes: int
    tail_bytes: int | None = None
    watch: Callable[[bytes], None] | None = None
    data: bytearray = field(default_factory=bytearray)
    seen_bytes: int = 0
    closed: bool = False

    @property
    def flooded(self) -> bool:
        return self.seen_bytes > self.most_bytes

    def read(self) -> bool:
        """Read what is available, at most one byte above the limit.

        Returns:
            False if nothing is available now or ever.
        """
        try:
            part = os.read(self.fd, min(_CHUNK_BYTES, self.most_bytes + 1 - self.seen_bytes) or 1)
        except BlockingIOError:
            return False
        self.closed = not part
        self.seen_bytes += len(part)
        self.data += part
        if self.tail_bytes is not None:
            # The last line names the exception, which a long traceback would push out of the start.
            del self.data[: -self.tail_bytes]
        if self.watch is not None and part:
            self.watch(part)
        return not self.closed

    def drain(self) -> None:
        """Read the rest after the process has ended."""
        while not self.closed and not self.flooded and self.read():
            pass


@dataclass
class Source:
    """The input of one pipe.

    Args:
        fd: the writing end.
        data: the bytes that remain to be written.

    Attributes:
        closed: everything is written, or the reading end is closed.
    """

    fd: int
    data: memoryview
    closed: bool = False

    def write(self) -> None:
        """Write what fits. Close at the end of the data, or if the reader has closed the pipe."""
        with suppress(BlockingIOError):
            # A program may end without reading its input, and its answer still counts.
            try:
                self.data = self.data[os.write(self.fd, self.data[:_CHUNK_BYTES]) :] if self.data else self.data
            except BrokenPipeError:
                self.data = memoryview(b"")
            if not self.data:
                self.closed = True
                os.close(self.fd)
