"""Clears up behind a test where it has no namespace of its own that could be thrown away."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_TRIES = 200
_PAUSE_SECONDS = 0.01


def reap(kill: Callable[[], None]) -> bool:
    """Collect every process that is left of a test, and kill those that run.

    Args:
        kill: kills all of them.

    Returns:
        False where some do not go.
    """
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
    """Kill every process of a user, by one that becomes this user."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def kill_descendants() -> None:
    """Kill every process below this one, which adopts orphans."""
    if sys.platform != "linux":
        return
    waiting = [os.getpid()]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                for child in _children(f"/proc/{parent}/task/{thread}/children"):
                    waiting.append(child)
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGSTOP)
        if parent != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(parent, signal.SIGKILL)


def _children(path: str) -> list[int]:
    with open(path) as listed:
        return list(map(int, listed.read().split()))


def empty(folder: str) -> bool:
    """Remove everything in a folder that no process uses any more, however deep and whatever its rights.

    Folders in folders are first moved up, so that no path grows too long.

    Returns:
        False where something stays.
    """
    try:
        moved = 0
        while True:
            with os.scandir(folder) as found:
                entries = list(found)
            if not entries:
                return True
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                with os.scandir(entry.path) as inner:
                    for member in inner:
                        if member.is_dir(follow_symlinks=False):
                            moved += 1
                            os.chmod(member.path, 0o700)
                            os.rename(member.path, os.path.join(folder, f".{os.getpid()}-{moved}"))
                        else:
                            os.unlink(member.path)
                os.rmdir(entry.path)
    except OSError:
        return False
