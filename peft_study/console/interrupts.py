"""Turns SIGTERM into an exception like that of Ctrl-C, and a closed output into a quiet exit."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class TerminatedError(KeyboardInterrupt):
    """SIGTERM asked this process to end. An interrupted cell can be resumed."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Raise TerminatedError on SIGTERM, so that a scheduler's time limit ends a cell as cleanly as Ctrl-C.

    Only the main thread of a process receives signals. In other threads, this does nothing.
    """
    # A launcher may run a cell in another thread, where `signal.signal` raises ValueError.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_quietly_on_broken_pipe(main: Callable[[], int]) -> int:
    """Run a command's main function. An output that is closed early (`| head`) does not count as an error.

    Args:
        main: returns the exit code.

    Returns:
        that code, or 0 if the output was closed.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again when it exits, and would print an error then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
