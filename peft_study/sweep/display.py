"""The live table of a sweep's cells. On a stream that is not a terminal: one line when a cell starts or ends."""

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peft_study.console.formats import duration
from peft_study.console.messages import plain_console, printable
from peft_study.console.progress_bar import REFRESHES_PER_SECOND
from peft_study.results.schema import Status
from peft_study.tracking.events import Progress

WAITING, RUNNING = "waiting", "running"
_STYLES = {RUNNING: "cyan", "ok": "green", WAITING: "dim"}
# Header, summary, and room for messages above the table. rich cuts a live table that is higher than the terminal.
_LINES_AROUND_THE_TABLE = 6


@dataclass
class _CellState:
    """The state of one cell."""

    name: str
    state: str = WAITING
    progress: Progress = field(default_factory=Progress)
    began_seconds: float | None = None
    ended_seconds: float | None = None

    def elapsed(self, now: float) -> float | None:
        """Return the seconds that the cell has run; None before it starts."""
        return None if self.began_seconds is None else (self.ended_seconds or now) - self.began_seconds


class SweepDisplay:
    """Shows the states of a sweep's cells. Use it as a context manager: the table is live inside of it.

    Args:
        cells: the names of all cells, in their order.
        at_once: how many run side by side.
        console: where to show them; the standard error stream if None.
    """

    def __init__(self, cells: Sequence[str], at_once: int, console: Console | None = None) -> None:
        self._console = console or plain_console(stderr=True)
        self._cells = {name: _CellState(name) for name in cells}
        self._at_once = at_once
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        else:
            self._print(f"{len(self._cells)} cells, {self._at_once} at a time")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def started(self, name: str) -> None:
        """Note that a cell's process started."""
        cell = self._cells[name]
        cell.state, cell.began_seconds = RUNNING, time.monotonic()
        if self._live is None:
            self._print(f"{name}: started")

    def progress(self, name: str, progress: Progress) -> None:
        """Note the progress that a cell reported."""
        self._cells[name].progress = progress

    def ended(self, name: str, status: str, reason: str | None) -> None:
        """Note that a cell's process ended, or that the cell was done before."""
        cell = self._cells[name]
        cell.state, cell.ended_seconds = status, time.monotonic()
        elapsed = cell.elapsed(time.monotonic())
        before = "done before" if status == Status.ok else f"{status} before"
        end = before if elapsed is None else f"{status} after {elapsed:.0f} s"
        first_line = f": {reason.splitlines()[0]}" if reason else ""
        if self._live is None or reason:
            self._print(f"[{self._number_ended()}/{len(self._cells)}] {name}: {end}{first_line}{self._time_left()}")

    def stopped(self, name: str, waiting: int) -> None:
        """Note that a failed cell ends the sweep (`stop_on_failure`), so that the waiting cells do not start."""
        self._print(f"{name} failed and stop_on_failure=true: {waiting} waiting cells are not started")

    def put_off(self, name: str) -> None:
        """Note that another process runs a cell, which is looked at again at the end."""
        cell = self._cells[name]
        cell.state, cell.began_seconds = WAITING, None
        self._print(f"{name}: another process runs it; looked at again at the end")

    def retried(self, name: str, reason: str | None) -> None:
        """Note that a cell ran out of memory and will start again with less."""
        self._cells[name].state = WAITING
        self._print(f"{name}: {(reason or 'out of memory').splitlines()[0]}; it starts again with less")

    def interrupted(self, running: int) -> None:
        """Note that the sweep ends early while its running cells write their results."""
        self._print(f"ending {running} running cells; the same command resumes the sweep (interrupt again to end now)")

    def _number_ended(self) -> int:
        return sum(cell.state not in {WAITING, RUNNING} for cell in self._cells.values())

    def _time_left(self) -> str:
        """Estimate from the median time of the cells that ran; empty before the first ended and after the last."""
        now = time.monotonic()
        # A cell that was done before has an end, but no time.
        ended = [cell.elapsed(now) for cell in self._cells.values() if cell.ended_seconds is not None]
        durations = [seconds for seconds in ended if seconds is not None]
        unfinished = [cell for cell in self._cells.values() if cell.state in {WAITING, RUNNING}]
        if not durations or not unfinished:
            return ""
        # A mean would follow the largest models: the paper's study has 220 million to 34 billion parameters.
        median = statistics.median(durations)
        seconds = sum(max(0.0, median - (cell.elapsed(now) or 0.0)) for cell in unfinished) / self._at_once
        return f" ({duration(seconds)} left)"

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("cell", overflow="ellipsis", no_wrap=True, ratio=1)
        for title in ("state", "phase", "done", "loss", "val", "memory", "time", "left"):
            table.add_column(title, justify="left" if title in {"state", "phase"} else "right", no_wrap=True)
        for cell in self._visible():
            table.add_row(*self._row(cell))
        counts = Counter(cell.state for cell in self._cells.values())
        summary = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        return Group(table, Text(f"{len(self._cells)} cells: {summary}{self._time_left()}"))

    def _visible(self) -> list[_CellState]:
        """Choose as many cells as the terminal has lines: running ones first, then failed, latest done, next."""
        room = max(self._at_once, self._console.height - _LINES_AROUND_THE_TABLE)
        cells = list(self._cells.values())
        order = {RUNNING: 0, "ok": 2, WAITING: 3}
        chosen = sorted(cells, key=lambda cell: (order.get(cell.state, 1), -(cell.ended_seconds or 0.0)))[:room]
        # Shown in the order of the study, so that a row keeps its place while states change.
        names = {cell.name for cell in chosen}
        return [cell for cell in cells if cell.name in names]

    def _row(self, cell: _CellState) -> list[Text]:
        progress, elapsed = cell.progress, cell.elapsed(time.monotonic())
        running = cell.state == RUNNING
        done = f"{progress.done}/{progress.total}" if running and progress.total else ""
        memory = "" if progress.peak_bytes is None else f"{progress.peak_bytes / 1e9:.2f} GB"
        left = _phase_left(progress) if running else None
        # "start" until the first phase: the import of the libraries takes seconds.
        values = [
            (progress.phase or "start") if running else "",
            done,
            _decimal(progress.loss),
            _decimal(progress.validation_loss),
            memory,
            "" if elapsed is None else duration(elapsed),
            "" if left is None else duration(left),
        ]
        style = _STYLES.get(cell.state, "bold red")
        name, state = Text(printable(cell.name, self._console)), Text(cell.state, style=style)
        return [name, state, *map(Text, values)]

    def _print(self, line: str) -> None:
        console = self._live.console if self._live else self._console
        console.print(Text(printable(line, self._console)), soft_wrap=True)


def _phase_left(progress: Progress) -> float | None:
    if not progress.total or not progress.done:
        return None
    return progress.phase_seconds * (progress.total - progress.done) / progress.done


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
