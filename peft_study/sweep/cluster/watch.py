"""Follows the cells of a sweep that a cluster runs: which of them have begun, and how they ended."""

from collections.abc import Callable, Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome
from peft_study.console.exit import EXIT_FAILED
from peft_study.results.schema import FAILURES, Status
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.outcomes import record_death, wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import ended_before, not_started, recorded_outcome, result_of, start_of


class CellWatch:
    """Knows and shows the states of a sweep's cells. Create it before a job or task of this sweep can start.

    Args:
        cells: the cells, none of them finished.
        stop_on_failure: let the first cell that fails end the sweep.

    Attributes:
        display: the table of the cells.
        started: the folders of the cells that were shown as started.
        stopped: whether a cell that failed has ended the sweep.
    """

    def __init__(self, cells: Sequence[PlannedCell], *, stop_on_failure: bool) -> None:
        self.display = SweepDisplay([cell.folder.name for cell in cells], len(cells))
        self.stopped = False
        self._cells = cells
        self._stop_on_failure = stop_on_failure
        self._outcomes: dict[Path, Outcome] = {}
        self.started: set[Path] = set()
        # A cell that runs already has begun.
        earlier = {cell.folder: result_of(cell) for cell in cells}
        self._earlier_starts = {
            folder: None if result is None or result.status is Status.running else result.started_at
            for folder, result in earlier.items()
        }

    @property
    def waiting(self) -> list[PlannedCell]:
        """The cells that have no outcome yet."""
        return [cell for cell in self._cells if cell.folder not in self._outcomes]

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each cell, in their order, once none is waiting."""
        return [self._outcomes[cell.folder] for cell in self._cells]

    def has_begun(self, cell: PlannedCell) -> bool:
        """Whether a process of this sweep has written a result of the cell."""
        return start_of(cell) != self._earlier_starts[cell.folder]

    def show_start(self, cell: PlannedCell) -> None:
        """Show, once, that a cell has started."""
        if cell.folder not in self.started:
            self.started.add(cell.folder)
            self.display.started(cell.folder.name)

    def note(self, cell: PlannedCell, outcome: Outcome) -> None:
        """Note the outcome of a cell."""
        self._outcomes[cell.folder] = outcome
        self.show_start(cell)
        self.display.ended(outcome.cell_id, str(outcome.status), outcome.reason)

    def note_not_started(self, cell: PlannedCell) -> None:
        """Note that a cell was cancelled before it started."""
        self._outcomes[cell.folder] = not_started(cell)

    def stop_after_failure(self, cancel: Callable[[Sequence[PlannedCell]], None]) -> None:
        """End the sweep if a cell has failed.

        Args:
            cancel: cancels the jobs or tasks of cells.
        """
        # Without a status, the cell could not even write a result.
        failed = next((outcome for outcome in self._outcomes.values() if outcome.status in FAILURES | {None}), None)
        if failed is None or self.stopped or not self._stop_on_failure:
            return
        waiting = self.waiting
        if waiting:
            cancel(waiting)
        self.stopped = True
        self.display.stopped(failed.cell_id, sum(not self.has_begun(cell) for cell in waiting))

    def outcome_after(self, cell: PlannedCell, status: Status, cause: str | None, *, limit_seconds: float) -> Outcome:
        """Return how a cell ended whose job or task is over, once no process runs it.

        Args:
            cell: the cell.
            status: how it ended, if it cannot say so itself.
            cause: what is known of the end, such as the state of its job; None if nothing is.
            limit_seconds: how long to wait for a process that still runs the cell.
        """
        wait_for([cell], limit_seconds=limit_seconds)
        record_death(cell, status, cause)
        earlier_start = self._earlier_starts[cell.folder]
        # A job that an earlier command submitted may have ended before this command looked.
        is_earlier = earlier_start is not None and not self.has_begun(cell) and ended_before(cell) is None
        if is_earlier and cause is not None:
            reason = f"{cause}; the earlier result stays"
            return Outcome(cell.folder.name, status, reason, EXIT_FAILED, cell.folder)
        return recorded_outcome(cell)
