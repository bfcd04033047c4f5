"""Runs the cell, or the sweep, that the command line describes, with Hydra."""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import hydra

from peft_study.cell.attempt import Outcome
from peft_study.cell.environment import check_interpreter
from peft_study.cell.task import Command
from peft_study.config.compat import intermixed_overrides
from peft_study.config.compose import CONFIG_ERRORS, conf_folder, explain, register
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR, interrupt_code
from peft_study.console.messages import print_error, print_line
from peft_study.errors import UserError
from peft_study.results.store import RESULT, most_telling_file, read_result

FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> int:
    """Run the cell, or the sweep, that the command line describes.

    Returns:
        the exit code: 0 if all cells succeeded, 1 if one failed, 2 if the command line or its input is wrong, and 128
        plus the signal's number after an interrupt.
    """
    users_choice = os.environ.get(FULL_ERROR)
    command = Command(show_traceback=users_choice == "1")
    register()
    # With this variable, Hydra raises errors instead of printing them and exiting with 1.
    os.environ[FULL_ERROR] = "1"
    try:
        check_interpreter()
        # Since version 1.2, Hydra leaves the working directory as it is.
        with intermixed_overrides():
            hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")(command)()
    except KeyboardInterrupt as error:
        _close(command)
        return interrupt_code(error)
    except (UserError, *CONFIG_ERRORS) as error:
        if command.show_traceback:
            traceback.print_exc()
        print_error(explain(error))
        return EXIT_USER_ERROR
    except BrokenPipeError:  # an OSError, but `cli.main` ends quietly after it
        raise
    except (OSError, ValueError) as error:
        # Hydra raises these built-in errors for a sweep's folders and for the names of groups.
        if command.show_traceback:
            traceback.print_exc()
        hint = "check output_dir and the names of groups; HYDRA_FULL_ERROR=1 shows where it comes from"
        print_error(UserError(f"{type(error).__name__}: {error}", hint=hint))
        return EXIT_USER_ERROR
    finally:
        os.environ.pop(FULL_ERROR)
        if users_choice is not None:
            os.environ[FULL_ERROR] = users_choice
    if command.cells is None and any(outcome.retry for outcome in command.outcomes):
        _run_again()
    return _close(command)


def _run_again() -> NoReturn:
    """Replace this process by one that runs the same command, because only a fresh process has all of the memory."""
    print_line("the cell starts again in a fresh process with less memory")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments_again(sys.orig_argv[1:])])  # noqa: S606 - no shell


def arguments_again(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that resume a cell, also if a YAML file sets `rerun` or `retry`."""
    settings = {"rerun": "false", "retry": "all"}
    others = [argument for argument in arguments if argument.lstrip("+").partition("=")[0] not in settings]
    return [*others, *(f"{name}={value}" for name, value in settings.items())]


def _close(command: Command) -> int:
    """Print the results of a sweep and the cells that did not succeed. Return the exit code.

    A failure takes precedence over a refusal.
    """
    if command.cells is not None:
        _show_sweep(command.outcomes, command.cells)
    codes = {outcome.exit_code for outcome in command.outcomes}
    if command.problem is not None:
        print_error(command.problem)
        codes.add(EXIT_FAILED)
    return next((code for code in (EXIT_FAILED, EXIT_USER_ERROR) if code in codes), EXIT_OK)


def _show_sweep(outcomes: Sequence[Outcome], cells: int) -> None:
    from peft_study.cli.results_table import print_results

    folders = [outcome.folder for outcome in outcomes if outcome.folder is not None]
    results = []
    for folder in folders:
        with contextlib.suppress(ValueError, OSError):
            results.append(read_result(folder / RESULT))
    # The output may be closed (`| head`), and the lines below are still wanted in a log.
    with contextlib.suppress(BrokenPipeError):
        print_results([result for result in results if result is not None])
    for outcome in outcomes:
        if outcome.exit_code != EXIT_OK and outcome.started:
            reason, _, _ = (outcome.reason or "").partition("\n")
            where = f" ({most_telling_file(outcome.folder)})" if outcome.folder is not None else ""
            print_line(f"{outcome.cell_id}: {outcome.status or 'unknown'}: {reason}{where}")
    # Counted, because a stopped study may leave hundreds.
    if waiting := sum(not outcome.started for outcome in outcomes):
        print_line(f"{waiting} cells not started, because a cell failed and stop_on_failure=true")
    done = sum(outcome.exit_code == EXIT_OK for outcome in outcomes)
    studies = sorted({str(folder.parent) for folder in folders})
    print_line(f"{done} of {cells} cells done" + (f", results in {', '.join(studies)}" if studies else ""))
