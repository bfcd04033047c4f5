"""Runs the cells of a sweep in fresh processes, one at a time in each slot."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft_study.cell.attempt import Outcome
from peft_study.console.exit import EXIT_FAILED, EXIT_USER_ERROR
from peft_study.console.interrupts import SignalGate, termination_raises
from peft_study.models.out_of_memory import is_of_host
from peft_study.results.limits import KernelKills
from peft_study.results.schema import FAILURES, Status
from peft_study.results.store import OUTPUT, CellFolder
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.ends import exhausted_by, outcome_of
from peft_study.sweep.machine import Slot
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.processes import CellProcess, ServerLostError, Starter
from peft_study.sweep.queue import CellQueue
from peft_study.sweep.records import ended_before, not_started, start_of
from peft_study.tracking.events import Progress

SECONDS_TO_SAVE = 120.0
"""How long an interrupted cell may take to write its result before it is killed."""
_POLL_SECONDS = 0.05


@dataclass
class _Child:
    """A running cell."""

    cell: PlannedCell
    slot: Slot
    process: CellProcess
    events: int
    earlier_start: str | None
    output_start: int
    alone: bool
    unread: bytes = b""


class Pool:
    """Runs cells side by side, each in a separate process, so that a crash ends one cell only.

    Args:
        slots: where cells run, one cell at a time in each.
        display: shows the state of the cells.
        show_traceback: let cells print the frames of an error.
        stop_on_failure: after the first cell that fails, end the running cells and start no other.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        display: SweepDisplay,
        *,
        show_traceback: bool = False,
        stop_on_failure: bool = False,
    ) -> None:
        self._free = list(slots)
        self._display = display
        self._show_traceback = show_traceback
        self._stop_on_failure = stop_on_failure
        self._stopped_by: Outcome | None = None
        self._starter = Starter()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._outcomes: dict[Path, Outcome] = {}
        self._queue = CellQueue([])
        self._kills = KernelKills()

    def run(self, cells: Sequence[PlannedCell]) -> list[Outcome]:
        """Run the cells in their order and skip those that are done. A cell that another process runs comes last.

        Args:
            cells: planned cells, each with its folder.

        Returns:
            the outcome of each cell, in the same order.

        Raises:
            KeyboardInterrupt: after an interrupt, once the running cells have written their results. The same sweep
                can be resumed.
        """
        self._queue = CellQueue(cells)
        with (
            self._display,
            termination_raises() as gate,
            contextlib.closing(self._starter),
            self._ending_children(gate),
        ):
            while (self._queue or self._children) and self._stopped_by is None:
                self._fill_slots()
                self._listen()
                for child in list(self._children.values()):
                    if (code := child.process.poll()) is not None:
                        self._settle(child, self._collect(child, code))
            if self._stopped_by is not None:
                self._display.stopped(self._stopped_by.cell_id, self._note_earlier(cells))
        return [self._outcomes.get(cell.folder) or not_started(cell) for cell in cells]

    def _fill_slots(self) -> None:
        """Start cells until no slot is free or every other cell has to wait. Note those that need no process."""
        while self._free and self._stopped_by is None and (cell := self._queue.next(len(self._children))):
            earlier = ended_before(cell) or self._queue.ended_elsewhere(cell)
            # An earlier failure that `retry` leaves alone, or one of another sweep, does not stop this one.
            if earlier is not None:
                self._note(earlier)
            elif self._queue.put_off_if_busy(cell):
                self._display.put_off(cell.folder.name)
            elif (refused := self._try_to_start(cell)) is not None:
                self._note_end(refused)

    def _settle(self, child: _Child, outcome: Outcome) -> None:
        """Note the end of a cell, unless it is to run again."""
        cell = child.cell
        of_host = outcome.status is Status.oom and is_of_host(outcome.reason or "")
        if outcome.busy:
            self._queue.put_off(cell)
            self._display.put_off(outcome.cell_id)
        elif outcome.retry or (of_host and not child.alone and not self._queue.ran_alone(cell)):
            self._queue.retry(cell, alone=of_host)
            self._display.retried(outcome.cell_id, outcome.reason)
        else:
            self._note_end(outcome)

    def _note_end(self, outcome: Outcome) -> None:
        """Note the end of a cell of this sweep, which may stop the sweep."""
        self._note(outcome)
        if self._stop_on_failure and outcome.status in FAILURES:
            self._stopped_by = self._stopped_by or outcome

    def _note(self, outcome: Outcome) -> None:
        assert outcome.folder is not None
        self._outcomes[outcome.folder] = outcome
        self._display.ended(outcome.cell_id, str(outcome.status), outcome.reason)

    def _note_earlier(self, cells: Sequence[PlannedCell]) -> int:
        """Note the earlier ends that stand of cells whose turn did not come. Return how many other cells wait."""
        running = {child.cell.folder for child in self._children.values()}
        waiting = [cell for cell in cells if cell.folder not in self._outcomes.keys() | running]
        earlier = [outcome for cell in waiting if (outcome := ended_before(cell)) is not None]
        for outcome in earlier:
            self._note(outcome)
        return len(waiting) - len(earlier)

    def _try_to_start(self, cell: PlannedCell) -> Outcome | None:
        """Start a cell. Return an outcome if it cannot start, so that the other cells still run."""
        try:
            self._start(cell)
        except OSError as error:
            if error.filename is not None:
                return _unwritable(cell, error)
            # The machine has too many processes or open files, for instance.
            reason = f"its process cannot start: {error.strerror or error}"
        except ServerLostError as error:
            reason = str(error)
        else:
            return None
        return Outcome(cell.folder.name, Status.failed, reason, EXIT_FAILED, cell.folder)

    def _start(self, cell: PlannedCell) -> None:
        output_file = CellFolder(cell.folder).path / OUTPUT
        earlier_start = start_of(cell)
        # Raises before the pipe exists if the folder is not writable.
        output_file.touch()
        output_start = output_file.stat().st_size
        description = cell.description(show_traceback=self._show_traceback)
        reading, writing = os.pipe()
        try:
            # Appended to: a crash in native code, which log.txt misses, may be what an interrupted cell left there.
            with output_file.open("ab") as output:
                environment = self._free[0].environment()
                process = self._starter.start(description, environment, output.fileno(), writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            # Only the child may hold the writing end, so that its exit closes the pipe.
            os.close(writing)
        for child in self._children.values():
            child.alone = False
        alone = not self._children
        self._children[reading] = _Child(cell, self._free.pop(0), process, reading, earlier_start, output_start, alone)
        self._selector.register(reading, selectors.EVENT_READ)
        self._display.started(cell.folder.name)

    def _listen(self) -> None:
        """Wait briefly for progress of the cells and show it."""
        for key, _ in self._selector.select(_POLL_SECONDS):
            child = self._children[key.fd]
            received = os.read(key.fd, 65_536)
            *lines, child.unread = (child.unread + received).split(b"\n")
            if lines:
                # Each line holds the whole state, so the last one is enough.
                self._display.progress(child.cell.folder.name, Progress.from_line(lines[-1]))
            if not received:  # the child closed its end of the pipe: it is about to exit
                self._selector.unregister(key.fd)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(_POLL_SECONDS)

    def _collect(self, child: _Child, code: int) -> Outcome:
        """Return the outcome of a cell whose process ended, and free its slot."""
        with contextlib.suppress(KeyError):  # `_listen` has seen the end of the pipe
            self._selector.unregister(child.events)
        os.close(child.events)
        del self._children[child.events]
        self._free.append(child.slot)
        try:
            exhausted = exhausted_by(child.cell.folder, child.output_start, code, self._kills)
            return outcome_of(child.cell, code, child.earlier_start, exhausted=exhausted)
        except OSError as error:
            return _unwritable(child.cell, error)

    @contextmanager
    def _ending_children(self, gate: SignalGate) -> Iterator[None]:
        """End the running cells when the sweep ends, and give them time to write a result that can be resumed."""
        try:
            yield
        finally:
            gate.shut()  # only a second Ctrl-C ends the wait: schedulers repeat their signals
            processes = [child.process for child in self._children.values()]
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a stopped process cannot save
            if processes:
                self._display.interrupted(len(processes))
            try:
                deadline = time.monotonic() + SECONDS_TO_SAVE
                for process in processes:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, deadline - time.monotonic()))
            finally:  # a second interrupt ends the wait
                for child in self._children.values():
                    stopped = child.process.poll() is None
                    child.process.send_signal(signal.SIGKILL)
                    code = child.process.wait()
                    try:  # also writes the result of a cell that was killed
                        outcome = outcome_of(child.cell, code, child.earlier_start, stopped=stopped)
                    except OSError as error:
                        outcome = _unwritable(child.cell, error)
                    self._outcomes[child.cell.folder] = outcome


def _unwritable(cell: PlannedCell, error: OSError) -> Outcome:
    reason = f"its folder cannot be used: {error.strerror or error}"
    return Outcome(cell.folder.name, Status.failed, reason, EXIT_USER_ERROR, cell.folder)
