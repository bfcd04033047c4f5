"""Runs a cell in this process, and records how it ends."""

import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime

from peft_study.cell.endings import classify, end_attempt
from peft_study.cell.environment import fast_imports, one_process
from peft_study.cell.logs import logging_to, quiet_transformers
from peft_study.cell.retries import restriction_now
from peft_study.config.schema import CellConfig
from peft_study.config.sources import needs_hub
from peft_study.console.interrupts import termination_raises
from peft_study.models.hub import use_cache_if_unreachable
from peft_study.results.attempts import MAX_ATTEMPTS, Attempt, Restriction
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, RESULT, CellFolder
from peft_study.tracking.base import Tracker, Trackers
from peft_study.tracking.registry import start_trackers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """How a cell is run. The options do not change its result.

    Attributes:
        sweep: whether the cell is one of several. In a sweep, a refusal is recorded as the cell's result, so that the
            sweep's record is complete. A single cell that is refused before any work leaves nothing behind.
        show_traceback: print the frames of an error, which otherwise are in log.txt only.
        watch: a tracker that follows the cell in place of the console.
    """

    sweep: bool
    show_traceback: bool = False
    watch: Tracker | None = None


class CellProcess:
    """Runs a cell whose folder this process holds.

    Args:
        cell: the typed, checked config.
        folder: the cell's folder, locked.
        result: the record of a cell that starts, filled in place.
        earlier: the result of an interrupted run, which this one resumes.
        options: how the cell is run.
    """

    def __init__(
        self, cell: CellConfig, folder: CellFolder, result: RunResult, earlier: RunResult | None, options: RunOptions
    ) -> None:
        self._cell = cell
        self._folder = folder
        self._result = result
        self._earlier = earlier
        self._options = options
        self._trackers: Trackers | None = None
        # An earlier result stays until the cell is loaded, because only a loaded cell is sure to replace it.
        self._record_is_due = not (folder.path / RESULT).exists()

    def run(self) -> BaseException | None:
        """Run the cell and record its end.

        Returns:
            the error that ended the cell, without its frames; None if the cell succeeded.
        """
        self._result.started_at = utc_now()
        attempt = self._add_attempt()
        # "running" is on disk before any work, so a process that is killed leaves a true status.
        if self._record_is_due:
            self._folder.write_result(self._result)
        ended: BaseException | None = None
        with logging_to(self._folder.path / LOG), one_process(), termination_raises() as gate:
            try:
                try:
                    self._work(attempt)
                finally:
                    gate.shut()  # a second signal must not interrupt the record of the first
            except BaseException as error:  # sys.exit in a library must not end a sweep either
                self._classify(error)
                # Frames keep the model alive, and with it the memory that the next cell needs. With Hydra's basic
                # launcher, all cells share a process.
                ended = error.with_traceback(None)
                ended.__context__ = ended.__cause__ = None
            self._record_end()
            try:
                if self._trackers is not None:
                    self._trackers.finish(self._result)
                    self._trackers.close()
            except KeyboardInterrupt as interrupt:  # during an upload, after the result was written
                ended = ended or interrupt
        return ended

    def _add_attempt(self) -> Attempt:
        """Add this process to those that the record names."""
        attempts = self._earlier.attempts if self._earlier is not None else []
        restriction = restriction_now(self._cell, attempts)
        if restriction is None:  # nothing smaller was left, so the user's next command starts over
            attempts, restriction = [], Restriction()
        attempt = Attempt(restriction=restriction, started_at=self._result.started_at)
        self._result.attempts = [*attempts, attempt][-MAX_ATTEMPTS:]
        return attempt

    def _work(self, attempt: Attempt) -> None:
        cell, folder, result = self._cell, self._folder, self._result
        resumed = self._earlier is not None
        self._trackers = start_trackers(cell.tracking, result, folder.path, resumed=resumed, watch=self._options.watch)
        if needs_hub(cell):
            use_cache_if_unreachable()
        # Imported this late because torch takes seconds, which a refusal should not, and so that the log file gets
        # what the libraries log.
        with fast_imports():
            from peft_study.cell.run import CellRun

        quiet_transformers()
        cell_run = CellRun(cell, folder, self._trackers, result, self._earlier, attempt)
        cell_run.load()
        if cell.rerun:
            folder.remove_work()
        folder.write_config(result.config)
        folder.write_result(result)
        self._record_is_due = True
        cell_run.run()
        result.status = Status.ok
        self._record_end()
        cell_run.tidy()

    def _classify(self, error: BaseException) -> None:
        if self._result.status is not Status.ok:
            self._result.status, self._result.reason = classify(error)
        logger.info("the cell ended: %s", self._result.status, exc_info=True)
        if self._options.show_traceback:
            traceback.print_exc()

    def _record_end(self) -> None:
        self._result.finished_at = self._result.finished_at or utc_now()
        if self._record_is_due:
            end_attempt(self._cell, self._result)
            self._folder.write_result(self._result)
            self._record_is_due = False


def utc_now() -> str:
    """Return the time as records state it: UTC, ISO 8601."""
    # A sweep distinguishes the results of two attempts by their starts, and attempts may follow within a second.
    return datetime.now(UTC).isoformat(timespec="milliseconds")
