"""The command line: Hydra composes a cell, this module runs it, and every way in which it can end is decided here."""

import contextlib
import logging
import os
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from peft_study.config import identity
from peft_study.config.checks import check
from peft_study.config.compose import conf_folder, explain, folder_of, register, to_cell
from peft_study.config.schema import CellConfig
from peft_study.config.sources import needs_hub
from peft_study.errors import UserError
from peft_study.hub import use_cache_if_unreachable
from peft_study.interrupts import TerminatedError, termination_raises
from peft_study.redaction import redact
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, RESULT, CellBusyError, CellFolder
from peft_study.tracking.notices import complain, say

FULL_ERROR = "HYDRA_FULL_ERROR"
EXIT_OK, EXIT_FAILED, EXIT_USER_ERROR = 0, 1, 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one cell of a command ended.

    Attributes:
        cell_id: the cell.
        status: how it ended.
        reason: why it did not end well.
        exit_code: what the process should exit with on its account.
    """

    cell_id: str
    status: Status
    reason: str | None
    exit_code: int


class UnreadableError(UserError):
    """A result that this version cannot read, and therefore does not touch."""


def main() -> int:
    """Run the cell, or the sweep, that the command line describes.

    Returns:
        the exit code: 0 where all cells are done, 1 where one failed, 2 where the command or its input is at fault, 128
        and the signal's number after an interrupt.
    """
    users_choice = os.environ.get(FULL_ERROR)
    outcomes: list[Outcome] = []

    def task(config: DictConfig) -> None:
        sweep = HydraConfig.get().mode is RunMode.MULTIRUN
        try:
            cell = to_cell(config)
            path = folder_of(cell)
        except UserError as error:
            # Raised here, it would end the whole sweep.
            complain(error)
            outcomes.append(Outcome("a cell without a name", Status.infeasible, error.what, EXIT_USER_ERROR))
        else:
            outcomes.append(run_cell(cell, path, sweep=sweep, show_traceback=users_choice == "1"))

    register()
    # With this set, Hydra passes errors on instead of printing them and exiting with 1.
    os.environ[FULL_ERROR] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(task)()
    except KeyboardInterrupt as error:
        return 128 + (signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT)
    except (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if users_choice == "1":
            traceback.print_exc()
        complain(explain(error))
        return EXIT_USER_ERROR
    except (OSError, ValueError) as error:
        # Hydra makes a sweep's folders and checks group names without errors of its own.
        if users_choice == "1":
            traceback.print_exc()
        hint = "check output_dir and the names of groups; HYDRA_FULL_ERROR=1 shows where it comes from"
        complain(UserError(f"{type(error).__name__}: {error}", hint=hint))
        return EXIT_USER_ERROR
    finally:
        os.environ.pop(FULL_ERROR)
        if users_choice is not None:
            os.environ[FULL_ERROR] = users_choice
    return _close(outcomes)


def run_cell(cell: CellConfig, path: Path, *, sweep: bool, show_traceback: bool = False) -> Outcome:
    """Run one cell, go on with it where it was interrupted, or skip it where its result is there already.

    Args:
        cell: the typed config.
        path: its folder.
        sweep: one of several cells: a refusal is then recorded as that cell's result, so that the sweep's record is
            whole. A single cell that is refused before any work leaves nothing behind.
        show_traceback: print the frames of an error, which otherwise stand in log.txt only.

    Raises:
        KeyboardInterrupt: after an interrupt, once the result says so.
    """
    config = redact(identity.plain(cell))
    result = RunResult(cell_id=path.name, study=cell.study.name, status=Status.running, config=config)
    try:
        check(cell)
    except UserError as error:
        complain(error)
        result.status, result.reason = Status.infeasible, str(error)
        if sweep and not (path / RESULT).exists():
            CellFolder(path).write_result(result)
        return Outcome(result.cell_id, Status.infeasible, error.what, EXIT_USER_ERROR)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    folder = CellFolder(path)
    try:
        with folder.locked():
            outcome, leave = _run_locked(cell, folder, result, show_traceback=show_traceback)
            if not leave and not sweep:
                folder.remove_light_files()
                for empty in made:
                    empty.rmdir()
            return outcome
    except (CellBusyError, UnreadableError) as error:
        complain(error)
        return Outcome(result.cell_id, Status.running, error.what, EXIT_USER_ERROR)


def _run_locked(
    cell: CellConfig, folder: CellFolder, result: RunResult, *, show_traceback: bool
) -> tuple[Outcome, bool]:
    """Run the cell, or skip it; also say whether there is anything worth leaving in its folder."""
    fresh = not (folder.path / RESULT).exists()
    earlier = None if cell.rerun else _earlier(folder)
    if earlier is not None and earlier.status is Status.ok:
        _show(earlier, folder)
        with_what = f"{earlier.provenance.get('device')}, {earlier.provenance.get('precision')}"
        say(f"{earlier.cell_id}: done before ({with_what}); rerun=true runs it again")
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK), True
    ended = _attempt(cell, folder, result, earlier, fresh=fresh, show_traceback=show_traceback)
    if isinstance(ended, UserError):
        complain(ended)
        outcome = Outcome(result.cell_id, result.status, ended.what, EXIT_USER_ERROR)
        return outcome, not fresh or folder.holds_work()
    if isinstance(ended, KeyboardInterrupt):
        say(f"{result.cell_id}: interrupted; the same command goes on from here")
        raise ended
    _show(result, folder)
    if ended is None:
        return Outcome(result.cell_id, Status.ok, None, EXIT_OK), True
    hint = "the log has the details; the same command goes on from here"
    complain(UserError(result.reason or "", where=str(folder.path / LOG), hint=hint))
    return Outcome(result.cell_id, result.status, result.reason, EXIT_FAILED), True


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
        print_closing_table(result.summary(), folder.path)


def _attempt(
    cell: CellConfig,
    folder: CellFolder,
    result: RunResult,
    earlier: RunResult | None,
    *,
    fresh: bool,
    show_traceback: bool,
) -> BaseException | None:
    """Run the cell; the error that ended it is classified in the result and returned without its frames.

    The frames would keep the model alive, and with it the memory that the sweep's next cell needs.
    """
    from peft_study.tracking.logs import logging_to, quiet_transformers
    from peft_study.tracking.start import start_trackers

    result.started_at = _now()
    if fresh:
        folder.write_result(result)
    ended: BaseException | None = None
    begun = False
    with logging_to(folder.path / LOG), termination_raises():
        trackers = start_trackers(cell, result.config, result.cell_id, folder.path, resumed=earlier is not None)
        try:
            if needs_hub(cell):
                use_cache_if_unreachable()
            # torch and its relatives take seconds to import, which a refusal should not; what they log goes to log.txt.
            from peft_study.study import Execution

            quiet_transformers()
            execution = Execution(cell, folder, trackers, result, earlier)
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
            if show_traceback:
                traceback.print_exc()
            ended = error.with_traceback(None)
            ended.__context__ = ended.__cause__ = None
        result.finished_at = result.finished_at or _now()
        if begun or fresh:
            folder.write_result(result)
        try:
            trackers.summary(result.summary())
            trackers.finish(str(result.status))
        except KeyboardInterrupt as interrupt:
            ended = ended or interrupt
    return ended


def classify(error: BaseException) -> tuple[Status, str]:
    """What an error that ended a cell means for its result.

    Returns:
        the status and, for a person, the reason with what to try.
    """
    from peft_study.cost.out_of_memory import is_out_of_memory
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


def _close(outcomes: Sequence[Outcome]) -> int:
    """Say which cells of a sweep did not end well, and choose the exit code: a failure weighs more than a refusal."""
    if len(outcomes) > 1:
        for outcome in outcomes:
            if outcome.exit_code != EXIT_OK:
                reason, _, _ = (outcome.reason or "").partition("\n")
                say(f"{outcome.cell_id}: {outcome.status}: {reason}")
        done = sum(outcome.exit_code == EXIT_OK for outcome in outcomes)
        say(f"{done} of {len(outcomes)} cells done")
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in (EXIT_FAILED, EXIT_USER_ERROR) if code in codes), EXIT_OK)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
