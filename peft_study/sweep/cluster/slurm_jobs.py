"""Runs the cells of a sweep as Slurm jobs and waits for them."""

import time
from collections.abc import Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome, new_result
from peft_study.console.messages import print_line
from peft_study.results.lease import STALE_SECONDS
from peft_study.results.store import RESULT, CellFolder
from peft_study.sweep.cluster.needs import Limits, needs_of
from peft_study.sweep.cluster.slurm_queue import (
    JobEnd,
    SlurmUnreachableError,
    ends_of,
    queued_jobs,
    tell_that_jobs_go_on,
)
from peft_study.sweep.cluster.slurm_submit import Submission, log_of, submit, submitted_before
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.outcomes import record_death, wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import recorded_outcome

_LOG_LINES = 3
_LOOK_SECONDS = 10.0


def run_jobs(cells: Sequence[PlannedCell], limits: Limits, settings: Submission, poll_seconds: float) -> list[Outcome]:
    """Run cells as Slurm jobs and wait until all of them have left the queue.

    A cell that an earlier command submitted, and whose job is still in the queue, gets no second job.

    Args:
        cells: the cells, none of them finished.
        limits: settings that have priority over predicted needs.
        settings: how jobs are submitted.
        poll_seconds: how often Slurm is asked.

    Returns:
        the outcome of each cell, in the same order.

    Raises:
        KeyboardInterrupt: after an interrupt. The jobs continue.
        UserError: Slurm does not accept a job.
    """
    if not cells:
        return []
    before = submitted_before(settings.folder)
    queued = _still_queued({cell.folder.name: before[cell.folder.name] for cell in cells if cell.folder.name in before})
    if queued:
        print_line(f"{len(queued)} cells have jobs in the queue that an earlier command submitted; waiting for them")
    new = [cell for cell in cells if cell.folder.name not in queued]
    try:
        jobs = queued | (submit(new, needs_of(new, limits), settings) if new else {})
        return _wait(cells, jobs, settings.folder, poll_seconds)
    except KeyboardInterrupt:
        numbers = submitted_before(settings.folder)
        names = [cell.folder.name for cell in cells if cell.folder.name in numbers]
        tell_that_jobs_go_on([numbers[name] for name in names], again="waits for them")
        raise


def _still_queued(jobs: dict[str, str]) -> dict[str, str]:
    try:
        states = queued_jobs(list(jobs.values()))
    except SlurmUnreachableError as error:
        print_line(f"Slurm does not say which jobs are in the queue ({error}); all cells are submitted")
        return {}
    return {name: job for name, job in jobs.items() if job in states}


def _wait(cells: Sequence[PlannedCell], jobs: dict[str, str], logs: Path, poll_seconds: float) -> list[Outcome]:
    outcomes: dict[Path, Outcome] = {}
    started: set[str] = set()
    reasons: set[tuple[str, str]] = set()
    with SweepDisplay([cell.folder.name for cell in cells], len(cells)) as display:
        while waiting := [cell for cell in cells if cell.folder not in outcomes]:
            time.sleep(poll_seconds)
            try:
                queued = queued_jobs([jobs[cell.folder.name] for cell in waiting])
            except SlurmUnreachableError:  # a controller that restarts; the jobs continue
                continue
            for name in {cell.folder.name for cell in waiting} - started:
                entry = queued.get(jobs[name])
                if entry is not None and entry.state == "RUNNING":
                    started.add(name)
                    display.started(name)
                elif entry is not None and entry.blocked:
                    reasons = _tell_reason(jobs[name], entry.reason, reasons)
            left = [cell for cell in waiting if jobs[cell.folder.name] not in queued]
            ends = ends_of([jobs[cell.folder.name] for cell in left])
            for cell in left:
                outcome = outcomes[cell.folder] = _outcome(cell, ends[jobs[cell.folder.name]], logs)
                if outcome.cell_id not in started:
                    display.started(outcome.cell_id)
                display.ended(outcome.cell_id, str(outcome.status), outcome.reason)
    return [outcomes[cell.folder] for cell in cells]


def _tell_reason(job: str, reason: str, told: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Say once for an array why its jobs do not start."""
    array = job.partition("_")[0]
    if (array, reason) not in told:
        print_line(f"Slurm job {array} waits: {reason}")
    return told | {(array, reason)}


def _outcome(cell: PlannedCell, end: JobEnd, logs: Path) -> Outcome:
    """Return how a cell ended whose job left the queue. A cell without a result gets one that says what is known."""
    log = log_of(logs, end.job)
    cause = f"{end}; {log}"
    if not (cell.folder / RESULT).exists():
        result = new_result(cell.cell, cell.folder)
        result.status, result.reason = end.status, f"{end} before the cell started; {_last_lines(log)}"
        CellFolder(cell.folder).write_result(result)
    # The job is over. Where only the lease tells, its last heartbeat has to become stale.
    wait_for([cell], limit_seconds=STALE_SECONDS + _LOOK_SECONDS)
    record_death(cell, end.status, cause)
    return recorded_outcome(cell)


def _last_lines(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "it left no output"
    return " | ".join([line for line in lines if line][-_LOG_LINES:]) or f"{log} is empty"
