"""Send the runs of cells to Weights & Biases: `python -m peft_study sync multirun/demo`."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from peft_study.cli.sync.pending import Cells, Target, find_cells, read_cell
from peft_study.cli.sync.send import Sender
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.messages import print_error, print_line, progress
from peft_study.errors import UserError
from peft_study.results.store import CellBusyError, CellFolder
from peft_study.tracking.wandb_run.service import check_project, error_reason, has_key, load_wandb

TIMEOUT_SECONDS = 30.0
FAILURES_AT_MOST = 2
"""Cells in a row that cannot be sent before the server counts as unreachable."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Send every run below a folder that the server does not have yet, or has in part.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 if the server has every run, 1 if a run could not be sent, 2 if the command line is wrong, and
        128 plus the signal's number after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="python -m peft_study sync", description=__doc__)
    parser.add_argument("folder", type=Path, help="a cell, a study or multirun/")
    parser.add_argument("--project", help="W&B project; default: the cells' tracking.project")
    parser.add_argument("--entity", help="W&B entity; default: the cells' tracking.entity")
    parser.add_argument("--all", action="store_true", help="also cells that ran without tracking=wandb")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent, without a network")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the server at each step of a run; default: %(default).0f",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: sync(options), interrupted="the same command sends the rest")


def sync(options: argparse.Namespace) -> int:
    """Find the runs and send them.

    Args:
        options: of the command line.

    Returns:
        the exit code.

    Raises:
        UserError: the folder does not exist, an option is wrong, or no key is configured.
    """
    if not options.folder.is_dir():
        raise UserError(
            f"FOLDER must be a folder of cells, got {options.folder}",
            where=str(options.folder),
            hint="the folder of a cell or of a study, such as multirun/demo",
        )
    if not options.timeout > 0:
        raise UserError(
            f"--timeout must be above 0, got {options.timeout}", where="--timeout", hint=f"--timeout {TIMEOUT_SECONDS}"
        )
    if options.project is not None:
        check_project(options.project)
    # A shell that runs cells offline would also keep this command from the network, and one of a W&B agent would put
    # all cells into the agent's run.
    for variable in ("WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"):
        os.environ.pop(variable, None)
    wandb = load_wandb()
    settings = wandb.setup().settings
    target = Target(settings.base_url, options.entity, options.project)
    cells = find_cells(options.folder.resolve(), target, untracked=options.all)
    for problem in cells.problems:
        print_error(UserError(problem.what, where=problem.where, hint="this cell is not sent"))
    if options.dry_run:
        for folder in cells.pending:
            print_line(str(folder))
        print_line(f"{len(cells.pending)} runs to send, {cells.marked} sent before")
        _print_untracked(cells)
        return EXIT_FAILED if cells.problems else EXIT_OK
    if cells.pending and not has_key(settings):
        raise UserError(
            f"a key must be configured for {settings.base_url}", where="WANDB_API_KEY", hint="`wandb login` stores one"
        )
    failures = 0
    if cells.pending:
        failures = _send_all(cells.pending, cells.marked, target, Sender(options.timeout))
    else:
        print_line(f"nothing to send, {cells.marked} runs sent before")
    _print_untracked(cells)
    return EXIT_FAILED if cells.problems or failures else EXIT_OK


def _print_untracked(cells: Cells) -> None:
    if cells.untracked:
        print_line(f"{cells.untracked} cells ran without tracking=wandb; --all sends them as well")


class _End(StrEnum):
    """What became of a cell, as the counts name it."""

    sent = "sent"
    complete_before = "there before"
    running = "running"
    failed = "not sent"


def _send_all(folders: Sequence[Path], marked: int, target: Target, sender: Sender) -> int:
    """Send the cells, print the counts, and return how many could not be sent."""
    counts = Counter({_End.complete_before: marked})
    failures_in_a_row = 0
    with progress("sending runs") as advance:
        for number, folder in enumerate(folders):
            advance(number, len(folders))
            end = _send(folder, target, sender)
            counts[end] += 1
            failures_in_a_row = failures_in_a_row + 1 if end is _End.failed else 0
            rest = len(folders) - number - 1
            if failures_in_a_row == FAILURES_AT_MOST and rest:
                counts[_End.failed] += rest
                print_line(f"{target.address} does not take runs, so the rest is left")
                break
    listed = [f"{counts[end]} {end}" for end in _End if counts[end] or end is _End.sent]
    print_line(f"{len(folders) + marked} runs: {', '.join(listed)}")
    return counts[_End.failed]


def _send(folder: Path, target: Target, sender: Sender) -> _End:
    try:
        # A cell that runs now sends its own lines.
        with CellFolder(folder).locked():
            cell = read_cell(folder, target)
            sent = sender.send(cell)
            if sent.surplus:
                print_line(f"{folder.name}: {sent.path} has {sent.surplus} rows that the record does not have")
            cell.mark(target)
    except CellBusyError:
        return _End.running
    except (Exception, SystemExit) as error:
        print_error(UserError(error_reason(error), where=str(folder), hint="the same command tries again"))
        return _End.failed
    return _End.complete_before if sent.complete_before else _End.sent
