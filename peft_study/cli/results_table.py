"""The table that closes a sweep: one row for each configuration, over its seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from peft_study.config.conventions import label
from peft_study.config.examples import example_label
from peft_study.config.identity import settings_key
from peft_study.console.formats import MISSING, percent
from peft_study.console.messages import plain_console, printable
from peft_study.metrics.intervals import Spread, recorded_interval, seeds_interval
from peft_study.metrics.registry import HEADLINES
from peft_study.results.schema import PhaseCost, RunResult, Status

EXACT = ("em@1", "em@10", "codebleu")  # the scores of the paper
WIDE = 92
"""Width in columns of a terminal that has room for a third score."""
_NAMES = ("model", "method", "data set")
"""Columns of text. The first one is shortened first."""
_LEFT_OUT_FIRST = ("trained", "gen. s", "train s", "GB", "cells")
_WORK = ("train", "generate")
_UNITS = {"G": 1e9, "M": 1e6, "k": 1e3}


@dataclass(frozen=True)
class Row:
    """The results of one configuration.

    Attributes:
        dataset: config name of the data set.
        model: config name of the model.
        method: config name of the method, with the quantization if any, and conventions that differ from the paper's.
        results: one for each replicate.
    """

    dataset: str
    model: str
    method: str
    results: tuple[RunResult, ...]

    def score(self, metric: str) -> Spread | None:
        """Return a metric of the cells that are done, with its 95 % interval; None if no cell has it."""
        succeeded = (result for result in self.results if result.status is Status.ok)
        done = [result for result in succeeded if result.metrics.get(metric) is not None]
        scores = [float(result.metrics[metric] or 0.0) for result in done]
        return seeds_interval(scores, [_interval(result, metric) for result in done]) if done else None

    def seconds(self, phase: str) -> list[float]:
        """Return the wall-clock seconds of a phase, for each cell that ran it."""
        return [result.phases[phase].seconds for result in self.results if phase in result.phases]

    def peak_bytes(self) -> int | None:
        """Return the largest memory peak of training and generation; None if it is unknown."""
        peaks = [cost.peak_bytes for result in self.results for cost in _work(result) if cost.peak_bytes is not None]
        return max(peaks, default=None)


def rows(results: Sequence[RunResult]) -> list[Row]:
    """Group results by configuration, in the order of their first appearance."""
    grouped: dict[str | None, list[RunResult]] = {}
    for result in results:
        grouped.setdefault(settings_key(result.config), []).append(result)
    return [
        Row(_name(group[0], "dataset"), _name(group[0], "model"), _method(group[0]), tuple(group))
        for group in grouped.values()
    ]


def print_results(results: Sequence[RunResult], console: Console | None = None) -> None:
    """Print a table of results.

    Scores are means over seeds with the ends of their 95 % intervals, as in a report. Seconds are medians. The peak is
    the largest of training and generation.

    Args:
        results: one for each cell.
        console: where to print; the standard output if None.
    """
    console = console or plain_console()
    table_rows = rows(results)
    columns = _columns(table_rows, wide=console.width >= WIDE)
    columns = {title: [printable(value, console) for value in values] for title, values in columns.items()}
    widths = {title: max(map(cell_len, [title, *values])) for title, values in columns.items()}
    # A cut number would be a wrong number, so a narrow terminal gets fewer columns, then shorter names, then one score.
    shown = _fitting(widths, _LEFT_OUT_FIRST, console.width)
    for title in [title for title in _NAMES if title in shown]:
        shown[title] = max(len(title), shown[title] - max(0, _excess(shown, console.width)))
    shown = _fitting(shown, [title for title in shown if title.endswith("%")][:0:-1], console.width)
    left_out = [title for title in columns if title not in shown]
    # This padding lets two scores with their intervals fit into 80 columns.
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for title, width in shown.items():
        table.add_column(title, justify="left" if title in _NAMES else "right", no_wrap=True, width=width)
    for row in zip(*(columns[title] for title in shown), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)
    if left_out:
        console.print(Text(f"({', '.join(left_out)}: no room in {console.width} columns)"), soft_wrap=True)


def _fitting(widths: Mapping[str, int], dispensable: Sequence[str], room: int) -> dict[str, int]:
    """Leave columns out, the first dispensable one first, until the others fit. Those that fit after all return."""
    left_out: list[str] = []
    for title in dispensable:
        if _excess(_without(widths, left_out), room) > 0:
            left_out.append(title)
    for title in reversed(left_out):
        others = [other for other in left_out if other != title]
        if _excess(_without(widths, others), room) <= 0:
            left_out = others
    return _without(widths, left_out)


def _without(widths: Mapping[str, int], left_out: Sequence[str]) -> dict[str, int]:
    return {title: width for title, width in widths.items() if title not in left_out}


def _excess(widths: Mapping[str, int], room: int) -> int:
    """Return how many columns of a terminal are missing for a table of these widths, with a space between each."""
    return sum(widths.values()) + len(widths) - 1 - room


def _columns(table_rows: Sequence[Row], *, wide: bool) -> dict[str, list[str]]:
    """Return the values of each column by its title."""
    scores = _shown_scores(table_rows, wide=wide)
    several_datasets = len({row.dataset for row in table_rows}) > 1
    peaks = [row.peak_bytes() for row in table_rows]
    return {
        **({"data set": [row.dataset for row in table_rows]} if several_datasets else {}),
        "model": [row.model for row in table_rows],
        "method": [row.method for row in table_rows],
        "cells": [_cells(row) for row in table_rows],
        **{f"{HEADLINES[name]} %": [_score(row.score(name)) for row in table_rows] for name in scores},
        "trained": [_trained(row) for row in table_rows],
        "train s": [_seconds(row.seconds("train")) for row in table_rows],
        "gen. s": [_seconds(row.seconds("generate")) for row in table_rows],
        "GB": [MISSING if peak is None else f"{peak / 1e9:.2f}" for peak in peaks],
    }


def _shown_scores(table_rows: Sequence[Row], *, wide: bool) -> list[str]:
    """Choose two scores, or three on a wide terminal. If programs were tested, choose the scores of the tests."""
    # As the paper scores APPS.
    names = ("pass@1", "pass@5", "tests_passed_share") if any(row.score("pass@1") for row in table_rows) else EXACT
    return list(names) if wide and any(row.score(names[2]) for row in table_rows) else list(names[:2])


def _method(result: RunResult) -> str:
    method = result.config.get("method")
    number = method.get("num_examples") if isinstance(method, Mapping) else None
    examples = f" {number}" if number else ""
    names = (f"{_name(result, 'method')}{examples}", _name(result, "quantization"))
    # Cells under conventions of the package, or with examples of another kind, count as another method, as in a report.
    labels = (example_label(result.config), label(result.config.get("conventions") or {}))
    return "-".join(name for name in names if name not in {"none", ""}) + "".join(
        f" [{each}]" for each in labels if each
    )


def _name(result: RunResult, group: str) -> str:
    settings = result.config.get(group)
    return str(settings.get("name", "")) if isinstance(settings, Mapping) else ""


def _work(result: RunResult) -> list[PhaseCost]:
    return [cost for name, cost in result.phases.items() if name in _WORK]


def _cells(row: Row) -> str:
    """Format how many cells succeeded, and the statuses of the others."""
    done = sum(result.status is Status.ok for result in row.results)
    other = sorted({str(result.status) for result in row.results if result.status is not Status.ok})
    return str(done) if not other else f"{done} of {len(row.results)} ({', '.join(other)})"


def _interval(result: RunResult, metric: str) -> tuple[float, float] | None:
    ends = result.intervals.get(metric)
    samples = (result.data.get("sizes") or {}).get("test")
    return recorded_interval(metric, result.metrics.get(metric), None if ends is None else (ends[0], ends[1]), samples)


def _score(score: Spread | None) -> str:
    if score is None:
        return MISSING
    mean = percent(score.mean, 1, unit="")
    if score.low is None or score.high is None:
        return mean
    # Ends in whole points let two scores fit into 80 columns.
    return f"{mean} {percent(score.low, 0, unit='')}-{percent(score.high, 0, unit='')}"


def _trained(row: Row) -> str:
    counts = (result.parameters.get("trainable") for result in row.results)
    trainable = next((count for count in counts if count is not None), None)
    if trainable is None:
        return MISSING
    for unit, size in _UNITS.items():
        if trainable >= size:
            return f"{trainable / size:.3g}{unit}"
    return f"{trainable:.3g}"


def _seconds(seconds: Sequence[float]) -> str:
    # The median, as in a report: one cell on a busy machine would move a mean.
    return MISSING if not seconds else f"{statistics.median(seconds):.0f}"
