"""The resources that the processes of a test use, as the parent sees them."""

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
"""Address space of a process above the memory limit, for thread stacks and for memory that is never touched."""
BEYOND_UNWATCHED_BYTES = 64 << 20
"""The same if this process cannot see what programs use. Address space is then the only limit on memory."""
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_MOST_ENTRIES = 20_000
_DEEPEST = 64  # depth of nested folders: each level holds a descriptor, and Python's recursion has a limit
_MOST_ROUNDS = 100
_EXITING = 0x4  # PF_EXITING of linux/sched.h: a task that releases its memory
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def can_watch() -> bool:
    """Return whether the kernel lists the children of a process (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").exists()


@dataclass
class Usage:
    """Resources summed over all processes of a test.

    Attributes:
        memory_bytes: resident memory without file pages. Shared pages count once if the kernel reports them.
        cpu_seconds: CPU time of living processes and of their ended children.
        file_bytes: size of the work folder, if the parent sees it, and of removed files that are still open.
        tasks: number of processes and threads.
        own_seconds: by process id, the CPU time of each living process without its children.
    """

    memory_bytes: float = 0
    cpu_seconds: float = 0.0
    file_bytes: float = 0
    tasks: int = 0
    own_seconds: dict[int, float] = field(default_factory=dict)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below one, nearest first. Empty if the kernel does not list them."""
    pids: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    children = (thread / "children").read_text().split()
                    pids.extend(map(int, children))
                    waiting.extend(map(int, children))
    return pids


def kill_user(user: int) -> None:
    """Kill the processes of a user until none is left."""
    # In rounds, because a process may fork while the list is read.
    for _ in range(_MOST_ROUNDS):
        pids = [int(process.name) for process in Path("/proc").iterdir() if _belongs(process, user)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def _belongs(process: Path, user: int) -> bool:
    if not process.name.isdecimal():
        return False
    try:
        # Bytes, because a process chooses its name and the name may not be UTF-8.
        status = (process / "status").read_bytes()
        return b"\nUid:\t%d\t" % user in status and (b"\nState:\tZ" not in status or _lives(process.name))
    except OSError:
        return False


def usage(worker: int, folder: str | None) -> Usage:
    """Sum the resources of all processes below a worker.

    Args:
        worker: id of the process that forks tests.
        folder: path of the work folder as the parent sees it, or None.

    Returns:
        The sums. Zeros if the machine has no /proc. Infinite memory if the memory of a running process is unreadable.
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
    """Anonymous and shared memory. Of shared pages a proportional part, if the kernel reports it."""
    # If the first thread of a process has ended, its entry shows no memory. So all threads are tried in turn.
    for task in _tasks(pid):
        # The kernel walks all pages for smaps_rollup, so it is read only if processes can share pages.
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
    """Paths in /proc that describe a process: of the process itself, then of each thread."""
    yield f"/proc/{pid}"
    with suppress(OSError):
        yield from map(str, Path(f"/proc/{pid}/task").iterdir())


def _lives(pid: int | str) -> bool:
    """Whether any thread of a process is neither dead nor exiting."""
    for task in _tasks(int(pid)):
        with suppress(OSError):
            fields = _stat(task)
            if fields[0] not in (b"Z", b"X") and not int(fields[6]) & _EXITING:
                return True
    return False


def _fields(text: bytes) -> dict[bytes, int]:
    """The lines with an amount of memory, in bytes. The kernel escapes a newline in the name of a process."""
    fields = {}
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        if name != b"Name" and value.endswith(b" kB"):
            fields[name] = int(value[:-3]) * 1024
    return fields


def _stat(task: str) -> list[bytes]:
    # The name of a process may hold anything, so fields start after the last bracket.
    return Path(f"{task}/stat").read_bytes().rpartition(b")")[2].split()


def _cpu_seconds(pid: int) -> tuple[float, float]:
    """Seconds of a process, and of the ended children that it has waited for."""
    user, system, waited_user, waited_system = map(int, _stat(f"/proc/{pid}")[11:15])
    return (user + system) / _TICKS_A_SECOND, (waited_user + waited_system) / _TICKS_A_SECOND


def _removed_file_bytes(pid: int) -> int:
    """Size of files that a process holds open and that are removed from their folder."""
    total = 0
    with suppress(OSError):
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                status = opened.stat()
                # Files with a name are counted in the work folder.
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    total += status.st_blocks * 512
    return total


def _file_bytes(folder: str) -> float:
    """Total size of a folder. Infinite if it has too many entries or too many levels."""
    # Each file counts as at least 1 KiB, so that empty files reach the limit too.
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
    # By descriptors, because a path may exceed the length that the kernel accepts.
    total, folders = 0.0, []
    with os.scandir(fd) as listing:
        for entry in listing:
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
            # This process cannot read it, but the program can write in it.
            total += math.inf if mode & 0o300 == 0o300 else 0
            continue
        except FileNotFoundError:
            continue
        try:
            total += _bytes_below(inner, entries, depth + 1)
        finally:
            os.close(inner)
    return total
