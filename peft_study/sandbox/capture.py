"""The parent's ends of a test's pipes: reads what a program writes, and never more than it may."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_CHUNK_BYTES = 1 << 16
STDERR_TAIL_BYTES = 4096


@dataclass
class Sink:
    """What comes out of one pipe.

    Args:
        fd: the reading end.
        most_bytes: after so many the pipe counts as flooded.
        tail_bytes: keep only the last bytes; None keeps all.
        watch: called with what has come, whenever more has.
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
        """Read what is there, at most one byte more than allowed.

        Returns:
            False where there is nothing to read now.
        """
        try:
            part = os.read(self.fd, min(_CHUNK_BYTES, self.most_bytes + 1 - self.seen_bytes) or 1)
        except BlockingIOError:
            return False
        self.closed = not part
        self.seen_bytes += len(part)
        self.data += part
        if self.tail_bytes is not None:
            del self.data[: -self.tail_bytes]
        if self.watch is not None and part:
            self.watch(part)
        return not self.closed

    def drain(self) -> None:
        """Read what a process that has ended left behind."""
        while not self.closed and not self.flooded and self.read():
            pass


@dataclass
class Source:
    """What goes into one pipe.

    Args:
        fd: the writing end.
        data: what is still to be written.
    """

    fd: int
    data: memoryview
    closed: bool = False

    def write(self) -> None:
        """Write what fits; at the end, or where nobody reads any more, close."""
        with suppress(BlockingIOError):
            try:
                self.data = self.data[os.write(self.fd, self.data[:_CHUNK_BYTES]) :] if self.data else self.data
            except BrokenPipeError:
                self.data = memoryview(b"")
            if not self.data:
                self.closed = True
                os.close(self.fd)
