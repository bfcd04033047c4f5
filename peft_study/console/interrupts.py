"""Signals that end a process: those of schedulers become an exception like that of Ctrl-C."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which schedulers announce the end of a job, some time before SIGTERM."""
_AGAIN_SECONDS = 5.0
"""Schedulers send signals in pairs. A second one counts only after this time, in case the first exception was lost."""
_PR_SET_PDEATHSIG = 1
_Handler = Callable[[int, FrameType | None], object] | int | None


class TerminatedError(KeyboardInterrupt):
    """A signal asked this process to end. An interrupted cell can be resumed.

    Args:
        number: the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


class SignalGate:
    """Raises TerminatedError on a signal as long as the gate is open.

    Attributes:
        received: the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._open = True
        self._raised_at = float("-inf")

    def shut(self) -> None:
        """Let further signals change nothing, for instance while a result is written."""
        self._open = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; the handler for `signal.signal`.

        Raises:
            TerminatedError: the gate is open, and no signal raised this error a moment ago.
        """
        self.received = self.received or number
        # An exception that Python raises in a callback of a destructor is printed and lost, so the next signal counts.
        if self._open and time.monotonic() - self._raised_at > _AGAIN_SECONDS:
            self._raised_at = time.monotonic()
            raise TerminatedError(number)


@contextmanager
def termination_raises() -> Iterator[SignalGate]:
    """Raise TerminatedError on SIGTERM, SIGUSR1 and SIGUSR2, so that a scheduler's limit ends a cell like Ctrl-C.

    A library that had set a handler, such as submitit to requeue its job, gets the signal at the end of the context.
    Only the main thread of a process receives signals. In other threads, this does nothing.
    """
    gate = SignalGate()
    # A launcher may run a cell in another thread, where `signal.signal` raises ValueError.
    if threading.current_thread() is not threading.main_thread():
        yield gate
        return
    # A process that was told to ignore a warning keeps ignoring it.
    handled = [signal.SIGTERM, *(number for number in WARNINGS if signal.getsignal(number) is not signal.SIG_IGN)]
    before = {number: signal.signal(number, gate.handle) for number in handled}
    try:
        yield gate
    finally:
        gate.shut()
        for number, handler in before.items():
            signal.signal(number, handler)
        _hand_on(gate.received, before)


def _hand_on(number: int | None, handlers: Mapping[signal.Signals, _Handler]) -> None:
    """Call the handler that a library had set for a signal. A gate around this one does so at its own end."""
    if number is None:
        return
    handler = handlers[signal.Signals(number)]
    outer = getattr(handler, "__self__", None)
    if isinstance(outer, SignalGate):
        outer.received = outer.received or number
    elif callable(handler):
        handler(number, None)


def end_with_parent(parent: int) -> None:
    """Let the kernel terminate this process when its parent dies (Linux), so that no cell is left running unseen.

    Args:
        parent: process id of the parent.

    Raises:
        SystemExit: the parent died already.
    """
    if sys.platform == "linux":
        # Not SIGKILL: a cell catches SIGTERM and saves its result.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # The kernel sends nothing for a parent that died before the call.
        if os.getppid() != parent:
            raise SystemExit(128 + signal.SIGTERM)
