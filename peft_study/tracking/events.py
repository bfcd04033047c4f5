"""A cell's progress as lines of JSON on a pipe, for the process that started the cell."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from peft_study.tracking.base import Row, Tracker

SECONDS_BETWEEN = 0.3


@dataclass
class Progress:
    """How far a cell is.

    Attributes:
        phase: "load", "train", "generate" or "score"; None before the first.
        done: finished units of the phase.
        total: all units of the phase; None if unknown.
        phase_seconds: how long the phase has run.
        loss: the latest training loss.
        validation_loss: the latest validation loss.
        peak_bytes: peak memory so far; None if it cannot be measured.
    """

    phase: str | None = None
    done: int = 0
    total: int | None = None
    phase_seconds: float = 0.0
    loss: float | None = None
    validation_loss: float | None = None
    peak_bytes: int | None = None

    @classmethod
    def from_line(cls, line: bytes) -> "Progress":
        """Parse a line that `EventTracker` wrote."""
        return cls(**json.loads(line))


class EventTracker(Tracker):
    """Writes a cell's progress to a pipe a few times a second. Each line holds the whole state.

    The process that made the pipe closes it. It sees the cell's process end, and reads result.json.

    Args:
        descriptor: the writing end of the pipe. Lines are dropped if the reader is slow.
        peak_bytes: measures the peak memory, in bytes.
    """

    def __init__(self, descriptor: int, peak_bytes: Callable[[], int | None]) -> None:
        # A sweep that is slow to read must not make its cells wait.
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._peak_bytes = peak_bytes
        self._state = Progress()
        self._began_seconds = self._written_seconds = 0.0

    def phase(self, name: str, total: int | None) -> None:
        self._state.phase, self._state.total, self._state.done = name, total, 0
        self._began_seconds = time.monotonic()
        self._write()

    def progress(self, done: int) -> None:
        self._state.done = done
        # The last unit is always written: otherwise a short phase would end at less than its total.
        if time.monotonic() - self._written_seconds > SECONDS_BETWEEN or done == self._state.total:
            self._write()

    def step(self, step: int, values: Row, usage: Row) -> None:
        self._state.loss = values.get("loss", self._state.loss)
        self._state.validation_loss = values.get("validation_loss", self._state.validation_loss)

    def _write(self) -> None:
        self._written_seconds = time.monotonic()
        self._state.phase_seconds = self._written_seconds - self._began_seconds
        self._state.peak_bytes = self._peak_bytes()
        # A line is shorter than PIPE_BUF, so it arrives whole or, if the pipe is full or closed, not at all.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, json.dumps(asdict(self._state)).encode() + b"\n")
