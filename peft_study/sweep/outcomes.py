"""How the cells of a sweep ended: what their folders record, with what the launcher knows besides."""

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from peft_study.cell.attempt import Outcome
from peft_study.cell.task import Command
from peft_study.config.compose import CONFIG_ERRORS
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import TerminatedError, termination_raises
from peft_study.console.messages import print_line
from peft_study.errors import UserError
from peft_study.results.holding import LeaseWatch, is_held
from peft_study.results.limits import KernelKills
from peft_study.results.schema import Status
from peft_study.results.store import CellBusyError, CellFolder
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import last_output, record_end, recorded_outcome, result_of, start_of

Launch = Callable[[], Sequence[JobReturn] | None]
_LOOK_SECONDS = 1.0


def run_with(launch: Launch, name: str, cells: Sequence[PlannedCell], command: Command) -> None:
    """Run cells with a launcher, and add the outcome of each to the command.

    The folders of the cells say how they ended, whatever the launcher returns or raises. A cell that still runs is
    waited for.

    Args:
        launch: runs the cells and returns what Hydra's `Launcher.launch` does: one job a cell, in the same order.
        name: name of the launcher, for messages.
        cells: the cells that it runs.
        command: gets an outcome for each cell, and a problem if the launcher failed or did not return all of them.

    Raises:
        KeyboardInterrupt: after an interrupt. The command then has the outcomes of the cells that ended before.
        UserError: the launcher refused to start. Errors of Hydra's configuration are raised, too.
    """
    where = f"hydra/launcher={name}"
    starts = {cell.folder: start_of(cell) for cell in cells}
    kills = KernelKills()
    try:
        with termination_raises() as gate:
            jobs, failure = _launched_jobs(launch, where, command)
            wait_for(cells)
    except KeyboardInterrupt as interrupt:
        # An interrupted launcher returns nothing, but the cells that ended before left their results.
        recorded = map(recorded_outcome, cells)
        command.outcomes += [outcome for outcome in recorded if outcome.status not in {None, Status.running}]
        if gate.received is not None:  # Ray raises a KeyboardInterrupt of its own, without the signal's number
            raise TerminatedError(gate.received) from interrupt
        raise
    if len(jobs) != len(cells):  # jobs cannot be assigned to cells
        jobs = [JobReturn()] * len(cells)
    returned = [_returned_outcome(cell, job) for cell, job in zip(cells, jobs, strict=True)]
    missing = returned.count(None)
    if missing and command.problem is None:
        command.problem = UserError(
            f"the launcher must return an outcome for each of {len(cells)} cells, {missing} are missing",
            where=where,
            hint="for those cells, the lines above show what their folders hold",
        )
    death = Status.oom if kills.take() else Status.failed
    for cell, outcome in zip(cells, returned, strict=True):
        record_death(cell, death, failure)
        final = _reconciled(cell, outcome, starts)
        command.outcomes.append(final)
        # Another sweep may have run a cell that this one did not start.
        reason = outcome.reason if outcome is not None and outcome.started else None
        if reason and final.status is Status.ok and command.problem is None:
            what = f"the launcher failed after {final.cell_id} was done: {reason}"
            command.problem = UserError(what, where=where, hint="the result is complete; the same command checks it")


def _launched_jobs(launch: Launch, where: str, command: Command) -> tuple[list[JobReturn], str | None]:
    """Return the jobs of a launcher. If it fails, return no jobs and its error, which becomes the command's problem."""
    try:
        return list(launch() or ()), None
    except (BrokenPipeError, UserError, *CONFIG_ERRORS):
        raise
    except Exception as error:  # launchers raise what they like: a worker that died, a queue that is gone
        if command.show_traceback:
            traceback.print_exc()
        failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        hint = "the same command resumes the sweep; HYDRA_FULL_ERROR=1 shows where the error comes from"
        command.problem = UserError(f"the launcher failed: {failure}", where=where, hint=hint)
        return [], failure


def wait_for(cells: Sequence[PlannedCell], limit_seconds: float = float("inf")) -> None:
    """Wait for the cells that other processes still run, such as workers that a launcher left behind.

    Args:
        cells: those that may be running.
        limit_seconds: how long to wait at most.
    """
    watches = {cell.folder: LeaseWatch(cell.folder) for cell in cells}
    busy = [cell for cell in cells if _is_running(cell, watches[cell.folder])]
    if busy:
        print_line(f"waiting for {len(busy)} cells that still run; Ctrl-C ends the wait, not the cells")
    deadline = time.monotonic() + limit_seconds
    while busy and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        busy = [cell for cell in busy if _is_running(cell, watches[cell.folder])]


def record_death(cell: PlannedCell, status: Status, cause: str | None) -> None:
    """Replace the result of a cell whose process died and left "running".

    Args:
        cell: the cell.
        status: how it ended: failed, or oom if the kernel killed a process because memory ran out.
        cause: what is known of the end, such as the state of its job; None if nothing is.
    """
    result = result_of(cell)
    if result is None or result.status is not Status.running:
        return
    # Nothing changes if a process holds the cell, or if the folder cannot be written.
    with contextlib.suppress(CellBusyError, OSError):
        record_end(cell, result, status, _reason(cell, status, cause))


def add_cause(cell: PlannedCell, cause: str) -> None:
    """Add to the record of an interrupted cell what interrupted it, such as the time limit of its job."""
    result = result_of(cell)
    if result is None or result.status is not Status.preempted:
        return
    folder = CellFolder(cell.folder)
    with contextlib.suppress(CellBusyError, OSError), folder.locked():
        result.reason = f"{result.reason}; {cause.rstrip('.')}"
        folder.write_result(result)


def _reason(cell: PlannedCell, status: Status, cause: str | None) -> str:
    memory = "the kernel killed a process because memory ran out" if status is Status.oom else None
    parts = ["its process ended without a result", memory, cause, last_output(cell.folder)]
    return "; ".join(part for part in parts if part)


def _reconciled(cell: PlannedCell, returned: Outcome | None, starts: Mapping[Path, str | None]) -> Outcome:
    """Choose between what the launcher returned and what the folder records, which has priority."""
    recorded, start = recorded_outcome(cell), start_of(cell)
    unchanged = start == starts[cell.folder]
    if returned is None:
        if unchanged and start is not None and recorded.status is not Status.ok:
            return replace(recorded, reason=f"it did not run; earlier it ended with: {recorded.reason}")
        return recorded
    # The record of an earlier run says nothing about this one.
    failed_before_its_record = unchanged and returned.exit_code != EXIT_OK
    # Where the record agrees, a returned outcome adds a reason.
    agrees = recorded.status is None or returned.status == recorded.status
    refused = returned.exit_code == EXIT_USER_ERROR
    return returned if failed_before_its_record or agrees or refused else recorded


def _is_running(cell: PlannedCell, watch: LeaseWatch) -> bool:
    result = result_of(cell)
    return result is not None and result.status is Status.running and is_held(cell.folder, watch)


def _returned_outcome(cell: PlannedCell, job: JobReturn) -> Outcome | None:
    """Return the outcome that a launcher returned for a cell; None if the job holds none."""
    if job.status is JobStatus.UNKNOWN:  # the launcher only queued the job
        return None
    # Hydra's property raises the job's error.
    try:
        value = job.return_value
    except Exception as error:
        code = EXIT_USER_ERROR if isinstance(error, UserError) else EXIT_FAILED
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(cell.folder.name, Status.failed, reason, code, cell.folder)
    return value if isinstance(value, Outcome) else None
