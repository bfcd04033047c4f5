"""Ends a process with the process that started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


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
