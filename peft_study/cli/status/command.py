"""Show how far the cells under a folder are: `python -m peft_study status multirun/table3`."""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
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
    return run_command(lambda: show(options), interrupted="the cells are not affected")


def show(options: argparse.Namespace) -> int:
    """Print the state of a folder.

    Args:
        options: of the command line.

    Returns:
        the exit code.

    Raises:
        UserError: the folder does not exist, or an option is wrong.
    """
    if not 0 < options.every < float("inf"):
        what = f"--every must be a positive number of seconds, got {options.every:g}"
        raise UserError(what, where="--every", hint=f"--every {EVERY_SECONDS:g}")
    readings = _readings(options.folder, options.every)
    summary = next(readings)
    console = ResultConsole()
    if not console.is_terminal:
        console = ResultConsole(width=_PIPE_WIDTH)
    if not options.watch:
        if options.json:
            _write(json.dumps(summary.to_json(), indent=1))
        else:
            print_status(summary, console)
    elif options.json or not console.is_terminal:
        _watch_lines(itertools.chain([summary], readings), as_json=options.json)
    else:
        _watch_live(itertools.chain([summary], readings), console)
    return EXIT_OK


def _readings(folder: Path, every_seconds: float) -> Iterator[StatusSummary]:
    """Yield the state of a folder, again and again. Later readings read only what changed."""
    reader = StatusReader(folder)
    with progress("reading cells") as advance:
        summary = summarize(folder, *reader.read(advance))
    while True:
        yield summary
        time.sleep(every_seconds)
        summary = summarize(folder, *reader.read())


def _watch_live(readings: Iterable[StatusSummary], console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for summary in readings:
            live.update(live_status(summary, console), refresh=True)


def _watch_lines(readings: Iterable[StatusSummary], *, as_json: bool) -> None:
    """Write a line of JSON at every reading, or a line of text when the counts change."""
    counts = ""
    for summary in readings:
        if as_json:
            _write(json.dumps(summary.to_json()))
        elif counts != counts_line(summary):
            counts = counts_line(summary)
            _write("; ".join(filter(None, [f"{summary.read_at:%H:%M:%S} UTC {counts}", time_left(summary)])))


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
