"""Asks Slurm which jobs are in its queue, and how the others ended."""

import re
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft_study.console.messages import print_line
from peft_study.results.schema import Status

_COMMAND_SECONDS, _LOOK_SECONDS = 60.0, 10.0
_SUBMITTED = "*_submitted.pkl"
_INTERRUPTED = ("CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL", "REVOKED")
"""States of jobs that something else than the cell ended."""
# BeginTime: a requeued job waits two minutes.
_USUAL_REASONS = frozenset({"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning"})
OUT_OF_MEMORY = "OUT_OF_MEMORY"
_BY_ITSELF = frozenset({"COMPLETED", "FAILED", OUT_OF_MEMORY})
"""States of jobs that nothing else ended."""


class SlurmUnreachableError(Exception):
    """A command of Slurm failed, for instance because its controller restarts."""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        job: such as 15 or 15_2.
        state: Slurm's state, such as COMPLETED or OUT_OF_MEMORY; None if Slurm does not say.
    """

    job: str
    state: str | None

    @property
    def status(self) -> Status:
        """The status of a cell that the job left without a result."""
        if self.state == OUT_OF_MEMORY:
            return Status.oom
        return Status.preempted if self.state in _INTERRUPTED else Status.failed

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the job may have ended because it was cancelled. Slurm's accounting can be late or missing."""
        return self.state not in _BY_ITSELF

    def as_cancelled(self) -> "JobEnd":
        """Return the end of the same job, which is known to be cancelled."""
        return self if self.state in _INTERRUPTED else JobEnd(self.job, "CANCELLED")

    def __str__(self) -> str:
        return f"Slurm job {self.job}" + (f" ended as {self.state}" if self.state else " left the queue")


@dataclass(frozen=True)
class Queued:
    """A job in the queue.

    Attributes:
        state: such as PENDING or RUNNING.
        reason: why it waits, such as Priority.
    """

    state: str
    reason: str

    @property
    def blocked(self) -> bool:
        """Whether the job waits for something that its place in the queue does not bring."""
        return self.state == "PENDING" and self.reason not in _USUAL_REASONS


def queued_jobs(jobs: Collection[str]) -> dict[str, Queued]:
    """Return the jobs that are in the queue: pending, running, or about to be requeued.

    Args:
        jobs: numbers of jobs, such as 15 or 15_2.

    Raises:
        SlurmUnreachableError: squeue failed.
    """
    if not jobs:
        return {}
    arrays = sorted({job.partition("_")[0] for job in jobs})
    # An array that has left Slurm's memory makes squeue fail if it is the only one asked for, so all are listed.
    output = _output(["squeue", "--noheader", "--array", "--format=%i %F %K %T %r"])
    queued = {}
    for line in output.splitlines():
        job, array, index, state, *reason = line.split(maxsplit=4)
        if array in arrays:
            queued[job if job in jobs else f"{array}_{index}"] = Queued(state, "".join(reason).strip())
    return {job: entry for job, entry in queued.items() if job in jobs}


def ends_of(jobs: Sequence[str]) -> dict[str, JobEnd]:
    """Return how jobs that left the queue ended.

    Args:
        jobs: numbers of jobs.
    """
    return {job: JobEnd(job, _accounted(job) or _remembered(job)) for job in jobs}


def jobs_of_submitit(folder: Path, since: float) -> list[str]:
    """Return the jobs that submitit submitted, such as 15 or 15_2.

    Args:
        folder: submitit's folder, in which %j stands for the number of a job.
        since: jobs submitted before this time do not count, in seconds since 1970.
    """
    top, pattern = (folder.parent, f"*/{_SUBMITTED}") if folder.name == "%j" else (folder, _SUBMITTED)
    files = [file for file in top.glob(pattern) if file.stat().st_mtime >= since]
    return [file.name.removesuffix(_SUBMITTED.lstrip("*")) for file in files]


def cancel_jobs(jobs: Sequence[str]) -> None:
    """Cancel jobs. Those that run get SIGTERM, and the time that Slurm's KillWait gives them.

    Args:
        jobs: numbers of jobs. Those that have left the queue do not matter.

    Raises:
        SlurmUnreachableError: scancel failed.
    """
    _output(["scancel", "--quiet", *jobs])


def wait_for_jobs(jobs: Sequence[str]) -> None:
    """Wait until jobs have left the queue."""
    printed = 0
    try:
        while left := queued_jobs(jobs):
            if len(left) != printed:
                printed = len(left)
                print_line(f"waiting for {printed} jobs in the queue: {', '.join(sorted(left)[:5])}")
            time.sleep(_LOOK_SECONDS)
    except SlurmUnreachableError as error:  # jobs of submitit's other executors
        print_line(f"the jobs that are left are not waited for: {error}")


def print_continuing_jobs(jobs: Iterable[str], *, again: str) -> None:
    """Say that jobs outlive this command, and how to look at them and to cancel them.

    Args:
        jobs: such as 15 or 15_2.
        again: what the same command does.
    """
    arrays = sorted({array for job in jobs if (array := job.partition("_")[0]).isdecimal()}, key=int)
    if arrays:
        print_line(
            f"the jobs continue: squeue --jobs={','.join(arrays)} shows them, scancel {' '.join(arrays)} cancels them; "
            f"the same command {again}"
        )


@dataclass(frozen=True)
class Partition:
    """What a partition offers. Where Slurm does not answer, these defaults are assumed.

    Attributes:
        has_gpus: whether one of its nodes has GPUs.
        minutes: the longest time limit; None for no limit.
    """

    has_gpus: bool = True
    minutes: int | None = None


def partition_of(name: str | None) -> Partition:
    """Return what a partition offers.

    Args:
        name: its name; None for the default one.
    """
    try:
        chosen = [f"--partition={name}"] if name else []
        output = _output(["sinfo", "--noheader", "--format=%P|%G|%l", *chosen])
    except SlurmUnreachableError:
        return Partition()
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 2]
    if not name:  # a star marks the default partition
        rows = [row for row in rows if row[0].endswith("*")] or rows
    limits = [minutes for _, _, limit in rows if (minutes := _minutes(limit)) is not None]
    return Partition(any("gpu" in gres for _, gres, _ in rows), min(limits, default=None))


def _minutes(limit: str) -> int | None:
    """Read a time as sinfo writes it: days-hours:minutes:seconds, minutes:seconds, or infinite."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (24 * days + hours) * 60 + minutes


def _accounted(job: str) -> str | None:
    """Return the state in the accounting database, where steps know of a lack of memory; None if there is none."""
    try:
        output = _output(["sacct", "--noheader", "--parsable2", "--format=State", f"--jobs={job}"])
    except SlurmUnreachableError:  # many clusters keep no accounts
        return None
    states = [line.split()[0] for line in output.splitlines() if line.strip()]
    return OUT_OF_MEMORY if OUT_OF_MEMORY in states else next(iter(states), None)


def _remembered(job: str) -> str | None:
    """Return the state that the controller remembers for some minutes."""
    try:
        output = _output(["scontrol", "--oneliner", "show", "job", job])
    except SlurmUnreachableError:
        return None
    match = re.search(r"JobState=(\S+)", output)
    return match[1] if match else None


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise SlurmUnreachableError(f"{command[0]}: {error}") from error
    return done.stdout
