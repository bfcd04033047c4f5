"""Show how far the cells under a folder are: `python -m peft_study status multirun/table3`."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from peft_study.cli.status.cells import StatusReader
from peft_study.cli.status.display import counts_line, live_status, print_status, time_left
from peft_study.cli.status.summary import StatusSummary, summarize
from peft_study.console.exit import EXIT_OK, run_command
from peft_study.console.messages import ResultConsole, progress
from peft_study.errors import UserError

EVERY_SECONDS = 5.0
_PIPE_WIDTH = 1000
"""Columns of an output that is not a terminal, so that no name is cut."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the state of a folder.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 if the state was printed, also with failed cells, 2 if the folder does not exist, and 128 plus
        the signal's number after an interrupt.
    """
    options = _parser().parse_args(arguments)
    return run_command(
        lambda: show(options.folder, as_json=options.json, watch=options.watch, every_seconds=options.every),
        interrupted="the cells are not affected",
    )


def show(folder: Path, *, as_json: bool = False, watch: bool = False, every_seconds: float = EVERY_SECONDS) -> int:
    """Print the state of a folder.

    Args:
        folder: a folder with cells at any depth, or the folder of a cell.
        as_json: print JSON in place of text; with `watch`, one line each time.
        watch: print the state again and again, until an interrupt.
        every_seconds: pause between two readings.

    Returns:
        the exit code.

    Raises:
        UserError: the folder does not exist.
    """
    if not 0 < every_seconds < float("inf"):
        what = f"--every must be a positive number of seconds, got {every_seconds:g}"
        raise UserError(what, where="--every", hint=f"--every {EVERY_SECONDS:g}")
    reader = StatusReader(folder)
    # Later readings of a watch read only what changed.
    with progress("reading cells") as advance:
        summary = summarize(folder, *reader.read(advance))
    console = ResultConsole()
    if not console.is_terminal:
        console = ResultConsole(width=_PIPE_WIDTH)
    if not watch:
        if as_json:
            _write(json.dumps(summary.to_json(), indent=1))
        else:
            print_status(summary, console)
    elif as_json or not console.is_terminal:
        _watch_lines(folder, reader, summary, every_seconds, as_json=as_json)
    else:
        _watch_live(folder, reader, summary, every_seconds, console)
    return EXIT_OK


def _watch_live(
    folder: Path, reader: StatusReader, summary: StatusSummary, every_seconds: float, console: Console
) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(live_status(summary, console), refresh=True)
            time.sleep(every_seconds)
            summary = summarize(folder, *reader.read())


def _watch_lines(
    folder: Path, reader: StatusReader, summary: StatusSummary, every_seconds: float, *, as_json: bool
) -> None:
    """Write a line of JSON at every reading, or a line of text when the counts change."""
    written = None
    while True:
        counts = counts_line(summary)
        if as_json:
            _write(json.dumps(summary.to_json()))
        elif counts != written:
            written = counts
            _write("; ".join(filter(None, [f"{summary.read_at:%H:%M:%S} UTC {counts}", time_left(summary)])))
        time.sleep(every_seconds)
        summary = summarize(folder, *reader.read())


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m peft_study status",
        description=__doc__,
        epilog="docs/states.md says what each state means and what to do.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="multirun/, a study or a cell")
    parser.add_argument("--watch", action="store_true", help="show the state again and again, until Ctrl-C")
    parser.add_argument(
        "--every",
        type=float,
        default=EVERY_SECONDS,
        metavar="SECONDS",
        help=f"pause between two readings of --watch; default: {EVERY_SECONDS:g}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; with --watch, one line at every reading")
    return parser
