"""Runs the cells of a sweep as Slurm jobs and waits for them."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome, new_result
from peft_study.console.messages import print_line
from peft_study.results.lease import STALE_SECONDS
from peft_study.results.schema import FAILURES, Status
from peft_study.results.store import RESULT, CellFolder
from peft_study.sweep.cluster.needs import Limits, needs_of
from peft_study.sweep.cluster.slurm_queue import (
    JobEnd,
    Queued,
    SlurmUnreachableError,
    cancel_jobs,
    ends_of,
    queued_jobs,
    tell_that_jobs_go_on,
)
from peft_study.sweep.cluster.slurm_submit import Submission, log_of, submit, submitted_before
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.outcomes import earlier_stays, record_death, wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import ended_before, last_lines, not_started, recorded_outcome, result_of, start_of

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
    # Taken before any job of this command can start. A cell that runs already has begun.
    earlier = {cell.folder: result_of(cell) for cell in cells}
    starts = {
        folder: None if result is None or result.status is Status.running else result.started_at
        for folder, result in earlier.items()
    }
    before = submitted_before(settings.folder)
    queued = _still_queued({cell.folder.name: before[cell.folder.name] for cell in cells if cell.folder.name in before})
    if queued:
        print_line(f"{len(queued)} cells have jobs in the queue that an earlier command submitted; waiting for them")
    new = [cell for cell in cells if cell.folder.name not in queued]
    try:
        jobs = queued | (submit(new, needs_of(new, limits), settings) if new else {})
        return _Wait(cells, jobs, starts, settings.folder, stop_on_failure=stop_on_failure).run(poll_seconds)
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


class _Wait:
    """Waits for the jobs of a sweep's cells, and shows how the cells fare."""

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        jobs: Mapping[str, str],
        starts: Mapping[Path, str | None],
        logs: Path,
        *,
        stop_on_failure: bool,
    ) -> None:
        self._cells, self._jobs, self._logs = cells, jobs, logs
        self._stop_on_failure = stop_on_failure
        self._starts = starts
        self._display = SweepDisplay([cell.folder.name for cell in cells], len(cells))
        self._outcomes: dict[Path, Outcome] = {}
        self._started: set[str] = set()
        self._reasons: set[tuple[str, str]] = set()
        self._stopped = False

    def run(self, poll_seconds: float) -> list[Outcome]:
        """Wait until all jobs have left the queue. Return the outcome of each cell, in their order."""
        with self._display:
            while waiting := [cell for cell in self._cells if cell.folder not in self._outcomes]:
                time.sleep(poll_seconds)
                with contextlib.suppress(SlurmUnreachableError):  # a controller that restarts; the jobs continue
                    self._look(waiting)
        return [self._outcomes[cell.folder] for cell in self._cells]

    def _look(self, waiting: Sequence[PlannedCell]) -> None:
        queued = queued_jobs([self._job(cell) for cell in waiting])
        self._show_queue(queued, waiting)
        left = [cell for cell in waiting if self._job(cell) not in queued]
        ends = ends_of([self._job(cell) for cell in left])
        for cell in left:
            self._note(cell, ends[self._job(cell)])
        failed = next((outcome for outcome in self._outcomes.values() if outcome.status in FAILURES), None)
        if self._stop_on_failure and not self._stopped and failed is not None:
            others = [cell for cell in waiting if cell.folder not in self._outcomes]
            if others:
                cancel_jobs([self._job(cell) for cell in others])
            self._stopped = True
            self._display.stopped(failed.cell_id, sum(self._not_begun(cell) for cell in others))

    def _show_queue(self, queued: Mapping[str, Queued], waiting: Sequence[PlannedCell]) -> None:
        for name in {cell.folder.name for cell in waiting} - self._started:
            entry = queued.get(self._jobs[name])
            if entry is not None and entry.state == "RUNNING":
                self._show_start(name)
            elif entry is not None and entry.blocked:
                self._tell_reason(self._jobs[name].partition("_")[0], entry.reason)

    def _tell_reason(self, array: str, reason: str) -> None:
        """Say once for an array why its jobs do not start."""
        if (array, reason) not in self._reasons:
            print_line(f"Slurm job {array} waits: {reason}")
        self._reasons.add((array, reason))

    def _note(self, cell: PlannedCell, end: JobEnd) -> None:
        """Note the end of a cell whose job left the queue."""
        if self._stopped and end.may_be_cancelled:
            end = end.as_cancelled()
            if self._not_begun(cell):
                self._outcomes[cell.folder] = not_started(cell)
                return
        outcome = self._outcomes[cell.folder] = _outcome(cell, end, self._logs, self._starts[cell.folder])
        self._show_start(outcome.cell_id)
        self._display.ended(outcome.cell_id, str(outcome.status), outcome.reason)

    def _show_start(self, name: str) -> None:
        if name not in self._started:
            self._started.add(name)
            self._display.started(name)

    def _not_begun(self, cell: PlannedCell) -> bool:
        """Whether no job has written a result of the cell."""
        return start_of(cell) == self._starts[cell.folder]

    def _job(self, cell: PlannedCell) -> str:
        return self._jobs[cell.folder.name]


def _outcome(cell: PlannedCell, end: JobEnd, logs: Path, earlier_start: str | None) -> Outcome:
    """Return how a cell ended whose job left the queue. A cell without a result gets one that says what is known."""
    log = log_of(logs, end.job)
    if not (cell.folder / RESULT).exists():
        result = new_result(cell.cell, cell.folder)
        result.status, result.reason = end.status, f"{end} before the cell started; {_printed(log)}"
        CellFolder(cell.folder).write_result(result)
    # The job is over. Where only the lease tells, its last heartbeat has to become stale.
    wait_for([cell], limit_seconds=STALE_SECONDS + _LOOK_SECONDS)
    record_death(cell, end.status, f"{end}; {log}")
    # A job that an earlier command submitted may have ended before this command looked.
    if earlier_start is not None and start_of(cell) == earlier_start and ended_before(cell) is None:
        return earlier_stays(cell, end.status, f"{end} before the cell started; {_printed(log)}")
    return recorded_outcome(cell)


def _printed(log: Path) -> str:
    lines = last_lines(log)
    return "it left no output" if lines is None else lines or f"{log} is empty"
