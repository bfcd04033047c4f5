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
from datetime import UTC, datetime
from pathlib import Path

from peft_study.cell.attempt import Outcome, new_result
from peft_study.cell.earlier import stands
from peft_study.cell.endings import end_attempt
from peft_study.cell.retries import retry_follows
from peft_study.config import identity
from peft_study.console.exit import EXIT_BUSY, EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import WARNINGS, SignalGate, termination_raises
from peft_study.models.out_of_memory import is_of_host, spells_out_of_memory
from peft_study.results.limits import KernelKills
from peft_study.results.schema import FAILURES, Status
from peft_study.results.store import OUTPUT, RESULT, CellBusyError, CellFolder, read_result
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.machine import Slot
from peft_study.sweep.outcomes import last_output
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.processes import CellProcess, ServerLostError, starter
from peft_study.sweep.queue import CellQueue
from peft_study.tracking.events import Progress

SECONDS_TO_SAVE = 120.0
"""How long an interrupted cell may take to write its result before it is killed."""
_POLL_SECONDS = 0.05
_LAST_BYTES = 16_384


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
        self._starter = starter()
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
        queue = self._queue = CellQueue(cells)
        with (
            self._display,
            termination_raises() as gate,
            contextlib.closing(self._starter),
            self._ending_children(gate),
        ):
            while (queue or self._children) and self._stopped_by is None:
                while self._free and self._stopped_by is None and (cell := queue.next(len(self._children))):
                    # An earlier failure that `retry` leaves alone, or one of another sweep, does not stop this one.
                    if (earlier := ended_before(cell) or queue.ended_elsewhere(cell)) is not None:
                        self._note(earlier)
                    elif queue.put_off_if_busy(cell):
                        self._display.put_off(cell.folder.name)
                    elif (refused := self._try_to_start(cell)) is not None:
                        self._note_end(refused)
                self._listen()
                for child in list(self._children.values()):
                    if (code := child.process.poll()) is not None:
                        self._settle(child, self._collect(child, code))
            if self._stopped_by is not None:
                self._display.stopped(self._stopped_by.cell_id, len(queue))
        return [self._outcomes.get(cell.folder) or _not_started(cell) for cell in cells]

    def _settle(self, child: _Child, outcome: Outcome) -> None:
        """Note the end of a cell, unless it is to run again."""
        queue, cell, name = self._queue, child.cell, child.cell.folder.name
        of_host = outcome.status is Status.oom and is_of_host(outcome.reason or "")
        if outcome.busy:
            queue.put_off(cell)
            self._display.put_off(name)
        elif outcome.retry or (of_host and not child.alone and not queue.ran_alone(cell)):
            queue.retry(cell, alone=of_host)
            self._display.retried(name, outcome.reason)
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

    def _try_to_start(self, cell: PlannedCell) -> Outcome | None:
        """Start a cell. Return an outcome if it cannot start, so that the other cells still run."""
        try:
            self._start(cell)
        except OSError as error:
            return _unwritable(cell, error)
        except ServerLostError as error:
            return Outcome(cell.folder.name, Status.failed, str(error), EXIT_FAILED, cell.folder)
        return None

    def _start(self, cell: PlannedCell) -> None:
        output_file = CellFolder(cell.folder).path / OUTPUT
        earlier_start = start_of(cell)
        # Raises before the pipe exists if the folder is not writable.
        output_file.touch()
        output_start = output_file.stat().st_size
        description = {
            "config": identity.plain(cell.cell),
            "folder": str(cell.folder),
            "show_traceback": self._show_traceback,
        }
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

    def _collect(self, child: _Child, code: int) -> Outcome:
        """Return the outcome of a cell whose process ended, and free its slot."""
        with contextlib.suppress(KeyError):  # `_listen` has seen the end of the pipe
            self._selector.unregister(child.events)
        os.close(child.events)
        del self._children[child.events]
        self._free.append(child.slot)
        try:
            return outcome_of(child.cell, code, child.earlier_start, exhausted=self._exhausted(child, code))
        except OSError as error:
            return _unwritable(child.cell, error)

    def _exhausted(self, child: _Child, code: int) -> str | None:
        """Return what says that memory ran out, the kernel or the process that ended with a code; None if nothing."""
        return exhausted_by(child.cell.folder, child.output_start, code, self._kills)

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
                    child.process.send_signal(signal.SIGKILL)
                    code = child.process.wait()
                    try:  # also writes the result of a cell that was killed
                        outcome = outcome_of(child.cell, code, child.earlier_start)
                    except OSError as error:
                        outcome = _unwritable(child.cell, error)
                    self._outcomes[child.cell.folder] = outcome


def exhausted_by(folder: Path, output_start: int, code: int, kills: KernelKills) -> str | None:
    """Return what says that the memory of a process ran out: the kernel, or the process itself; None if nothing does.

    Args:
        folder: of the cell.
        output_start: size of the cell's output before the process, in bytes.
        code: exit code of the process.
        kills: counts since before the process.
    """
    if code == -signal.SIGKILL:
        return "the kernel ended the process" if kills.take() else None
    if code == EXIT_OK:
        return None
    with (folder / OUTPUT).open("rb") as output:
        output.seek(max(output_start, output.seek(0, os.SEEK_END) - _LAST_BYTES))
        return spells_out_of_memory(output.read().decode(errors="replace"))


def outcome_of(
    cell: PlannedCell, returncode: int, earlier_start: str | None, *, exhausted: str | None = None
) -> Outcome:
    """Return how a cell ended, from its result and the exit code of its process.

    A process that was killed, or that crashed in native code, leaves a result that says "running". This function
    replaces such a result by one that says how the process ended.

    Args:
        cell: the cell that ran.
        returncode: exit code of its process.
        earlier_start: `started_at` of the result that existed before the process; None if there was none. If the
            result still has this time, the process did not write it, and it stays.
        exhausted: why memory is known to have run out; None if it is not.
    """
    folder = CellFolder(cell.folder)
    name = cell.folder.name
    if returncode == EXIT_BUSY:
        return Outcome(name, Status.running, "another process runs this cell", EXIT_USER_ERROR, cell.folder, busy=True)
    try:
        result = folder.read_result()
    except ValueError as error:
        return Outcome(name, Status.failed, f"its result cannot be read: {error}", EXIT_USER_ERROR, cell.folder)
    code = EXIT_USER_ERROR if returncode == EXIT_USER_ERROR else EXIT_FAILED
    same_result = result is not None and earlier_start is not None and result.started_at == earlier_start
    if returncode != EXIT_OK and same_result:
        status = Status.failed if exhausted is None else Status.oom
        reason = _describe(returncode, cell.folder) if exhausted is None else f"out of memory: {exhausted}"
        return Outcome(name, status, f"{reason}; the earlier result stays", code, cell.folder)
    if result is None or result.status is Status.running:
        try:
            # If the lock is taken, another process runs the cell, and "running" is true.
            with folder.locked():
                result = result or new_result(cell.cell, cell.folder)
                result.status, result.reason = _dead_status(returncode), _describe(returncode, cell.folder)
                if exhausted is not None:
                    result.status, result.reason = Status.oom, f"out of memory: {exhausted}"
                result.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
                end_attempt(cell.cell, result, killed=True)
                folder.write_result(result)
        except CellBusyError as error:
            return Outcome(name, Status.running, error.what, EXIT_USER_ERROR, cell.folder, busy=True)
    if result.status is Status.ok:
        return Outcome(name, result.status, None, EXIT_OK, cell.folder)
    retry = retry_follows(cell.cell, result)
    return Outcome(name, result.status, result.reason, code, cell.folder, retry=retry)


def _not_started(cell: PlannedCell) -> Outcome:
    return Outcome(cell.folder.name, None, "not started", EXIT_FAILED, cell.folder, started=False)


def _dead_status(returncode: int) -> Status:
    """Return the status of a cell whose process ended without a result."""
    # A cell that a scheduler's signal ends before it can catch the signal is interrupted, whoever sent it.
    asked = any(returncode in (-number, 128 + number) for number in (signal.SIGTERM, *WARNINGS))
    return Status.preempted if asked else Status.failed


def _unwritable(cell: PlannedCell, error: OSError) -> Outcome:
    reason = f"its folder cannot be used: {error.strerror or error}"
    return Outcome(cell.folder.name, Status.failed, reason, EXIT_USER_ERROR, cell.folder)


def _describe(returncode: int, folder: Path) -> str:
    """Describe the end of a process that wrote no result."""
    if returncode >= 0:
        output = last_output(folder) or f"see {OUTPUT} in its folder"
        return f"its process ended with exit code {returncode} and no result; {output}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # a real-time signal
        name = f"signal {-returncode}"
    cause = ", perhaps by the kernel because memory ran out" if -returncode == signal.SIGKILL else ""
    return f"its process was ended by {name}{cause}; the same command resumes from its last checkpoint"


def start_of(cell: PlannedCell) -> str | None:
    """Return when the run that a cell's result records started; None without a result."""
    with contextlib.suppress(ValueError):
        result = CellFolder(cell.folder).read_result()
        return None if result is None else result.started_at
    return None


def ended_before(cell: PlannedCell) -> Outcome | None:
    """Return the outcome of an earlier run, if it stands."""
    # Read here, because a process only to find this out would take the slot for seconds.
    try:
        result = read_result(cell.folder / RESULT)
    except (OSError, ValueError):
        return None  # the cell runs, and reports what is wrong with its result
    if result is None or not stands(cell.cell, result):
        return None
    code = EXIT_OK if result.status is Status.ok else EXIT_FAILED
    return Outcome(cell.folder.name, result.status, result.reason if code else None, code, cell.folder)
