"""How the process of a cell ended: by its exit code, its output and the kernel's counters."""

import os
import signal
from pathlib import Path

from peft_study.cell.attempt import Outcome, new_result
from peft_study.cell.retries import retry_follows
from peft_study.console.exit import EXIT_BUSY, EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import WARNINGS
from peft_study.models.out_of_memory import spells_out_of_memory
from peft_study.results.limits import KernelKills
from peft_study.results.schema import Status
from peft_study.results.store import OUTPUT, CellBusyError, CellFolder
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import last_output, record_end, unreadable_reason

_LAST_BYTES = 16_384
_STOPPED = "the sweep ended before its process had saved; the same command resumes from its last checkpoint"


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
    cell: PlannedCell,
    returncode: int,
    earlier_start: str | None,
    *,
    exhausted: str | None = None,
    stopped: bool = False,
) -> Outcome:
    """Return how a cell ended, from its result and the exit code of its process.

    A process that was killed, or that crashed in native code, leaves a result that says "running". This function
    replaces such a result by one that says how the process ended.

    Args:
        cell: the cell that ran.
        returncode: exit code of its process.
        earlier_start: `start_of` the cell before the process; None if there was no result. If the result still has
            this start, the process did not write it, and it stays.
        exhausted: why memory is known to have run out; None if it is not.
        stopped: whether this sweep killed the process, which had not saved its state in time.
    """
    folder = CellFolder(cell.folder)
    name = cell.folder.name
    if returncode == EXIT_BUSY:
        return Outcome(name, Status.running, "another process runs this cell", EXIT_USER_ERROR, cell.folder, busy=True)
    try:
        result = folder.read_result()
    except ValueError as error:
        return Outcome(name, Status.failed, unreadable_reason(error), EXIT_USER_ERROR, cell.folder)
    code = EXIT_USER_ERROR if returncode == EXIT_USER_ERROR else EXIT_FAILED
    same_result = result is not None and earlier_start is not None and result.started_at == earlier_start
    if stopped:
        status, reason = Status.preempted, _STOPPED
    elif exhausted is not None:
        status, reason = Status.oom, f"out of memory: {exhausted}"
    else:
        status, reason = _dead_status(returncode), _describe(returncode, cell.folder)
    if returncode != EXIT_OK and same_result:
        return Outcome(name, status, f"{reason}; the earlier result stays", code, cell.folder)
    if result is None or result.status is Status.running:
        result = result or new_result(cell.cell, cell.folder)
        try:
            record_end(cell, result, status, reason)
        except CellBusyError as error:
            return Outcome(name, Status.running, error.what, EXIT_USER_ERROR, cell.folder, busy=True)
    if result.status is Status.ok:
        return Outcome(name, result.status, None, EXIT_OK, cell.folder)
    retry = retry_follows(cell.cell, result)
    return Outcome(name, result.status, result.reason, code, cell.folder, retry=retry)


def _dead_status(returncode: int) -> Status:
    """Return the status of a cell whose process ended without a result."""
    # A cell that a scheduler's signal ends before it can catch the signal is interrupted, whoever sent it.
    asked = any(returncode in (-number, 128 + number) for number in (signal.SIGTERM, *WARNINGS))
    return Status.preempted if asked else Status.failed


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
