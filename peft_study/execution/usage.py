"""What the processes of a test use, as the parent sees it."""

import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BEYOND_WATCHED_BYTES = 1 << 30
"""Address space of a process beyond the memory limit, for stacks of threads and what is reserved and never touched."""
BEYOND_UNWATCHED_BYTES = 64 << 20
"""The same where this process cannot see what programs use, and address space is all that limits them."""
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_MOST_ENTRIES = 20_000
_MOST_ROUNDS = 100


def can_watch() -> bool:
    """The kernel tells the children of a process (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").exists()


@dataclass
class Usage:
    """What all processes of a test use together.

    Attributes:
        memory_bytes: resident and not backed by a file; pages that several share count once where the kernel tells.
        cpu_seconds: of the living, and of their children that have ended.
        file_bytes: in the work folder, where the parent can see it.
    """

    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    file_bytes: int = 0


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
    try:
        status = (process / "status").read_text() if process.name.isdecimal() else ""
    except OSError:
        return False
    return f"\nUid:\t{user}\t" in status and "\nState:\tZ" not in status


def usage(worker: int, folder: str | None) -> Usage:
    """Add up what runs below a worker.

    Args:
        worker: the process that forks tests.
        folder: the work folder as the parent sees it, or None.

    Returns:
        Zeros where the machine has no /proc.
    """
    used = Usage()
    pids = descendants(worker)
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):  # it may end at any moment
            used.memory_bytes += _memory_bytes(pid, shared=len(pids) > 1)
            used.cpu_seconds += _cpu_seconds(pid)
    if folder is not None:
        used.file_bytes = _file_bytes(folder)
    return used


def _memory_bytes(pid: int, *, shared: bool) -> int:
    """Anonymous and shared memory; where processes share pages, each one's part of them, if the kernel tells."""
    if shared:
        with suppress(OSError, KeyError):
            rollup = _fields(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\n")[2])
            return rollup["Pss_Anon"] + rollup["Pss_Shmem"]
    status = _fields(Path(f"/proc/{pid}/status").read_text())
    return status.get("RssAnon", 0) + status.get("RssShmem", 0)


def _fields(text: str) -> dict[str, int]:
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * 1024
    return found


def _cpu_seconds(pid: int) -> float:
    # The name of a process may hold anything; the fields stand behind its last bracket.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_A_SECOND


def _file_bytes(folder: str) -> int:
    total = entries = 0
    waiting = [folder]
    while waiting and entries < _MOST_ENTRIES:
        with suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                entries += 1
                with suppress(OSError):
                    total += max(entry.stat(follow_symlinks=False).st_blocks * 512, 1024)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total
