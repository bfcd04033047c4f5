"""Making a request to end look like Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
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
