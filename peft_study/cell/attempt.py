"""One cell of a command: it runs, resumes, is skipped or is refused, and its outcome says how it ended."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from peft_study.cell.process import CellProcess, RunOptions, utc_now
from peft_study.cell.retries import keeps_result, retry_follows
from peft_study.config import identity
from peft_study.config.checks import check
from peft_study.config.schema import CellConfig
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.messages import print_error, print_line
from peft_study.console.redaction import redact
from peft_study.errors import UserError
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, RESULT, CellBusyError, CellFolder
from peft_study.tracking.console import print_closing_table
from peft_study.tracking.registry import check_trackers, track_refusal, tracker_files


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
    # What a refusal has to remove again, the innermost folder first.
    new_folders = [folder for folder in (path, *path.parents) if not folder.exists()]
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
            outcome, has_content = _run_locked(cell, folder, result, options)
            if not has_content and not options.sweep:
                folder.remove_light_files()
                # Another cell may have been made in one of them since.
                with contextlib.suppress(OSError):
                    for empty in new_folders:
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
    # The refusal may be about a tracker. Dashboards then miss the cell, and its result does not.
    with contextlib.suppress(UserError):
        check_trackers(cell.tracking)
        result.finished_at = utc_now()
        track_refusal(cell.tracking, result, path)


def new_result(cell: CellConfig, path: Path) -> RunResult:
    """Return the record of a cell that starts."""
    config = redact(identity.plain(cell))
    return RunResult(cell_id=path.name, study=cell.study.name, status=Status.running, config=config)


def _run_locked(cell: CellConfig, folder: CellFolder, result: RunResult, options: RunOptions) -> tuple[Outcome, bool]:
    """Run the cell, or skip it. Return its outcome, and whether its folder holds anything to keep."""
    had_result = (folder.path / RESULT).exists()
    earlier = None if cell.rerun else _earlier(folder)
    if earlier is not None and keeps_result(cell, earlier):
        return _skip(cell, folder, result, earlier), True
    error = CellProcess(cell, folder, result, earlier, options).run()
    if isinstance(error, UserError):
        print_error(error)
        outcome = Outcome(result.cell_id, result.status, error.what, EXIT_USER_ERROR, folder.path)
        return outcome, had_result or folder.holds_work()
    if isinstance(error, KeyboardInterrupt):
        print_line(f"{result.cell_id}: interrupted; the same command resumes it")
        raise error
    _show(result, folder)
    if error is None:
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK, folder.path), True
    retry = retry_follows(cell, result)
    hint = "a fresh process uses less memory" if retry else "the same command resumes the cell"
    print_error(UserError(result.reason or "", where=str(folder.path / LOG), hint=f"the log has the details; {hint}"))
    return Outcome(result.cell_id, result.status, result.reason, EXIT_FAILED, folder.path, retry), True


def _skip(cell: CellConfig, folder: CellFolder, result: RunResult, earlier: RunResult) -> Outcome:
    """Show the earlier result of a cell that does not run, and return its outcome."""
    if earlier.status is not Status.ok:
        print_line(f"{earlier.cell_id}: {earlier.status} before; retry={cell.retry} leaves it, retry=all runs it again")
        return Outcome(result.cell_id, earlier.status, earlier.reason, EXIT_FAILED, folder.path)
    _show(earlier, folder)
    device, precision = earlier.provenance.get("device"), earlier.provenance.get("precision")
    print_line(f"{earlier.cell_id}: done before ({device}, {precision}); rerun=true runs it again")
    if earlier.config.get("scoring") not in (None, result.config["scoring"]):
        print_line(
            f"scored with other settings: python -m peft_study score {folder.path} scoring.KEY=VALUE scores again"
        )
    return Outcome(result.cell_id, Status.ok, None, EXIT_OK, folder.path)


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
    # The output may be closed (`| head`), but the rest of a sweep needs no reader.
    with contextlib.suppress(BrokenPipeError):
        print_closing_table(result, folder.path)
