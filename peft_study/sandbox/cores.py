"""How many cores this process may use."""

import os
from pathlib import Path

SHARE = "PEFT_STUDY_CORES"
"""The variable that gives a process its share, where several cells run side by side."""
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Cores that this process may use: of its affinity mask, of its container's quota, and of its share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(SHARE, "")
    if share.isdecimal() and int(share):
        cores = min(cores, int(share))
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return cores
