"""Progress while programs are judged, and the table at the end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from peft_study.console.formats import MISSING, duration
from peft_study.console.messages import plain_console, printable
from peft_study.console.progress_bar import progress_bar

SECONDS_BETWEEN_LINES = 30.0


@dataclass
class Scores:
    """Verdicts of one comparator on all candidates.

    Attributes:
        candidates: number of candidates judged.
        passed: number of candidates that passed all of their tests.
        share: sum over candidates of the share of tests passed.
        verdicts: number of tests by verdict.
    """

    candidates: int = 0
    passed: int = 0
    share: float = 0.0
    verdicts: dict[str, int] = field(default_factory=dict)


class JudgingDisplay:
    """A progress bar on a terminal, otherwise occasional lines. A context manager.

    Args:
        total: number of candidates.
        done: number of candidates that an earlier run has judged.
        console: the console to write to, None for standard error.
    """

    def __init__(self, total: int, done: int, console: Console | None = None) -> None:
        self._console = console or plain_console(stderr=True)
        self._total, self._done, self._passed = total, done, 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._start_seconds = self._printed_seconds = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress = progress_bar("candidates", self._console)
            self._task = self._progress.add_task("", total=self._total, completed=self._done, latest="")
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.stop()

    def judged(self, *, passed: bool) -> None:
        """Count one judged candidate."""
        self._done += 1
        self._passed += passed
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done, latest=f"{self._passed:,} passed")
        elif time.monotonic() - self._printed_seconds >= SECONDS_BETWEEN_LINES:
            self._printed_seconds = time.monotonic()
            elapsed = duration(self._printed_seconds - self._start_seconds)
            line = f"{self._done:,} of {self._total:,} candidates judged, {elapsed} so far"
            self._console.print(Text(line), soft_wrap=True)


def print_scores(scores: Mapping[str, Scores], file: str, console: Console | None = None) -> None:
    """Print the verdicts of each comparator.

    Args:
        scores: by comparator, the chosen one first.
        file: path of the verdicts.
        console: the console to write to, None for standard output.
    """
    console = console or plain_console()
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for comparator in scores:
        table.add_column(comparator, justify="right")
    # Both comparators judged the same runs, so their columns have the same candidates.
    columns = list(scores.values())
    table.add_row("candidates", *(f"{column.candidates:,}" for column in columns))
    table.add_row("passed every test", *map(_passed, columns))
    table.add_row(
        "tests passed, average", *(_percent(column.share, column.candidates) or MISSING for column in columns)
    )
    for verdict in dict.fromkeys(verdict for column in columns for verdict in column.verdicts):
        table.add_row(f"tests: {verdict}", *(f"{column.verdicts.get(verdict, 0):,}" for column in columns))
    console.print(table)
    console.print(Text(printable(f"verdicts in {file}", console)), soft_wrap=True)


def _passed(scores: Scores) -> str:
    percent = _percent(scores.passed, scores.candidates)
    return f"{scores.passed:,} ({percent})" if percent else f"{scores.passed:,}"


def _percent(part: float, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else ""
