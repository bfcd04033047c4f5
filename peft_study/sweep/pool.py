"""Runs the cells of a sweep in fresh processes, as many at a time as there are places."""

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
from peft_study.console.interrupts import termination_raises
from peft_study.results.schema import Status
from peft_study.results.store import OUTPUT, RESULT, CellBusyError, CellFolder, read_result
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.machine import Slot
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.processes import CellProcess, ServerLostError, starter
from peft_study.tracking.events import Progress

SECONDS_TO_SAVE = 120.0
"""How long an interrupted cell may take to leave its record before it is killed."""
_POLL_SECONDS = 0.05


@dataclass
class _Child:
    """A running cell."""

    cell: PlannedCell
    place: Slot
    process: CellProcess
    events: int
    begun_before: str | None
    unread: bytes = b""


class Pool:
    """Runs cells side by side, each in a process of its own, so that a crash is one cell's result and no more.

    Args:
        places: where cells run; as many at a time.
        display: shows how they do.
        show_traceback: let cells print the frames of an error.
    """

    def __init__(self, places: Sequence[Slot], display: SweepDisplay, *, show_traceback: bool = False) -> None:
        self._free = list(places)
        self._display = display
        self._show_traceback = show_traceback
        self._starter = starter()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._outcomes: dict[Path, Outcome] = {}

    def run(self, cells: Sequence[PlannedCell]) -> list[Outcome]:
        """Run the cells in their order, passing over those that are done.

        Raises:
            KeyboardInterrupt: after an interrupt, once the cells that ran have left their records; the sweep can go on.
        """
        waiting = list(cells)
        with self._display, termination_raises(), contextlib.closing(self._starter), self._ending_children():
            while waiting or self._children:
                while waiting and self._free:
                    cell = waiting.pop(0)
                    ended = _done_before(cell) or self._try_to_start(cell)
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
        """Start a cell; one whose folder cannot be written to ends here, and the others go on."""
        try:
            self._start(cell)
        except OSError as error:
            return _unwritable(cell, error)
        except ServerLostError as error:
            return Outcome(cell.folder.name, Status.failed, str(error), EXIT_FAILED, cell.folder)
        return None

    def _start(self, cell: PlannedCell) -> None:
        folder = CellFolder(cell.folder).path
        before = _begun(cell)
        (folder / OUTPUT).touch()
        description = {
            "config": identity.plain(cell.cell),
            "folder": str(cell.folder),
            "show_traceback": self._show_traceback,
        }
        reading, writing = os.pipe()
        try:
            with (folder / OUTPUT).open("ab") as output:
                environment = self._free[0].environment()
                process = self._starter.start(description, environment, output.fileno(), writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._children[reading] = _Child(cell, self._free.pop(0), process, reading, before)
        self._selector.register(reading, selectors.EVENT_READ)
        self._display.started(cell.folder.name)

    def _listen(self) -> None:
        """Wait a moment for news of the cells and show it."""
        for key, _ in self._selector.select(_POLL_SECONDS):
            child = self._children[key.fd]
            received = os.read(key.fd, 65_536)
            *lines, child.unread = (child.unread + received).split(b"\n")
            if lines:
                self._display.progress(child.cell.folder.name, Progress.from_line(lines[-1]))
            if not received:  # the child closed its end: it is about to end
                self._selector.unregister(key.fd)

    def _collect(self, child: _Child, code: int) -> Outcome:
        """Say how a cell ended whose process is gone, and free its place."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.events)
        os.close(child.events)
        del self._children[child.events]
        self._free.append(child.place)
        try:
            return outcome_of(child.cell, code, child.begun_before)
        except OSError as error:
            return _unwritable(child.cell, error)

    @contextmanager
    def _ending_children(self) -> Iterator[None]:
        """Whatever ends the sweep ends its cells, which get the time to leave a record that can be gone on with."""
        try:
            yield
        finally:
            processes = [child.process for child in self._children.values()]
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a stopped one could not save
            if processes:
                self._display.interrupted(len(processes))
            try:
                deadline = time.monotonic() + SECONDS_TO_SAVE
                for process in processes:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0.0, deadline - time.monotonic()))
            finally:  # a second interrupt does not wait
                for child in self._children.values():
                    child.process.send_signal(signal.SIGKILL)
                    code = child.process.wait()
                    with contextlib.suppress(OSError):  # it also writes the record of a cell that was killed
                        outcome_of(child.cell, code, child.begun_before)


def outcome_of(cell: PlannedCell, returncode: int, begun_before: str | None) -> Outcome:
    """Say how a cell ended, from its result and its process's exit code.

    A process that died without a word (a crash in native code, a kill) leaves a result that says "running": the
    truth about it is written here.

    Args:
        cell: what ran.
        returncode: of its process.
        begun_before: when the result that lay there before had begun. One that still lies there is not this process's,
            and stays: a rerun that could not begin leaves it.
    """
    folder = CellFolder(cell.folder)
    name = cell.folder.name
    try:
        result = folder.read_result()
    except ValueError as error:
        return Outcome(name, Status.failed, f"its result cannot be read: {error}", EXIT_USER_ERROR, cell.folder)
    code = EXIT_USER_ERROR if returncode == EXIT_USER_ERROR else EXIT_FAILED
    if returncode != EXIT_OK and result is not None and begun_before is not None and result.started_at == begun_before:
        return Outcome(name, Status.failed, f"{_how(returncode)}; an earlier result stands", code, cell.folder)
    if result is None or result.status is Status.running:
        try:
            with folder.locked():
                result = result or new_result(cell.cell, cell.folder)
                result.status, result.reason = Status.failed, _how(returncode)
                result.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
                folder.write_result(result)
        except CellBusyError as error:
            return Outcome(name, Status.running, error.what, EXIT_USER_ERROR, cell.folder)
    if result.status is Status.ok:
        return Outcome(name, result.status, None, EXIT_OK, cell.folder)
    return Outcome(name, result.status, result.reason, code, cell.folder)


def _unwritable(cell: PlannedCell, error: OSError) -> Outcome:
    reason = f"its folder cannot be used: {error.strerror or error}"
    return Outcome(cell.folder.name, Status.failed, reason, EXIT_USER_ERROR, cell.folder)


def _how(returncode: int) -> str:
    """How a process ended that left no result of its own."""
    if returncode >= 0:
        return f"its process ended with exit code {returncode} and no result; see {OUTPUT} in its folder"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # a real-time signal
        name = f"signal {-returncode}"
    perhaps = ", perhaps by the kernel for want of memory" if -returncode == signal.SIGKILL else ""
    return f"its process was ended by {name}{perhaps}; the same command goes on from its last checkpoint"


def _begun(cell: PlannedCell) -> str | None:
    try:
        result = CellFolder(cell.folder).read_result()
    except ValueError:
        return None
    return None if result is None else result.started_at


def _done_before(cell: PlannedCell) -> Outcome | None:
    if cell.cell.rerun:
        return None
    try:
        result = read_result(cell.folder / RESULT)
    except (OSError, ValueError):
        return None  # the cell itself says what is wrong with it
    done = result is not None and result.status is Status.ok
    return Outcome(cell.folder.name, Status.ok, None, EXIT_OK, cell.folder) if done else None
