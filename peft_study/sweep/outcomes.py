"""How the cells of a sweep ended: what the launcher returned, or else what their folders record."""

import traceback
from collections.abc import Callable, Sequence

from hydra.core.utils import JobReturn, JobStatus

from peft_study.cell.attempt import Outcome
from peft_study.cell.task import Command
from peft_study.config.compose import CONFIG_ERRORS
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import termination_raises
from peft_study.errors import UserError
from peft_study.results.schema import Status
from peft_study.results.store import RESULT, read_result
from peft_study.sweep.plan import PlannedCell

Launch = Callable[[], Sequence[JobReturn] | None]


def run_with(launch: Launch, name: str, cells: Sequence[PlannedCell], command: Command) -> None:
    """Run cells with a launcher, and add the outcome of each to the command.

    Args:
        launch: runs the cells and returns what Hydra's `Launcher.launch` does: one job a cell, in the same order.
        name: name of the launcher, for messages.
        cells: the cells that it runs.
        command: gets an outcome for each cell, and a problem if the launcher did not return all of them.

    Raises:
        KeyboardInterrupt: after an interrupt. The command then has the outcomes of the cells that ended before.
        UserError: the launcher refused to start. Errors of Hydra's configuration are raised, too.
    """
    where = f"hydra/launcher={name}"
    try:
        with termination_raises():
            jobs = list(launch() or ())
    except KeyboardInterrupt:
        # An interrupted launcher returns nothing, but the cells that ended before left their results.
        recorded = map(recorded_outcome, cells)
        command.outcomes += [outcome for outcome in recorded if outcome.status not in {None, Status.running}]
        raise
    except (BrokenPipeError, UserError, *CONFIG_ERRORS):
        raise
    except Exception as error:  # launchers raise what they like: a worker that died, a queue that is gone
        if command.show_traceback:
            traceback.print_exc()
        hint = "the same command resumes the sweep; HYDRA_FULL_ERROR=1 shows where the error comes from"
        command.problem = UserError(f"the launcher failed: {type(error).__name__}: {error}", where=where, hint=hint)
        command.outcomes += map(recorded_outcome, cells)
        return
    if len(jobs) != len(cells):  # jobs cannot be assigned to cells
        jobs = [JobReturn()] * len(cells)
    outcomes = [returned_outcome(cell, job) for cell, job in zip(cells, jobs, strict=True)]
    missing = outcomes.count(None)
    if missing:
        command.problem = UserError(
            f"the launcher must return an outcome for each of {len(cells)} cells, {missing} are missing",
            where=where,
            hint="for those cells, the lines above show what their folders hold",
        )
    command.outcomes += [outcome or recorded_outcome(cell) for cell, outcome in zip(cells, outcomes, strict=True)]


def returned_outcome(cell: PlannedCell, job: JobReturn) -> Outcome | None:
    """Return the outcome that a launcher returned for a cell.

    Args:
        cell: the cell that the job ran.
        job: Hydra's record of the job. An error outside of the cell becomes the reason of the outcome.

    Returns:
        None if the job holds no outcome.
    """
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


def recorded_outcome(cell: PlannedCell) -> Outcome:
    """Return the outcome that a cell's folder records. The status is None if there is no result."""
    name, folder = cell.folder.name, cell.folder
    try:
        result = read_result(folder / RESULT)
    except (OSError, ValueError) as error:
        return Outcome(name, None, f"its result cannot be read: {error}", EXIT_USER_ERROR, folder)
    if result is None:
        return Outcome(name, None, "it left no result", EXIT_FAILED, folder)
    reason, code = result.reason, EXIT_FAILED
    match result.status:
        case Status.ok:
            reason, code = None, EXIT_OK
        case Status.running:
            reason = "its process ended without a result, or still runs"
        case Status.infeasible:
            code = EXIT_USER_ERROR
    return Outcome(name, result.status, reason, code, folder)
