"""The progress display of a running cell, and the closing table."""

import atexit
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from peft_study.console.formats import MISSING, percent
from peft_study.console.messages import plain_console, printable
from peft_study.console.progress_bar import progress_bar
from peft_study.metrics.intervals import recorded_interval
from peft_study.metrics.registry import ALWAYS_SHOWN, HEADLINES
from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Row

PHASES = ("load", "train", "generate", "score")
BYTES_PER_GIGABYTE = 1e9

_SHOWN_METRICS = {"loss": "loss", "validation_loss": "val"}
_FURTHER_COSTS = {"tokens/s": "tokens_per_second", "card Wh": "energy_wh"}
_MEMORY_LABELS = {"cpu_peak_rss": "peak RSS", "cuda_allocated": "GPU allocated"}


class ConsoleTracker:
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
        self._say(f"{cell.cell_id}{resumes}: results go to {cell.folder}")
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

    def restore(self, steps: Sequence[Row], usages: Sequence[Row]) -> None:
        """Nothing: `progress` shows where the cell resumes."""

    def step(self, step: int, values: Row, usage: Row) -> None:
        if self._progress is None or self._task is None:
            return
        self._latest.update({name: value for name, value in values.items() if name in _SHOWN_METRICS})
        latest = " ".join(
            f"{label} {self._latest[name]:.4f}" for name, label in _SHOWN_METRICS.items() if name in self._latest
        )
        self._progress.update(self._task, latest=latest)

    def usage(self, usage: Row) -> None:
        """Nothing: `print_closing_table` shows what the cell cost."""

    def finish(self, result: RunResult) -> None:
        self._close()
        self._say(f"{self._cell_id}: {result.status} after {time.monotonic() - self._started_seconds:.0f} s")

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

    def _say(self, line: str) -> None:
        self._console.print(Text(printable(line, self._console)), soft_wrap=True)


def print_closing_table(
    summary: Mapping[str, float | int | str | None], folder: Path, console: Console | None = None
) -> None:
    """Print the scores of a cell, its costs and its folder.

    Args:
        summary: the cell's final numbers, flat: scores (shares from 0 to 1) and the "_low" and "_high" ends of their
            intervals, "test_samples", "trainable_parameters", "total_parameters", "best_validation_loss", "status",
            "memory_kind" ("cpu_peak_rss" or "cuda_allocated"), and "<phase>_seconds", "<phase>_peak_bytes",
            "<phase>_tokens_per_second" and "<phase>_energy_wh" of each phase. A value that is missing, None or not
            finite is shown as "-".
        folder: the cell's result folder.
        console: where to print; the standard output if None.
    """
    console = console or plain_console()
    console.print(Group(_metrics_table(summary, console), Text(), _cost_table(summary)))
    # The line is not wrapped, because a path that is broken over lines cannot be copied.
    console.print(Text(printable(f"results in {folder}", console)), soft_wrap=True)


def _metrics_table(summary: Mapping[str, float | int | str | None], console: Console) -> RenderableType:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    rows = {
        "status": printable(str(summary.get("status") or MISSING), console),
        **{
            title: _score(summary, name)
            for name, title in HEADLINES.items()
            if name in ALWAYS_SHOWN or _number(summary, name) is not None
        },
        **({"programs not run": _count(errors)} if (errors := _number(summary, "sandbox_errors")) else {}),
        "test samples": _count(_number(summary, "test_samples")),
        "trainable parameters": _parameters(summary),
        "best validation loss": _decimal(_number(summary, "best_validation_loss"), 4),
    }
    for name, value in rows.items():
        table.add_row(Text(name), Text(value))
    return table


def _cost_table(summary: Mapping[str, float | int | str | None]) -> RenderableType:
    table = Table(header_style="")
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    table.add_column(_MEMORY_LABELS.get(str(summary.get("memory_kind")), "peak memory"), justify="right")
    # A column that no phase has is left out.
    further = {
        title: name
        for title, name in _FURTHER_COSTS.items()
        if any(_number(summary, f"{phase}_{name}") is not None for phase in PHASES)
    }
    for title in further:
        table.add_column(title, justify="right")
    for phase in PHASES:
        seconds, peak_bytes = _number(summary, f"{phase}_seconds"), _number(summary, f"{phase}_peak_bytes")
        gigabytes = MISSING if peak_bytes is None else f"{peak_bytes / BYTES_PER_GIGABYTE:,.2f} GB"
        costs = [_decimal(_number(summary, f"{phase}_{name}"), 1) for name in further.values()]
        table.add_row(phase, _decimal(seconds, 1), gigabytes, *costs)
    return table


def _number(summary: Mapping[str, float | int | str | None], name: str) -> float | int | None:
    value = summary.get(name)
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return value


def _score(summary: Mapping[str, float | int | str | None], name: str) -> str:
    """Format a score with its 95 % interval, if that is known."""
    low, high = _number(summary, f"{name}_low"), _number(summary, f"{name}_high")
    recorded = None if low is None or high is None else (low, high)
    # The report shows the same interval; `tests/unit/test_same_interval.py` compares every output.
    ends = recorded_interval(name, _number(summary, name), recorded, _number(summary, "test_samples"))
    interval = "" if ends is None else f" ({percent(ends[0], unit='')} to {percent(ends[1], unit='')})"
    return f"{percent(_number(summary, name))}{interval}"


def _count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def _decimal(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _parameters(summary: Mapping[str, float | int | str | None]) -> str:
    trainable, total = _number(summary, "trainable_parameters"), _number(summary, "total_parameters")
    if trainable is None or not total:
        return _count(trainable)
    # Four significant digits: prompt tuning trains a few millionths of a large model.
    return f"{trainable:,.0f} of {total:,.0f} ({100 * trainable / total:.4g} %)"
