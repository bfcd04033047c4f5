"""Runs the cells of a sweep as Slurm jobs and waits for them."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome, new_result
from peft_study.console.messages import print_line
from peft_study.results.lease import STALE_SECONDS
from peft_study.results.store import RESULT, CellFolder
from peft_study.sweep.cluster.needs import Limits, needs_of
from peft_study.sweep.cluster.slurm_queue import (
    JobEnd,
    Queued,
    SlurmUnreachableError,
    cancel_jobs,
    ends_of,
    print_continuing_jobs,
    queued_jobs,
)
from peft_study.sweep.cluster.slurm_submit import Submission, log_of, submit, submitted_before
from peft_study.sweep.cluster.watch import CellWatch
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import last_lines

_LOOK_SECONDS = 10.0


def run_jobs(
    cells: Sequence[PlannedCell],
    limits: Limits,
    settings: Submission,
    poll_seconds: float,
    *,
    stop_on_failure: bool = False,
) -> list[Outcome]:
    """Run cells as Slurm jobs and wait until all of them have left the queue.

    A cell that an earlier command submitted, and whose job is still in the queue, gets no second job.

    Args:
        cells: the cells, none of them finished.
        limits: settings that have priority over predicted needs.
        settings: how jobs are submitted.
        poll_seconds: how often Slurm is asked.
        stop_on_failure: after the first cell that fails, cancel the jobs of the others.

    Returns:
        the outcome of each cell, in the same order.

    Raises:
        KeyboardInterrupt: after an interrupt. The jobs continue.
        UserError: Slurm does not accept a job.
    """
    if not cells:
        return []
    watch = CellWatch(cells, stop_on_failure=stop_on_failure)
    before = submitted_before(settings.folder)
    queued = _still_queued({cell.folder.name: before[cell.folder.name] for cell in cells if cell.folder.name in before})
    if queued:
        print_line(f"{len(queued)} cells have jobs in the queue that an earlier command submitted; waiting for them")
    new = [cell for cell in cells if cell.folder.name not in queued]
    try:
        jobs = queued | (submit(new, needs_of(new, limits), settings) if new else {})
        _Wait(watch, jobs, settings.folder).run(poll_seconds)
        return watch.outcomes
    except KeyboardInterrupt:
        numbers = submitted_before(settings.folder)
        names = [cell.folder.name for cell in cells if cell.folder.name in numbers]
        print_continuing_jobs([numbers[name] for name in names], again="waits for them")
        raise


def _still_queued(jobs: dict[str, str]) -> dict[str, str]:
    try:
        states = queued_jobs(list(jobs.values()))
    except SlurmUnreachableError as error:
        print_line(f"Slurm does not say which jobs are in the queue ({error}); all cells are submitted")
        return {}
    return {name: job for name, job in jobs.items() if job in states}


class _Wait:
    """Waits for the jobs of a sweep's cells."""

    def __init__(self, watch: CellWatch, jobs: Mapping[str, str], logs: Path) -> None:
        self._watch, self._jobs, self._logs = watch, jobs, logs
        self._reasons: set[tuple[str, str]] = set()

    def run(self, poll_seconds: float) -> None:
        """Wait until all jobs have left the queue."""
        with self._watch.display:
            while self._watch.waiting:
                time.sleep(poll_seconds)
                with contextlib.suppress(SlurmUnreachableError):  # a controller that restarts; the jobs continue
                    self._look(self._watch.waiting)

    def _look(self, waiting: Sequence[PlannedCell]) -> None:
        queued = queued_jobs([self._job(cell) for cell in waiting])
        self._show_queue(queued, waiting)
        left = [cell for cell in waiting if self._job(cell) not in queued]
        ends = ends_of([self._job(cell) for cell in left])
        for cell in left:
            self._note(cell, ends[self._job(cell)])
        self._watch.stop_after_failure(lambda cells: cancel_jobs([self._job(cell) for cell in cells]))

    def _show_queue(self, queued: Mapping[str, Queued], waiting: Sequence[PlannedCell]) -> None:
        for cell in waiting:
            job = self._job(cell)
            entry = None if cell.folder in self._watch.started else queued.get(job)
            if entry is not None and entry.state == "RUNNING":
                self._watch.show_start(cell)
            elif entry is not None and entry.blocked:
                self._print_reason(job.partition("_")[0], entry.reason)

    def _print_reason(self, array: str, reason: str) -> None:
        """Print once for an array why its jobs do not start."""
        if (array, reason) not in self._reasons:
            print_line(f"Slurm job {array} waits: {reason}")
        self._reasons.add((array, reason))

    def _note(self, cell: PlannedCell, end: JobEnd) -> None:
        """Note the end of a cell whose job left the queue."""
        begun = self._watch.has_begun(cell)
        if self._watch.stopped and end.may_be_cancelled:
            end = end.as_cancelled()
            if not begun:
                self._watch.note_not_started(cell)
                return
        log = log_of(self._logs, end.job)
        cause = f"{end}; {log}" if begun else f"{end} before the cell started; {_printed(log)}"
        if not (cell.folder / RESULT).exists():
            result = new_result(cell.cell, cell.folder)
            result.status, result.reason = end.status, cause
            CellFolder(cell.folder).write_result(result)
        # The job is over. Where only the lease tells, its last heartbeat has to become stale.
        limit_seconds = STALE_SECONDS + _LOOK_SECONDS
        self._watch.note(cell, self._watch.outcome_after(cell, end.status, cause, limit_seconds=limit_seconds))

    def _job(self, cell: PlannedCell) -> str:
        return self._jobs[cell.folder.name]


def _printed(log: Path) -> str:
    lines = last_lines(log)
    return "it left no output" if lines is None else lines or f"{log} is empty"
