"""The kernel's lock of a cell: a file that its process locks."""

import contextlib
import fcntl
import time
from pathlib import Path
from typing import TextIO

LOCK = ".lock"
_TRIES = 5
_PAUSE_SECONDS = 0.02


def lock_file(file: TextIO) -> bool:
    """Take the kernel's lock on a file, which the kernel releases with the process.

    Returns:
        False if the file system has no locks.

    Raises:
        BlockingIOError: another process has it.
    """
    for _ in range(_TRIES - 1):
        # A sweep that looks whether the cell is busy has the lock for a moment.
        with contextlib.suppress(BlockingIOError):
            return _try_lock(file)
        time.sleep(_PAUSE_SECONDS)
    return _try_lock(file)


def is_locked(folder: Path) -> bool | None:
    """Whether a process holds the kernel's lock of a cell.

    Args:
        folder: the cell's folder.

    Returns:
        None if the kernel cannot tell: the file system has no locks.
    """
    try:
        with _open_lock(folder / LOCK) as file:
            return False if _try_lock(file) else None
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open_lock(file: Path) -> TextIO:
    try:
        return file.open("r+")  # NFS locks only files that are open for writing
    except OSError:
        return file.open()  # of another user


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False  # such as Lustre without the option "flock"
    return True
