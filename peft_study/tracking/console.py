"""The progress display of a running cell, and the closing table."""

import atexit
import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from peft_study.console.formats import MISSING, percent
from peft_study.console.messages import plain_console, printable
from peft_study.console.progress_bar import progress_bar
from peft_study.metrics.intervals import recorded_interval
from peft_study.metrics.registry import ALWAYS_SHOWN, HEADLINES
from peft_study.results.schema import PHASES, MemoryKind, RunResult
from peft_study.tracking.base import CellStart, Row, Tracker

BYTES_PER_GIGABYTE = 1e9

_SHOWN_METRICS = {"loss": "loss", "validation_loss": "val"}
_FURTHER_COSTS = {"tokens/s": "tokens_per_second", "card Wh": "energy_wh"}
_MEMORY_LABELS = {MemoryKind.cpu_peak_rss: "peak RSS", MemoryKind.cuda_allocated: "GPU allocated"}


class ConsoleTracker(Tracker):
    """Shows the phases of a cell. On a stream that is not a terminal: one line when the cell starts and when it ends.

    Args:
        console: where to show them; the standard error stream if None, so that a piped output stays clean.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or plain_console(stderr=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._latest: dict[str, float] = {}
        self._cell_id = ""
        self._started_seconds = 0.0

    def start(self, cell: CellStart) -> None:
        self._close()
        self._cell_id = cell.cell_id
        self._started_seconds = time.monotonic()
        resumes = " resumes" if cell.resumed else ""
        self._print_line(f"{cell.cell_id}{resumes}: results go to {cell.folder}")
        if self._console.is_terminal:
            self._progress = progress_bar("{task.description:<8}", self._console)
            # A live display hides the cursor, and a process that exits without `finish` must restore it.
            atexit.register(self._close)
            self._progress.start()

    def phase(self, name: str, total: int | None) -> None:
        if self._progress is None:
            return
        self._end_phase()
        self._latest = {}
        self._task = self._progress.add_task(printable(name, self._console), total=total, latest="")

    def progress(self, done: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)

    def step(self, step: int, values: Row, usage: Row) -> None:
        if self._progress is None or self._task is None:
            return
        self._latest.update({name: value for name, value in values.items() if name in _SHOWN_METRICS})
        latest = " ".join(
            f"{label} {self._latest[name]:.4f}" for name, label in _SHOWN_METRICS.items() if name in self._latest
        )
        self._progress.update(self._task, latest=latest)

    def finish(self, result: RunResult) -> None:
        self._close()
        self._print_line(f"{self._cell_id}: {result.status} after {time.monotonic() - self._started_seconds:.0f} s")

    def close(self) -> None:
        self._close()

    def _end_phase(self) -> None:
        """Stop the clock of the current phase. A bar without a total is filled."""
        # rich animates a bar without a total until it is full, also after its clock has stopped.
        if self._progress is None or self._task is None:
            return
        self._progress.stop_task(self._task)
        if next(task for task in self._progress.tasks if task.id == self._task).total is None:
            self._progress.update(self._task, total=1, completed=1)

    def _close(self) -> None:
        progress, self._progress, self._task = self._progress, None, None
        if progress is not None:
            atexit.unregister(self._close)
            progress.stop()

    def _print_line(self, line: str) -> None:
        self._console.print(Text(printable(line, self._console)), soft_wrap=True)


def print_closing_table(result: RunResult, folder: Path, console: Console | None = None) -> None:
    """Print the scores of a cell, its costs and its folder. An unknown value is shown as "-".

    Args:
        result: the record of the cell, finished or not.
        folder: the cell's folder.
        console: where to print; the standard output if None.
    """
    console = console or plain_console()
    console.print(Group(_metrics_table(result), Text(), _cost_table(result)))
    # The line is not wrapped, because a path that is broken over lines cannot be copied.
    console.print(Text(printable(f"results in {folder}", console)), soft_wrap=True)


def _metrics_table(result: RunResult) -> RenderableType:
    test_samples = _number((result.data.get("sizes") or {}).get("test"))
    rows = {"status": str(result.status)}
    for name, title in HEADLINES.items():
        if name in ALWAYS_SHOWN or _number(result.metrics.get(name)) is not None:
            rows[title] = _score(result, name, test_samples)
    if sandbox_errors := _number(result.execution.get("sandbox_errors")):
        rows["programs not run"] = _count(sandbox_errors)
    rows["test samples"] = _count(test_samples)
    rows["trainable parameters"] = _parameters(result)
    rows["best validation loss"] = _decimal(_number(result.training.get("best_validation_loss")), 4)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _cost_table(result: RunResult) -> RenderableType:
    table = Table(header_style="")
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    memory = "peak memory" if result.memory_kind is None else _MEMORY_LABELS[result.memory_kind]
    table.add_column(memory, justify="right")
    measures = []
    for title, measure in _FURTHER_COSTS.items():
        # A column that no phase has is left out.
        if any(_cost(result, phase, measure) is not None for phase in PHASES):
            table.add_column(title, justify="right")
            measures.append(measure)
    for phase in PHASES:
        peak_bytes = _cost(result, phase, "peak_bytes")
        gigabytes = MISSING if peak_bytes is None else f"{peak_bytes / BYTES_PER_GIGABYTE:,.2f} GB"
        costs = [_decimal(_cost(result, phase, measure), 1) for measure in measures]
        table.add_row(phase, _decimal(_cost(result, phase, "seconds"), 1), gigabytes, *costs)
    return table


def _cost(result: RunResult, phase: str, measure: str) -> float | None:
    return _number(getattr(result.phases.get(phase), measure, None))


def _number(value: Any) -> float | None:
    # A record that was edited may hold anything.
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _score(result: RunResult, name: str, test_samples: float | None) -> str:
    """Format a score with its 95 % interval, if that is known."""
    score = _number(result.metrics.get(name))
    interval_ends = [_number(end) for end in result.intervals.get(name) or ()]
    low, high = interval_ends if len(interval_ends) == 2 else (None, None)
    recorded = None if low is None or high is None else (low, high)
    # The report shows the same interval; `tests/unit/test_same_interval.py` compares every output.
    ends = recorded_interval(name, score, recorded, test_samples)
    interval = "" if ends is None else f" ({percent(ends[0], unit='')} to {percent(ends[1], unit='')})"
    return f"{percent(score)}{interval}"


def _count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def _decimal(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _parameters(result: RunResult) -> str:
    trainable, total = _number(result.parameters.get("trainable")), _number(result.parameters.get("total"))
    if trainable is None or not total:
        return _count(trainable)
    # Four significant digits: prompt tuning trains a few millionths of a large model.
    return f"{trainable:,.0f} of {total:,.0f} ({100 * trainable / total:.4g} %)"
