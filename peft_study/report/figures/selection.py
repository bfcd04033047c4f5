"""Select the rows of a figure, and summarise finished cells over their seeds."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

import numpy as np
import pandas as pd

from peft_study.metrics.registry import CODEBLEU, QUALITY
from peft_study.report import groups as grouping
from peft_study.report.caveats import caveats
from peft_study.report.figures.variants import VARIANTS, in_order, variant
from peft_study.report.names import DATASETS, MODELS, PAPER
from peft_study.report.read.reference import as_named_here, is_paper
from peft_study.report.study import Study
from peft_study.results.schema import MemoryKind, Status

PERCENT = 100.0
GIGABYTES = 1e-9
_COSTS = ("_bytes", "_seconds", "_wh")
_ON_CPU = "Memory is the peak of a process on a CPU, including its libraries. The limit of a card does not apply."
_OTHERWISE = "Memory to compare with was measured on a GPU and is not shown."


@dataclass(frozen=True)
class Point:
    """A value over the seeds of a configuration.

    Attributes:
        value: mean of a score or median of a cost, in the figure's unit.
        low: lower end of a score's 95 % interval, or the lowest cost; None if unknown.
        high: upper end, like `low`.
        cells: ids of the cells; empty for the paper's values.
    """

    value: float
    low: float | None
    high: float | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """The rows of a figure.

    Attributes:
        rows: this study's finished cells, as the tables select them, with a column "variant". Only the data set and
            the number of examples may be missing.
        compared: rows to compare with, of the same models.
        notes: what is left out, and why.
    """

    rows: pd.DataFrame
    compared: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def compared_label(self) -> str:
        """The name of the rows to compare with: "paper", or "compared" for another study."""
        return PAPER if is_paper(self.compared) else "compared"

    @property
    def sides(self) -> tuple[tuple[pd.DataFrame, bool, str], tuple[pd.DataFrame, bool, str]]:
        """This study's rows, then those to compare with: rows, whether they are the latter, suffix of their labels."""
        return (self.rows, False, ""), (self.compared, True, f" ({self.compared_label})")

    @property
    def both(self) -> pd.DataFrame:
        """All rows, this study's first."""
        return pd.concat([self.rows, self.compared]) if len(self.compared) else self.rows

    def only(self, keep: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> Self:
        """Keep the rows for which `keep` is true."""
        return replace(self, rows=self.rows[keep(self.rows)], compared=self.compared[keep(self.compared)])

    def of_model(self, model: str) -> Self:
        """Keep the rows of a model."""
        return self.only(lambda rows: rows["model"] == model)

    def of_dataset(self, dataset: str | None) -> Self:
        """Keep this study's rows of a data set, and the rows to compare with them.

        Args:
            dataset: its name, or None for rows without a data set. The paper's memory figures do not name a data set,
                so its rows without one belong to each.
        """
        rows, name = self.rows, self.compared["dataset"]
        rows = rows[rows["dataset"].isna() if dataset is None else rows["dataset"] == dataset]
        return replace(self, rows=rows, compared=self.compared[name.isna() | (name == dataset)])

    def datasets(self) -> list[str | None]:
        """List the data sets of this study's rows in the figures' order; None stands for rows without one."""
        names = list(in_order((str(name) for name in self.rows["dataset"].dropna()), DATASETS))
        return [*names, None] if self.rows["dataset"].isna().any() else [*names]

    def models(self) -> list[str]:
        """List the models of all rows in the figures' order."""
        return in_order((str(name) for name in self.both["model"]), MODELS)

    def variants(self) -> list[str]:
        """List the variants of all rows in the figures' order."""
        return in_order((str(name) for name in self.both["variant"]), VARIANTS)

    def with_comparable_memory(self, column: str) -> tuple[Self, str]:
        """Keep rows whose memory is comparable: on GPUs if there are any, otherwise of processes on the CPU.

        Args:
            column: a peak in bytes; rows without it are dropped.

        Returns:
            The rows, and the title of the axis.
        """
        measured = self.only(lambda rows: rows[column].notna() & rows["memory_kind"].notna())
        notes = []
        if unknown := int((self.rows[column].notna() & self.rows["memory_kind"].isna()).sum()):
            notes.append(f"Left out: {unknown} cells whose kind of memory is unknown.")
        # A process holds Python's libraries, which a peak on the GPU does not have.
        on_cpu = measured.rows["memory_kind"] == str(MemoryKind.cpu_peak_rss)
        if len(measured.rows) and on_cpu.all():
            same_kind = measured.only(lambda rows: rows["memory_kind"] == str(MemoryKind.cpu_peak_rss))
            notes += [_ON_CPU] if len(same_kind.compared) == len(measured.compared) else [_ON_CPU, _OTHERWISE]
            return replace(same_kind, notes=(*self.notes, *notes)), "peak memory of the process, GB"
        same_kind = measured.only(lambda rows: rows["memory_kind"] != str(MemoryKind.cpu_peak_rss))
        if on_cpu.any():
            notes.append(f"Left out: {on_cpu.sum()} cells that ran on a CPU.")
        return replace(same_kind, notes=(*self.notes, *notes)), "peak GPU memory, GB"


def select(study: Study, other: Study | None, *wanted: str) -> Selection:
    """Select the rows that a figure can show.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, such as the paper's; None for no comparison.
        wanted: variants such as "lora+nf4", or methods with any quantization such as "lora*"; all if empty.
    """
    rows = _of_variants(study.frame, wanted)
    shown, notes = _one_setting(study, rows)
    compared = shown.iloc[:0]
    if other is not None and len(other.frame):
        compared, _ = _one_setting(other, _of_variants(other.frame, wanted))
        # A model that this study did not run would be an entry in the legend with nothing to compare.
        compared = as_named_here(compared, shown["model"])
        compared = compared[compared["model"].isin(set(shown["model"]))]
    return Selection(shown, compared, (*notes, *_unfinished(rows)))


def point(rows: pd.DataFrame, column: str, factor: float) -> Point | None:
    """Summarise a column over seeds: a score by its mean and interval, a cost by its median and range.

    Args:
        rows: the replicates of a configuration.
        column: the column; a cost if its name ends in _bytes or _seconds.
        factor: conversion from the column's unit to the figure's.

    Returns:
        The value, or None if no row has one.
    """
    if column not in rows:
        return None
    values = rows[column].to_numpy(dtype=float)
    present = ~np.isnan(values)
    if not present.any():
        return None
    # The page opens a point's cells by these ids, and the paper has no cells.
    ids = zip(rows["source"].tolist(), rows["cell_id"].tolist(), present, strict=True)
    cells = tuple(str(cell) for source, cell, counts in ids if counts and source != PAPER)
    # Other load on the machine slows single runs down, which a median ignores.
    if column.endswith(_COSTS):
        costs = values[present].tolist()
        low, high = (min(costs), max(costs)) if len(costs) > 1 else (None, None)
        return Point(_scaled(median(costs), factor), _maybe(low, factor), _maybe(high, factor), cells)
    score = grouping.score_of(rows, column)
    assert score is not None
    return Point(_scaled(score.mean, factor), _maybe(score.low, factor), _maybe(score.high, factor), cells)


def groups(rows: pd.DataFrame, *by: str) -> Iterator[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    """Group rows by the values of these columns; missing values form a group."""
    for key, group in rows.groupby(list(by), dropna=False, sort=False):
        yield key if isinstance(key, tuple) else (key,), group


def quality(rows: pd.DataFrame) -> tuple[str, str]:
    """Choose the score that compares a data set's cells, EM@10 as in the paper or one of tests, and its axis title."""
    return _first_known(rows, QUALITY)


def codebleu(rows: pd.DataFrame) -> tuple[str, str]:
    """Choose the CodeBLEU that is comparable to the paper's, or the strict one, and its axis title."""
    return _first_known(rows, CODEBLEU)


def _of_variants(frame: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    # A cell that failed before its config was read has neither.
    rows = frame[frame["model"].notna() & frame["method"].notna()].copy()
    names = zip(rows["method"], rows["quantization"].fillna("none"), strict=True)
    rows["variant"] = pd.Series([variant(str(method), str(bits)) for method, bits in names], rows.index, dtype=object)
    methods = [name.removesuffix("*") for name in wanted if name.endswith("*")]
    return rows[rows["variant"].isin(wanted) | rows["method"].isin(methods)] if wanted else rows


def _one_setting(study: Study, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Select the cells that the tables show if a configuration has several settings."""
    # By the groups of the tables: a mean over cells of two learning rates would be of no configuration.
    labels = set(rows.index)
    shown = [group for group in study.groups if group.frame.index[0] in labels]
    kept = rows.loc[[label for group in shown for label in group.done.index]]
    return kept, list(caveats(group for group in shown if len(group.done)))


def _unfinished(frame: pd.DataFrame) -> list[str]:
    # A missing point must be explained, for out of memory is a result too.
    counts = frame.loc[frame["status"] != str(Status.ok), "status"].value_counts()
    if counts.empty:
        return []
    return ["Not finished and not shown: " + ", ".join(f"{number} {status}" for status, number in counts.items()) + "."]


def _first_known(rows: pd.DataFrame, labels: Mapping[str, str]) -> tuple[str, str]:
    present = [name for name in labels if name in rows and rows[name].notna().any()]
    name = present[0] if present else next(iter(labels))
    return name, labels[name]


def _maybe(value: float | None, factor: float) -> float | None:
    return None if value is None else _scaled(value, factor)


def _scaled(value: float, factor: float) -> float:
    # Rounding makes 100 x 0.3931 exactly 39.31 in a stored drawing.
    return round(value * factor, 6)
