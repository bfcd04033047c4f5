"""The number of cores that this process may use."""

import os
from pathlib import Path

SHARE = "PEFT_STUDY_CORES"
"""The environment variable with a process's share of the cores, if several cells run at once."""
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return the smallest of the affinity mask, the container's quota and the share of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # With two cores, two torch threads beside a busy process are several times slower than a single one.
    share = os.environ.get(SHARE, "")
    if share.isdecimal() and int(share):
        cores = min(cores, int(share))
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return cores
