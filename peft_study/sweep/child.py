"""Runs one cell of a sweep in a separate process."""

import faulthandler
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.cell.attempt import run_cell
from peft_study.cell.process import RunOptions
from peft_study.config import identity
from peft_study.console.exit import EXIT_BUSY
from peft_study.console.interrupts import end_with_parent, termination_raises
from peft_study.cost.memory import peak_rss_bytes
from peft_study.tracking.events import EventTracker


def main() -> int:
    """Run the cell that standard input describes. Return the exit code of the cell."""
    faulthandler.enable()
    description = json.load(sys.stdin)
    end_with_parent(description["parent"])
    return run(description, int(sys.argv[1]))


def run(description: Mapping[str, Any], events: int) -> int:
    """Run a cell.

    Args:
        description: `config`, `folder` and `show_traceback`, as the pool sends them.
        events: descriptor of the pipe that gets the progress.

    Returns:
        the exit code of the process.
    """
    cell = identity.from_plain(description["config"])
    watch = EventTracker(events, _peak_bytes)
    options = RunOptions(sweep=True, show_traceback=description["show_traceback"], watch=watch)
    try:
        with termination_raises():
            outcome = run_cell(cell, Path(description["folder"]), options)
    except KeyboardInterrupt:
        return 128 + signal.SIGTERM  # what a shell reports for a process that the sweep's signal ended
    return EXIT_BUSY if outcome.busy else outcome.exit_code


def _peak_bytes() -> int | None:
    # A question to CUDA would initialize it, in a cell that may run on the CPU.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return peak_rss_bytes()


if __name__ == "__main__":
    raise SystemExit(main())
