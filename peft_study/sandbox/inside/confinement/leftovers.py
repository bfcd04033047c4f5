"""Clears up after a test that has no private namespace to discard."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_TRIES = 200
_PAUSE_SECONDS = 0.01
_PATIENCE_SECONDS = 0.1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def reap(kill: Callable[[], None]) -> bool:
    """Kill the remaining processes of a test and wait for them.

    Args:
        kill: kills all of them.

    Returns:
        False if some remain.
    """
    # Several times: a process may fork between listing and kill, or stop the child of `kill_user` first.
    for _ in range(_TRIES):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        kill()
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
            time.sleep(_PAUSE_SECONDS / 10)
    return False


def kill_user(user: int) -> None:
    """Kill all processes of a user from a child that becomes this user.

    The processes may stop or kill that child first. The caller tries again until none is left.
    """
    # As that user, the kernel protects all other processes from the signal to -1.
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    patience_ends = time.monotonic() + _PATIENCE_SECONDS
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > patience_ends:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(_PAUSE_SECONDS / 20)


def kill_descendants() -> None:
    """Kill all processes below this one. Orphans are among them, because this process adopts them."""
    if sys.platform != "linux":
        return
    waiting = [os.getpid()]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                for child in _children(f"/proc/{parent}/task/{thread}/children"):
                    waiting.append(child)
                    # Stopped first, so that it cannot fork while its children are listed.
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGSTOP)
        if parent != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(parent, signal.SIGKILL)


def _children(path: str) -> list[int]:
    with open(path) as listed:
        return list(map(int, listed.read().split()))


def empty(folder: str) -> bool:
    """Remove everything in a folder, at any depth and with any permissions. No process may use the folder.

    It moves down and up by descriptors, one at a time: the program chooses names, and a path may be too long for the
    kernel.

    Returns:
        False if something remains.
    """
    try:
        fd = os.open(folder, _FOLDER)
    except OSError:
        return False
    above: list[tuple[str, tuple[int, int]]] = []
    try:
        while True:
            name = _remove_until_a_folder(fd)
            if name is not None:
                above.append((name, _identity(fd)))
                fd = _move(fd, name)
            elif above:
                name, identity = above.pop()
                fd = _move(fd, "..")
                if _identity(fd) != identity:  # the folder was moved
                    return False
                os.rmdir(name, dir_fd=fd)
            else:
                return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _remove_until_a_folder(fd: int) -> str | None:
    """Remove files and empty folders. Return the name of the first folder with content, None if nothing is left."""
    remaining = True
    while remaining:
        remaining = False
        with os.scandir(fd) as listing:
            for entry in listing:
                remaining = True
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=fd)
                    continue
                try:
                    os.rmdir(entry.name, dir_fd=fd)
                except OSError:
                    return entry.name
    return None


def _move(fd: int, name: str) -> int:
    """Replace an open folder by its parent or by a folder in it, under the same descriptor."""
    try:
        target = os.open(name, _FOLDER, dir_fd=fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=fd)
        target = os.open(name, _FOLDER, dir_fd=fd)
    os.fchmod(target, 0o700)  # entries of a folder without write permission cannot be removed
    os.dup2(target, fd, inheritable=False)
    os.close(target)
    return fd


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
