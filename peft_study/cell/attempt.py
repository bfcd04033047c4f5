"""One cell of a command: it runs, resumes, is skipped or is refused, and its outcome says how it ended."""

import contextlib
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from peft_study.cell.endings import classify, end_attempt
from peft_study.cell.environment import fast_imports, one_process
from peft_study.cell.retries import keeps_result, restriction_now, retry_follows
from peft_study.config import identity
from peft_study.config.checks import check
from peft_study.config.schema import CellConfig
from peft_study.config.sources import needs_hub
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import termination_raises
from peft_study.console.messages import print_error, print_line
from peft_study.console.redaction import redact
from peft_study.errors import UserError
from peft_study.models.hub import use_cache_if_unreachable
from peft_study.results.attempts import MAX_ATTEMPTS, Attempt, Restriction
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, RESULT, CellBusyError, CellFolder
from peft_study.tracking.base import Tracker, Trackers
from peft_study.tracking.registry import check_trackers, tracker_files
from peft_study.tracking.summary import summary_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one cell of a command ended.

    Attributes:
        cell_id: the cell.
        status: how it ended; None if nothing says so.
        reason: why it did not succeed; None if it did.
        exit_code: the exit code of a process that runs this cell alone.
        folder: where its result is; None for a cell without a name.
        retry: whether the same cell in a fresh process uses less memory than the attempt that ran out of it.
        busy: whether another process runs the cell.
        started: False if the sweep ended before the cell's turn.
    """

    cell_id: str
    status: Status | None
    reason: str | None
    exit_code: int
    folder: Path | None = None
    retry: bool = False
    busy: bool = False
    started: bool = True


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


class UnreadableError(UserError):
    """This version cannot read the cell's result, and therefore does not touch it."""


def run_cell(cell: CellConfig, path: Path, options: RunOptions) -> Outcome:
    """Run one cell. An interrupted cell resumes, and a finished one is skipped.

    Args:
        cell: the typed config.
        path: the cell's folder.
        options: how it is run.

    Raises:
        KeyboardInterrupt: after an interrupt, once it is recorded in the result.
    """
    try:
        check(cell)
        check_trackers(cell.tracking)
    except UserError as error:
        print_error(error)
        return refuse(cell, path, error, record=options.sweep)
    result = new_result(cell, path)
    # What a refusal has to remove again.
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        folder = CellFolder(path, tracker_files())
    except OSError as unwritable:
        what = f"output_dir must be a folder that can be written, got {cell.output_dir}"
        refusal = UserError(
            f"{what}: {unwritable.strerror or unwritable}", where="output_dir", hint="output_dir=multirun"
        )
        print_error(refusal)
        return Outcome(result.cell_id, Status.infeasible, refusal.what, EXIT_USER_ERROR, path)
    try:
        with folder.locked():
            outcome, leave = _run_locked(cell, folder, result, options)
            if not leave and not options.sweep:
                folder.remove_light_files()
                # Another cell may have been made in one of them since.
                with contextlib.suppress(OSError):
                    # `made` starts with the innermost folder, so each one is empty in turn.
                    for empty in made:
                        empty.rmdir()
            return outcome
    except (CellBusyError, UnreadableError) as error:
        print_error(error)
        busy = isinstance(error, CellBusyError)
        status = Status.running if busy else None
        return Outcome(result.cell_id, status, error.what, EXIT_USER_ERROR, path, busy=busy)
    except OSError as unwritable:
        # The disk is full or went away, so that the record of the end cannot be written either.
        reason = f"the result cannot be written: {unwritable.strerror or unwritable}"
        print_error(UserError(reason, where=str(path), hint="the same command resumes the cell once there is room"))
        return Outcome(result.cell_id, Status.failed, reason, EXIT_FAILED, path)


def refuse(cell: CellConfig, path: Path, error: UserError, *, record: bool) -> Outcome:
    """Return the outcome of a cell whose settings break a rule.

    Args:
        cell: the typed config.
        path: the cell's folder.
        error: the rule and how the cell breaks it.
        record: also write it as the cell's result, unless the cell has a result already.
    """
    reason = error.what
    if record and not (path / RESULT).exists():
        result = new_result(cell, path)
        result.status, result.reason = Status.infeasible, str(error)
        try:
            CellFolder(path, tracker_files()).write_result(result)
            _show_refusal(cell, result, path)
        except OSError as unwritable:  # the other cells of a sweep still run
            reason = f"{reason}; not recorded: {unwritable.strerror or unwritable}"
    return Outcome(path.name, Status.infeasible, reason, EXIT_USER_ERROR, path)


def _show_refusal(cell: CellConfig, result: RunResult, path: Path) -> None:
    if not cell.tracking.trackers:
        return
    from peft_study.tracking.start import track_refusal

    # The refusal may be about a tracker. Dashboards then miss the cell, and its result does not.
    with contextlib.suppress(UserError):
        check_trackers(cell.tracking)
        result.finished_at = _now()
        track_refusal(cell, result, path)


def new_result(cell: CellConfig, path: Path) -> RunResult:
    """Return the record of a cell that starts."""
    config = redact(identity.plain(cell))
    return RunResult(cell_id=path.name, study=cell.study.name, status=Status.running, config=config)


def _run_locked(cell: CellConfig, folder: CellFolder, result: RunResult, options: RunOptions) -> tuple[Outcome, bool]:
    """Run the cell, or skip it. Return its outcome, and whether its folder holds anything to keep."""
    fresh = not (folder.path / RESULT).exists()
    earlier = None if cell.rerun else _earlier(folder)
    if earlier is not None and keeps_result(cell, earlier):
        if earlier.status is not Status.ok:
            print_line(
                f"{earlier.cell_id}: {earlier.status} before; retry={cell.retry} leaves it, retry=all runs it again"
            )
            return Outcome(result.cell_id, earlier.status, earlier.reason, EXIT_FAILED, folder.path), True
        _show(earlier, folder)
        with_what = f"{earlier.provenance.get('device')}, {earlier.provenance.get('precision')}"
        print_line(f"{earlier.cell_id}: done before ({with_what}); rerun=true runs it again")
        if earlier.config.get("scoring") not in (None, result.config["scoring"]):
            print_line(
                f"scored with other settings: python -m peft_study score {folder.path} scoring.KEY=VALUE scores again"
            )
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK, folder.path), True
    ended = _attempt(cell, folder, result, earlier, options, fresh=fresh)
    if isinstance(ended, UserError):
        print_error(ended)
        outcome = Outcome(result.cell_id, result.status, ended.what, EXIT_USER_ERROR, folder.path)
        return outcome, not fresh or folder.holds_work()
    if isinstance(ended, KeyboardInterrupt):
        print_line(f"{result.cell_id}: interrupted; the same command resumes it")
        raise ended
    _show(result, folder)
    if ended is None:
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK, folder.path), True
    retry = retry_follows(cell, result)
    hint = "a fresh process uses less memory" if retry else "the same command resumes the cell"
    print_error(UserError(result.reason or "", where=str(folder.path / LOG), hint=f"the log has the details; {hint}"))
    return Outcome(result.cell_id, result.status, result.reason, EXIT_FAILED, folder.path, retry), True


def _earlier(folder: CellFolder) -> RunResult | None:
    try:
        return folder.read_result()
    except ValueError as error:
        raise UnreadableError(
            f"the cell's earlier result cannot be read: {error}",
            where=str(folder.path / RESULT),
            hint="rerun=true starts the cell over",
        ) from error


def _show(result: RunResult, folder: CellFolder) -> None:
    from peft_study.tracking.console import print_closing_table

    # rich exits the process when its output is closed (`| head`), but the rest of a sweep needs no reader.
    with contextlib.suppress(SystemExit, BrokenPipeError):
        print_closing_table(summary_of(result), folder.path)


def _attempt(
    cell: CellConfig,
    folder: CellFolder,
    result: RunResult,
    earlier: RunResult | None,
    options: RunOptions,
    *,
    fresh: bool,
) -> BaseException | None:
    """Run the cell. Record the error that ended it in the result, and return the error without its frames."""
    from peft_study.cell.logs import logging_to, quiet_transformers
    from peft_study.tracking.start import start_trackers

    result.started_at = _now()
    attempt = _add_attempt(cell, result, earlier)
    # "running" is on disk before any work, so a process that is killed leaves a true status.
    if fresh:
        folder.write_result(result)
    ended: BaseException | None = None
    trackers: Trackers | None = None
    begun = recorded = False
    with logging_to(folder.path / LOG), one_process(), termination_raises() as gate:
        try:
            try:
                trackers = start_trackers(
                    cell, result.config, result.cell_id, folder.path, resumed=earlier is not None, watch=options.watch
                )
                if needs_hub(cell):
                    use_cache_if_unreachable()
                # Imported this late because torch takes seconds, which a refusal should not, and so that the log file
                # gets what the libraries log.
                with fast_imports():
                    from peft_study.cell.run import CellRun

                quiet_transformers()
                cell_run = CellRun(cell, folder, trackers, result, earlier, attempt)
                cell_run.load()
                # An earlier result stays until here, because only a loaded cell is sure to replace it.
                if cell.rerun:
                    folder.remove_work()
                folder.write_config(result.config)
                folder.write_result(result)
                begun = True
                cell_run.run()
                result.status, result.finished_at = Status.ok, _now()
                end_attempt(cell, result)
                folder.write_result(result)
                recorded = True
                cell_run.tidy()
            finally:
                gate.shut()  # a second signal must not interrupt the record of the first
        except BaseException as error:  # sys.exit in a library must not end a sweep either
            if result.status is not Status.ok:
                result.status, result.reason = classify(error)
            logger.info("the cell ended: %s", result.status, exc_info=True)
            if options.show_traceback:
                traceback.print_exc()
            # Frames keep the model alive, and with it the memory that the next cell needs. With Hydra's basic launcher,
            # all cells share a process.
            ended = error.with_traceback(None)
            ended.__context__ = ended.__cause__ = None
        result.finished_at = result.finished_at or _now()
        if (begun or fresh) and not recorded:
            end_attempt(cell, result)
            folder.write_result(result)
        try:
            if trackers is not None:
                trackers.finish(result)
                trackers.close()
        except KeyboardInterrupt as interrupt:  # during an upload, after the result was written
            ended = ended or interrupt
    return ended


def _add_attempt(cell: CellConfig, result: RunResult, earlier: RunResult | None) -> Attempt:
    """Add this process to those that the record names."""
    attempts = earlier.attempts if earlier is not None else []
    restriction = restriction_now(cell, attempts)
    if restriction is None:  # nothing smaller was left, so the user's next command starts over
        attempts, restriction = [], Restriction()
    attempt = Attempt(restriction=restriction, started_at=result.started_at)
    result.attempts = [*attempts, attempt][-MAX_ATTEMPTS:]
    return attempt


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
