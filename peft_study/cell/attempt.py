"""One cell of a command: run, continued, skipped or refused, and every way in which it can end."""

import contextlib
import gc
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from peft_study.cell.environment import one_process
from peft_study.config import identity
from peft_study.config.checks import check
from peft_study.config.schema import CellConfig
from peft_study.config.sources import needs_hub
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.console.interrupts import termination_raises
from peft_study.console.messages import print_error, print_line
from peft_study.errors import UserError
from peft_study.models.hub import use_cache_if_unreachable
from peft_study.results.redaction import redact
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, RESULT, CellBusyError, CellFolder
from peft_study.tracking.base import Tracker, Trackers
from peft_study.tracking.registry import check_tracker, tracker_files
from peft_study.tracking.summary import summary_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one cell of a command ended.

    Attributes:
        cell_id: the cell.
        status: how it ended; None where nothing says so.
        reason: why it did not end well.
        exit_code: what the process should exit with on its account.
        folder: where its result is; None for a cell without a name.
    """

    cell_id: str
    status: Status | None
    reason: str | None
    exit_code: int
    folder: Path | None = None


@dataclass(frozen=True)
class RunOptions:
    """How a cell is run, which changes nothing about its result.

    Attributes:
        sweep: one of several cells: a refusal is then recorded as that cell's result, so that the sweep's record is
            whole. A single cell that is refused before any work leaves nothing behind.
        show_traceback: print the frames of an error, which otherwise stand in log.txt only.
        watch: follows the cell in place of the console.
    """

    sweep: bool
    show_traceback: bool = False
    watch: Tracker | None = None


class UnreadableError(UserError):
    """A result that this version cannot read, and therefore does not touch."""


def run_cell(cell: CellConfig, path: Path, options: RunOptions) -> Outcome:
    """Run one cell, go on with it where it was interrupted, or skip it where its result is there already.

    Args:
        cell: the typed config.
        path: its folder.
        options: how it is run.

    Raises:
        KeyboardInterrupt: after an interrupt, once the result says so.
    """
    try:
        check(cell)
        check_tracker(cell.tracking)
    except UserError as error:
        print_error(error)
        return refuse(cell, path, error, record=options.sweep)
    result = new_result(cell, path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    folder = CellFolder(path, tracker_files())
    try:
        with folder.locked():
            outcome, leave = _run_locked(cell, folder, result, options)
            if not leave and not options.sweep:
                folder.remove_light_files()
                for empty in made:
                    empty.rmdir()
            return outcome
    except (CellBusyError, UnreadableError) as error:
        print_error(error)
        return Outcome(result.cell_id, Status.running, error.what, EXIT_USER_ERROR, path)


def refuse(cell: CellConfig, path: Path, error: UserError, *, record: bool) -> Outcome:
    """Say how a cell ended that broke a rule.

    Args:
        cell: the typed config.
        path: its folder.
        error: the rule.
        record: also leave it as the cell's result, unless there is one.
    """
    reason = error.what
    if record and not (path / RESULT).exists():
        result = new_result(cell, path)
        result.status, result.reason = Status.infeasible, str(error)
        try:
            CellFolder(path).write_result(result)
        except OSError as unwritable:  # no reason to end the other cells of a sweep
            reason = f"{reason}; not recorded: {unwritable.strerror or unwritable}"
    return Outcome(path.name, Status.infeasible, reason, EXIT_USER_ERROR, path)


def new_result(cell: CellConfig, path: Path) -> RunResult:
    """The record of a cell that begins."""
    config = redact(identity.plain(cell))
    return RunResult(cell_id=path.name, study=cell.study.name, status=Status.running, config=config)


def _run_locked(cell: CellConfig, folder: CellFolder, result: RunResult, options: RunOptions) -> tuple[Outcome, bool]:
    """Run the cell, or skip it; also say whether there is anything worth leaving in its folder."""
    fresh = not (folder.path / RESULT).exists()
    earlier = None if cell.rerun else _earlier(folder)
    if earlier is not None and earlier.status is Status.ok:
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
        print_line(f"{result.cell_id}: interrupted; the same command goes on from here")
        raise ended
    _show(result, folder)
    if ended is None:
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK, folder.path), True
    hint = "the log has the details; the same command goes on from here"
    print_error(UserError(result.reason or "", where=str(folder.path / LOG), hint=hint))
    return Outcome(result.cell_id, result.status, result.reason, EXIT_FAILED, folder.path), True


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

    # rich ends the process when nobody reads its output any more; the rest of a sweep needs no reader.
    with contextlib.suppress(SystemExit, BrokenPipeError):
        print_closing_table(summary_of(result), folder.path)


@cache
def _keep_what_was_imported() -> None:
    """Spare the collections between phases the libraries' half a million objects, which live as long as the process."""
    gc.collect()
    gc.freeze()


def _attempt(
    cell: CellConfig,
    folder: CellFolder,
    result: RunResult,
    earlier: RunResult | None,
    options: RunOptions,
    *,
    fresh: bool,
) -> BaseException | None:
    """Run the cell; the error that ended it is classified in the result and returned without its frames.

    The frames would keep the model alive, and with it the memory that the sweep's next cell needs.
    """
    from peft_study.cell.logs import logging_to, quiet_transformers
    from peft_study.tracking.start import start_trackers

    result.started_at = _now()
    if fresh:
        folder.write_result(result)
    ended: BaseException | None = None
    trackers: Trackers | None = None
    begun = False
    with logging_to(folder.path / LOG), one_process(), termination_raises():
        try:
            trackers = start_trackers(
                cell, result.config, result.cell_id, folder.path, resumed=earlier is not None, watch=options.watch
            )
            if needs_hub(cell):
                use_cache_if_unreachable()
            # torch and its relatives take seconds to import, which a refusal should not; what they log goes to log.txt.
            from peft_study.cell.run import CellRun

            _keep_what_was_imported()
            quiet_transformers()
            execution = CellRun(cell, folder, trackers, result, earlier)
            execution.load()
            # Only now is it sure that a result can follow: an earlier one stands until here.
            if cell.rerun:
                folder.remove_work()
            folder.write_config(result.config)
            folder.write_result(result)
            begun = True
            execution.run()
            result.status, result.finished_at = Status.ok, _now()
            folder.write_result(result)
            execution.tidy()
        except BaseException as error:  # sys.exit in a library must not end a sweep either
            if result.status is not Status.ok:
                result.status, result.reason = classify(error)
            logger.info("the cell ended: %s", result.status, exc_info=True)
            if options.show_traceback:
                traceback.print_exc()
            ended = error.with_traceback(None)
            ended.__context__ = ended.__cause__ = None
        result.finished_at = result.finished_at or _now()
        if begun or fresh:
            folder.write_result(result)
        try:
            if trackers is not None:
                trackers.summary(summary_of(result))
                trackers.finish(str(result.status))
        except KeyboardInterrupt as interrupt:
            ended = ended or interrupt
    return ended


def classify(error: BaseException) -> tuple[Status, str]:
    """What an error that ended a cell means for its result.

    Returns:
        the status and, for a person, the reason with what to try.
    """
    from peft_study.models.out_of_memory import is_out_of_memory
    from peft_study.training.loop import DivergedError

    text = str(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return Status.preempted, "a signal ended the process"
    if isinstance(error, UserError):
        return Status.failed, text
    if isinstance(error, DivergedError):
        return Status.diverged, f"{text}; try a lower method.learning_rate, or training.precision=bf16 or fp32"
    if is_out_of_memory(error):
        smaller = "quantization=nf4, training.micro_batch_size=1, training.gradient_checkpointing=true"
        return Status.oom, f"out of memory: {text.splitlines()[0]}; try {smaller} or generation.batch_size=1"
    return Status.failed, f"{type(error).__name__}: {text}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
