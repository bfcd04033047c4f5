"""The number of cores that this process may use."""

import os
from collections.abc import Iterator

from peft_study.sandbox.cgroups import group_files

SHARE = "PEFT_STUDY_CORES"
"""The environment variable with a process's share of the cores, if several cells run at once."""
_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""What a Slurm job was given. A Slurm without cgroups leaves every core of the node visible."""


def available_cores() -> int:
    """Return the smallest of the affinity mask, the quotas of the container, Slurm's and the share of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # With two cores, two torch threads beside a busy process are several times slower than a single one.
    limits = [_count(SHARE), *(_count(name) for name in _SLURM if "SLURM_JOB_ID" in os.environ)]
    return max(1, min([cores, *(limit for limit in limits if limit), *_quotas()]))


def _count(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0


def _quotas() -> Iterator[int]:
    """Yield the cores that each control group of this process allows."""
    for file in group_files("cpu", "cpu.max"):
        try:
            quota, period = file.read_text().split()
            yield max(1, round(int(quota) / int(period)))
        except (OSError, ValueError):  # "max": no limit
            continue
    for file in group_files("cpu", "cpu.cfs_quota_us"):
        try:
            quota, period = file.read_text(), file.with_name("cpu.cfs_period_us").read_text()
            if int(quota) > 0:
                yield max(1, round(int(quota) / int(period)))
        except (OSError, ValueError):
            continue
