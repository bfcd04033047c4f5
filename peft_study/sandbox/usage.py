"""What the processes of a test use, as the parent sees it."""

import itertools
import math
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BEYOND_WATCHED_BYTES = 1 << 30
"""Address space of a process beyond the memory limit, for stacks of threads and what is reserved and never touched."""
BEYOND_UNWATCHED_BYTES = 64 << 20
"""The same where this process cannot see what programs use, and address space is all that limits them."""
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_MOST_ENTRIES = 20_000
_DEEPEST = 64
"""Folders in folders."""
_MOST_ROUNDS = 100
_EXITING = 0x4
"""PF_EXITING of linux/sched.h: a task that has given its memory back, or is about to."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def can_watch() -> bool:
    """The kernel tells the children of a process (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").exists()


@dataclass
class Usage:
    """What all processes of a test use together.

    Attributes:
        memory_bytes: resident and not backed by a file; pages that several share count once where the kernel tells.
        cpu_seconds: of the living, and of their children that have ended.
        file_bytes: in the work folder, where the parent can see it, and in removed files that are still open.
        tasks: processes and threads.
        own_seconds: the part of `cpu_seconds` of each living process itself.
    """

    memory_bytes: float = 0
    cpu_seconds: float = 0.0
    file_bytes: float = 0
    tasks: int = 0
    own_seconds: dict[int, float] = field(default_factory=dict)


def descendants(pid: int) -> list[int]:
    """Every process below this one, nearest first; empty where the kernel does not tell."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    children = (thread / "children").read_text().split()
                    found.extend(map(int, children))
                    waiting.extend(map(int, children))
    return found


def kill_user(user: int) -> None:
    """Kill every process of a user, until there is none."""
    for _ in range(_MOST_ROUNDS):
        found = [int(process.name) for process in Path("/proc").iterdir() if _belongs(process, user)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _belongs(process: Path, user: int) -> bool:
    if not process.name.isdecimal():
        return False
    try:
        # As bytes: a process gives itself its name.
        status = (process / "status").read_bytes()
        return b"\nUid:\t%d\t" % user in status and (b"\nState:\tZ" not in status or _lives(process.name))
    except OSError:
        return False


def usage(worker: int, folder: str | None) -> Usage:
    """Add up what runs below a worker.

    Args:
        worker: the process that forks tests.
        folder: the work folder as the parent sees it, or None.

    Returns:
        Zeros where the machine has no /proc; infinite memory where a process runs whose memory cannot be read.
    """
    used = Usage()
    pids = descendants(worker)
    for pid in pids:
        with suppress(OSError):  # it may end at any moment
            used.memory_bytes += _memory_bytes(pid, shared=len(pids) > 1)
            own_seconds, waited_seconds = _cpu_seconds(pid)
            used.own_seconds[pid] = own_seconds
            used.cpu_seconds += own_seconds + waited_seconds
            used.tasks += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
            if folder is not None:
                used.file_bytes += _removed_file_bytes(pid)
    if folder is not None:
        used.file_bytes += _file_bytes(folder)
    return used


def _memory_bytes(pid: int, *, shared: bool) -> float:
    """Anonymous and shared memory; where processes share pages, each one's part of them, if the kernel tells.

    A process whose first thread has ended says nothing of the memory that its others hold: any of them is asked.
    """
    for task in _tasks(pid):
        if shared:
            with suppress(OSError, KeyError):
                rollup = _fields(Path(f"{task}/smaps_rollup").read_bytes().partition(b"\n")[2])
                return rollup[b"Pss_Anon"] + rollup[b"Pss_Shmem"]
        with suppress(OSError):
            status = _fields(Path(f"{task}/status").read_bytes())
            if b"RssAnon" in status:
                return status[b"RssAnon"] + status.get(b"RssShmem", 0)
    return math.inf if _lives(pid) else 0


def _tasks(pid: int) -> Iterator[str]:
    """Where the kernel tells of a process: of its first thread, and then of each."""
    yield f"/proc/{pid}"
    with suppress(OSError):
        yield from map(str, Path(f"/proc/{pid}/task").iterdir())


def _lives(pid: int | str) -> bool:
    """Whether a thread of a process is neither dead nor on its way to it."""
    for task in _tasks(int(pid)):
        with suppress(OSError):
            fields = _stat(task)
            if fields[0] not in (b"Z", b"X") and not int(fields[6]) & _EXITING:
                return True
    return False


def _fields(text: bytes) -> dict[bytes, int]:
    """The lines that hold an amount of memory. A newline in a process's name is escaped; nothing else in it is."""
    found = {}
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        if name != b"Name" and value.endswith(b" kB"):
            found[name] = int(value[:-3]) * 1024
    return found


def _stat(task: str) -> list[bytes]:
    # The name of a process may hold anything; the fields stand behind its last bracket.
    return Path(f"{task}/stat").read_bytes().rpartition(b")")[2].split()


def _cpu_seconds(pid: int) -> tuple[float, float]:
    """Of a process itself, and of its children that have ended and that it has waited for."""
    user, system, waited_user, waited_system = map(int, _stat(f"/proc/{pid}")[11:15])
    return (user + system) / _TICKS_A_SECOND, (waited_user + waited_system) / _TICKS_A_SECOND


def _removed_file_bytes(pid: int) -> int:
    """Files that a process holds open and that are in no folder any more, where the kernel tells."""
    total = 0
    with suppress(OSError):
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                status = opened.stat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    total += status.st_blocks * 512
    return total


def _file_bytes(folder: str) -> float:
    """Everything in a folder; infinite where there is too much of it, or it is too deep, to be looked through.

    A file counts as a kibibyte at least, so that any number of empty ones comes to an end.
    """
    try:
        fd = os.open(folder, _FOLDER)
    except OSError:
        return 0
    try:
        return _bytes_below(fd, itertools.count(), 0)
    except OSError:
        return 0
    finally:
        os.close(fd)


def _bytes_below(fd: int, entries: Iterator[int], depth: int) -> float:
    """By descriptors: a path may grow longer than the kernel takes."""
    total, folders = 0.0, []
    with os.scandir(fd) as found:
        for entry in found:
            if next(entries) > _MOST_ENTRIES:
                return math.inf
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                total += max(status.st_blocks * 512, 1024)
                if stat.S_ISDIR(status.st_mode):
                    folders.append((entry.name, status.st_mode))
    if folders and depth >= _DEEPEST:
        return math.inf
    for name, mode in folders:
        try:
            inner = os.open(name, _FOLDER, dir_fd=fd)
        except PermissionError:
            # Closed to this process, and open to the program to write in.
            total += math.inf if mode & 0o300 == 0o300 else 0
            continue
        except FileNotFoundError:
            continue
        try:
            total += _bytes_below(inner, entries, depth + 1)
        finally:
            os.close(inner)
    return total
