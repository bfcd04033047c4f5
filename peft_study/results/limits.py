"""The memory limit of this process, and the processes that the kernel killed because memory ran out."""

import contextlib
import resource
from pathlib import Path

import psutil

from peft_study.sandbox.cgroups import group_files

_VMSTAT = Path("/proc/vmstat")
# A control group of version 1 without a limit reports the largest multiple of a page in 63 bits.
_NO_LIMIT = 1 << 62


def host_limit_bytes() -> int | None:
    """Return the smallest limit of the address space or the control group, in bytes; None without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = [] if soft == resource.RLIM_INFINITY else [soft]
    for name in ("memory.max", "memory.limit_in_bytes"):
        for file in group_files("memory", name):
            with contextlib.suppress(OSError, ValueError):  # "max" has no number
                limits.append(int(file.read_text()))
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def free_host_bytes() -> int:
    """Return the free memory of the machine, or this process's limit if that is smaller, in bytes."""
    # The machine may have more free memory than a container or a job may use.
    free, limit = int(psutil.virtual_memory().available), host_limit_bytes()
    return free if limit is None else min(free, limit)


class KernelKills:
    """Counts the processes that the kernel killed because memory ran out, in this control group or on this machine."""

    def __init__(self) -> None:
        self._seen = _kills()

    def take(self) -> bool:
        """Whether there is a kill that no earlier call took."""
        if _kills() <= self._seen:
            return False
        self._seen += 1
        return True


def _kills() -> int:
    # The group of a killed process counts it, whether its own limit or that of the machine was reached. The machine
    # also counts the kills of other groups, so that it is asked last.
    files = [file for name in ("memory.events", "memory.oom_control") for file in group_files("memory", name)]
    return next((count for file in (*files, _VMSTAT) if (count := _counter(file)) is not None), 0)


def _counter(file: Path) -> int | None:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return None
