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
from peft_study.config import identity
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import WARNINGS, SignalGate, termination_raises
from peft_study.results.schema import Status
from peft_study.results.store import OUTPUT, RESULT, CellBusyError, CellFolder, read_result
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.machine import Slot
from peft_study.sweep.outcomes import last_output
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.processes import CellProcess, ServerLostError, starter
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
    unread: bytes = b""


class Pool:
    """Runs cells side by side, each in a separate process, so that a crash ends one cell only.

    Args:
        slots: where cells run, one cell at a time in each.
        display: shows the state of the cells.
        show_traceback: let cells print the frames of an error.
    """

    def __init__(self, slots: Sequence[Slot], display: SweepDisplay, *, show_traceback: bool = False) -> None:
        self._free = list(slots)
        self._display = display
        self._show_traceback = show_traceback
        self._starter = starter()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._outcomes: dict[Path, Outcome] = {}

    def run(self, cells: Sequence[PlannedCell]) -> list[Outcome]:
        """Run the cells in their order and skip those that are done.

        Args:
            cells: planned cells, each with its folder.

        Returns:
            the outcome of each cell, in the same order.

        Raises:
            KeyboardInterrupt: after an interrupt, once the running cells have written their results. The same sweep
                can be resumed.
        """
        waiting = list(cells)
        with (
            self._display,
            termination_raises() as gate,
            contextlib.closing(self._starter),
            self._ending_children(gate),
        ):
            while waiting or self._children:
                while waiting and self._free:
                    cell = waiting.pop(0)
                    ended = ended_before(cell) or self._try_to_start(cell)
                    if ended is not None:
                        self._note(ended)
                self._listen()
                for child in list(self._children.values()):
                    if (code := child.process.poll()) is not None:
                        self._note(self._collect(child, code))
        return [self._outcomes[cell.folder] for cell in cells]

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
        self._children[reading] = _Child(cell, self._free.pop(0), process, reading, earlier_start)
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
            return outcome_of(child.cell, code, child.earlier_start)
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
                    child.process.send_signal(signal.SIGKILL)
                    code = child.process.wait()
                    with contextlib.suppress(OSError):  # also writes the result of a cell that was killed
                        outcome_of(child.cell, code, child.earlier_start)


def outcome_of(
    cell: PlannedCell, returncode: int, earlier_start: str | None, *, memory_ran_out: bool = False
) -> Outcome:
    """Return how a cell ended, from its result and the exit code of its process.

    A process that was killed, or that crashed in native code, leaves a result that says "running". This function
    replaces such a result by one that says how the process ended.

    Args:
        cell: the cell that ran.
        returncode: exit code of its process.
        earlier_start: `started_at` of the result that existed before the process; None if there was none. If the
            result still has this time, the process did not write it, and it stays.
        memory_ran_out: whether the kernel has killed a process of the cell's control group for its memory.
    """
    folder = CellFolder(cell.folder)
    name = cell.folder.name
    try:
        result = folder.read_result()
    except ValueError as error:
        return Outcome(name, Status.failed, f"its result cannot be read: {error}", EXIT_USER_ERROR, cell.folder)
    code = EXIT_USER_ERROR if returncode == EXIT_USER_ERROR else EXIT_FAILED
    same_result = result is not None and earlier_start is not None and result.started_at == earlier_start
    if returncode != EXIT_OK and same_result:
        reason = _describe(returncode, cell.folder)
        return Outcome(name, Status.failed, f"{reason}; the earlier result stays", code, cell.folder)
    if result is None or result.status is Status.running:
        try:
            # If the lock is taken, another process runs the cell, and "running" is true.
            with folder.locked():
                result = result or new_result(cell.cell, cell.folder)
                result.status, result.reason = _dead_status(returncode), _describe(returncode, cell.folder)
                if memory_ran_out and returncode != EXIT_OK:
                    result.status = Status.oom
                result.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
                folder.write_result(result)
        except CellBusyError as error:
            return Outcome(name, Status.running, error.what, EXIT_USER_ERROR, cell.folder)
    if result.status is Status.ok:
        return Outcome(name, result.status, None, EXIT_OK, cell.folder)
    return Outcome(name, result.status, result.reason, code, cell.folder)


def _dead_status(returncode: int) -> Status:
    """Return the status of a cell whose process ended without a result."""
    # A signal of a scheduler that came before the cell could catch it interrupted the cell all the same.
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
    """Return the outcome of an earlier run of a cell, if it stands; None if the cell has to run."""
    if cell.cell.rerun:
        return None
    # Read here, because a process only to find this out would take the slot for seconds.
    try:
        result = read_result(cell.folder / RESULT)
    except (OSError, ValueError):
        return None  # the cell runs, and reports what is wrong with its result
    done = result is not None and result.status is Status.ok
    return Outcome(cell.folder.name, Status.ok, None, EXIT_OK, cell.folder) if done else None
