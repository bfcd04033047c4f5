"""Which cell of a sweep comes next, where other sweeps run cells of the same folder and cells run out of memory."""

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome
from peft_study.cell.retries import retry_follows
from peft_study.results.holding import LeaseWatch, is_held
from peft_study.results.schema import FAILURES, Status
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import outcome_from, result_of, start_of

_LOOK_SECONDS = 1.0
"""How often a sweep with nothing else to do asks whether cells that other processes run have ended."""


class CellQueue:
    """The cells of a sweep that did not end yet and do not run.

    Args:
        cells: all cells, in their order.
    """

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self._waiting = deque(cells)
        # Of each cell, when the run started that its result is of: another time means that another sweep ran it.
        self._starts = {cell.folder: start_of(cell) for cell in cells}
        self._busy: dict[Path, tuple[PlannedCell, LeaseWatch]] = {}
        self._alone: deque[PlannedCell] = deque()
        self._ran_alone: set[Path] = set()
        self._looked_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._busy) + len(self._alone)

    def next(self, running: int) -> PlannedCell | None:
        """Take the next cell out of the queue.

        Args:
            running: number of cells that this sweep runs now.

        Returns:
            None if every cell has to wait.
        """
        if self._waiting:
            return self._waiting.popleft()
        if self._alone and not running:
            return self._alone.popleft()
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            for cell, _ in list(self._busy.values()):
                if not self._is_held(cell):
                    self._busy.pop(cell.folder)
                    return cell
            self._looked_at = now
        return None

    def put_off(self, cell: PlannedCell) -> None:
        """Put a cell that another process runs behind all others."""
        self._busy.setdefault(cell.folder, (cell, LeaseWatch(cell.folder)))

    def put_off_if_busy(self, cell: PlannedCell) -> bool:
        """Put a cell off if another process runs it, and return whether one does."""
        if busy := self._is_held(cell):
            self.put_off(cell)
        return busy

    def retry(self, cell: PlannedCell, *, alone: bool) -> None:
        """Put a cell that ran out of memory back.

        Args:
            cell: the cell.
            alone: whether it runs when all others have ended, because cells share the host's memory.
        """
        if alone:
            self._ran_alone.add(cell.folder)
            self._alone.append(cell.for_retry())
        else:
            self._waiting.appendleft(cell.for_retry())

    def ran_alone(self, cell: PlannedCell) -> bool:
        """Whether a cell was already put back to run without others."""
        return cell.folder in self._ran_alone

    def ended_elsewhere(self, cell: PlannedCell) -> Outcome | None:
        """Return the outcome of a cell that another sweep ran to its end since this one started."""
        result = result_of(cell)
        if result is None or result.started_at == self._starts[cell.folder] or self.ran_alone(cell):
            return None
        if result.status not in FAILURES | {Status.ok} or retry_follows(cell.cell, result):
            return None
        return outcome_from(result, cell.folder)

    def _is_held(self, cell: PlannedCell) -> bool:
        watch = self._busy[cell.folder][1] if cell.folder in self._busy else LeaseWatch(cell.folder)
        held = is_held(cell.folder, watch)
        if not held and watch.stale:
            watch.remove()
        return held
