"""Making a request to end look like Ctrl-C, and a reader that went away like the end of what it wanted to see."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class TerminatedError(KeyboardInterrupt):
    """SIGTERM asked this process to end; the cell can go on later."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Raise TerminatedError on SIGTERM, so that a scheduler's time limit ends a cell as cleanly as a person does.

    Only a process's main thread receives signals; in another one nothing changes.
    """
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
    """Run a command's main function; nobody reading its output any more (`| head`) is no error.

    Args:
        main: returns the exit code.

    Returns:
        that code, or 0 where the reader left.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
