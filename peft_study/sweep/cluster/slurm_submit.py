"""Submits cells as arrays of Slurm jobs, one array for each need."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft_study.console.messages import print_line
from peft_study.errors import UserError
from peft_study.results.store import write_atomically
from peft_study.sweep.cluster.needs import Need
from peft_study.sweep.cluster.remote import RemoteCell
from peft_study.sweep.plan import PlannedCell

JOBS = "jobs.json"
"""Which job was submitted for which cell, by the cell's name."""


@dataclass(frozen=True)
class Submission:
    """How jobs are submitted; see sbatch for each option.

    Attributes:
        folder: where scripts and logs of the jobs go; all nodes must see it.
        options: options of sbatch, as submitit names them: partition, account, qos, constraint and so on.
        additional: further options of sbatch, such as {"mail-type": "END"}.
        setup: lines of shell that run before the cell, such as "module load cuda".
        array_parallelism: how many jobs of an array run at once.
        signal_delay_s: how many seconds before the time limit a cell is warned.
        show_traceback: let cells print the frames of an error.
    """

    folder: Path
    options: Mapping[str, str] = field(default_factory=dict)
    additional: Mapping[str, Any] = field(default_factory=dict)
    setup: Sequence[str] = ()
    array_parallelism: int = 256
    signal_delay_s: int = 120
    show_traceback: bool = False


def submit(cells: Sequence[PlannedCell], needs: Sequence[Need], settings: Submission) -> dict[str, str]:
    """Submit a job for each cell.

    Args:
        cells: the cells.
        needs: what each of them needs.
        settings: how they are submitted.

    Returns:
        the number of each cell's job, such as 15 or 15_2, by the cell's name.

    Raises:
        UserError: this machine has no Slurm, or Slurm does not accept a job.
    """
    if shutil.which("sbatch") is None:
        what = "hydra/launcher=slurm needs the commands of Slurm, got a machine without sbatch"
        raise UserError(what, where="hydra/launcher=slurm", hint="run the command on a login node of the cluster")
    groups: dict[Need, list[PlannedCell]] = {}
    for cell, need in zip(cells, needs, strict=True):
        groups.setdefault(need, []).append(cell)
    jobs: dict[str, str] = {}
    for need, group in groups.items():
        submitted = _submit_array(group, need, settings)
        jobs |= submitted
        remember(settings.folder, submitted)
        print_line(f"submitted {len(group)} cells as Slurm job {_array(submitted.values())}: {need}")
    return jobs


def remember(folder: Path, jobs: Mapping[str, str]) -> None:
    """Write down which jobs were submitted, so that a later command finds those that are still in the queue."""
    write_atomically(folder / JOBS, json.dumps({**submitted_before(folder), **jobs}, indent=1) + "\n")


def submitted_before(folder: Path) -> dict[str, str]:
    """Return the job that was last submitted for each cell, by the cell's name.

    Args:
        folder: see `Submission`.
    """
    try:
        jobs = json.loads((folder / JOBS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(job) for name, job in jobs.items()} if isinstance(jobs, dict) else {}


def log_of(folder: Path, job: str) -> Path:
    """Return the file with what a job printed."""
    return folder / f"{job}_0_log.out"


def _submit_array(cells: Sequence[PlannedCell], need: Need, settings: Submission) -> dict[str, str]:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(settings.folder, max_num_timeout=need.requeues)
    functions = [RemoteCell(cell, need.gpus, need.cores, show_traceback=settings.show_traceback) for cell in cells]
    try:
        executor.update_parameters(
            job_name="peft_study",
            time=need.minutes,
            mem=f"{need.memory_gb}GB",
            cpus_per_task=need.cores,
            nodes=1,
            ntasks_per_node=1,
            signal_delay_s=settings.signal_delay_s,
            array_parallelism=settings.array_parallelism,
            stderr_to_stdout=True,
            setup=list(settings.setup) or None,
            additional_parameters=dict(settings.additional) or None,
            **({"gpus_per_node": need.gpus} if need.gpus else {}),
            **settings.options,
        )
        with executor.batch():
            jobs = [executor.submit(function) for function in functions]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"Slurm must accept a job with {need}, got: {reason}",
            where="hydra/launcher=slurm",
            hint="hydra.launcher.partition, account, mem_gb, timeout_min, gpus_per_node or cpus_per_task",
        ) from error
    return {cell.folder.name: str(job.job_id) for cell, job in zip(cells, jobs, strict=True)}


def _array(jobs: Iterable[str]) -> str:
    numbers = list(jobs)
    return numbers[0] if len(numbers) == 1 else f"{numbers[0].partition('_')[0]}_[0-{len(numbers) - 1}]"
