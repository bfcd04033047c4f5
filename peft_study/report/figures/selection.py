"""From rows to the values of a figure: finished cells, one setting each, summed up over their seeds."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

import numpy as np
import pandas as pd

from peft_study.metrics.registry import CODEBLEU, QUALITY
from peft_study.report import groups as grouping
from peft_study.report.figures.variants import VARIANTS, in_order, variant
from peft_study.report.names import DATASETS, MODELS, PAPER
from peft_study.report.read.reference import as_named_here, is_paper
from peft_study.report.study import Study
from peft_study.results.schema import MemoryKind, Status

PERCENT = 100.0
GIGABYTES = 1e-9
_COSTS = ("_bytes", "_seconds")
_ON_CPU = "Memory is the peak of a process on a CPU, with its libraries; a card's limit does not apply."
_OTHERWISE = "Memory to compare with was measured on a GPU and is not shown."


@dataclass(frozen=True)
class Point:
    """A value over seeds.

    Attributes:
        value: a score's mean, a cost's median, in the figure's unit.
        low: lower end: of a score's 95 % interval, of a cost the lowest seed; None where it is not known.
        high: likewise.
        cells: whose values it is; empty for the paper's.
    """

    value: float
    low: float | None
    high: float | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """What a figure is made of.

    Attributes:
        own: finished cells, those that the tables show of a model, method, quantization, data set and number of
            examples; with a column "variant". Of these only data set and number of examples may be missing.
        other: rows to compare with, those of the models of `own`.
        notes: what was left out, and why.
    """

    own: pd.DataFrame
    other: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def other_label(self) -> str:
        """What the rows to compare with are called: the paper, or the other study."""
        return PAPER if is_paper(self.other) else "compared"

    @property
    def both(self) -> pd.DataFrame:
        """All rows, this study's first."""
        return pd.concat([self.own, self.other]) if len(self.other) else self.own

    def only(self, keep: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> Self:
        """The rows for which `keep` says so."""
        return replace(self, own=self.own[keep(self.own)], other=self.other[keep(self.other)])

    def of_model(self, model: str) -> Self:
        """The rows of one model."""
        return self.only(lambda rows: rows["model"] == model)

    def of_dataset(self, dataset: str | None) -> Self:
        """This study's rows of a data set (of None: those that name none), and what there is to compare with them.

        The paper names no data set for its memory figures: such a row goes with each.
        """
        own, other, name = self.own, self.other, self.other["dataset"]
        own = own[own["dataset"].isna() if dataset is None else own["dataset"] == dataset]
        return replace(self, own=own, other=other[name.isna() | (name == dataset)])

    def datasets(self) -> list[str | None]:
        """The data sets of this study's rows in the figures' order; None stands for rows that name none."""
        names = list(in_order((str(name) for name in self.own["dataset"].dropna()), DATASETS))
        return [*names, None] if self.own["dataset"].isna().any() else [*names]

    def models(self) -> list[str]:
        """The models of all rows in the figures' order."""
        return in_order((str(name) for name in self.both["model"]), MODELS)

    def variants(self) -> list[str]:
        """The variants of all rows in the figures' order."""
        return in_order((str(name) for name in self.both["variant"]), VARIANTS)

    def measured_alike(self, column: str) -> tuple[Self, str]:
        """Rows whose memory was measured alike: on GPUs where there are any, else of processes on the CPU.

        Args:
            column: a peak; rows without it are left out.

        Returns:
            The rows, and what the axis is called.
        """
        known = self.only(lambda rows: rows[column].notna() & rows["memory_kind"].notna())
        notes = []
        if unsaid := int((self.own[column].notna() & self.own["memory_kind"].isna()).sum()):
            notes.append(f"Left out: {unsaid} cells of which it is not known what memory was measured.")
        on_cpu = known.own["memory_kind"] == str(MemoryKind.cpu_peak_rss)
        if len(known.own) and on_cpu.all():
            alike = known.only(lambda rows: rows["memory_kind"] == str(MemoryKind.cpu_peak_rss))
            notes += [_ON_CPU] if len(alike.other) == len(known.other) else [_ON_CPU, _OTHERWISE]
            return replace(alike, notes=(*self.notes, *notes)), "peak memory of the process, GB"
        alike = known.only(lambda rows: rows["memory_kind"] != str(MemoryKind.cpu_peak_rss))
        if on_cpu.any():
            notes.append(f"Left out: {on_cpu.sum()} cells that ran on a CPU.")
        return replace(alike, notes=(*self.notes, *notes)), "peak GPU memory, GB"


def select(study: Study, other: Study | None, *wanted: str) -> Selection:
    """Choose the rows that a figure can show.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, such as the paper's; None for nothing.
        wanted: variants ("lora+nf4"), or methods with whatever quantization followed by a star ("lora*"); none is all.
    """
    rows = _of_variants(study.frame, wanted)
    own, notes = _one_setting(study, rows)
    compared = own.iloc[:0]
    if other is not None and len(other.frame):
        compared, _ = _one_setting(other, _of_variants(other.frame, wanted))
        compared = as_named_here(compared, own["model"])
        compared = compared[compared["model"].isin(set(own["model"]))]
    return Selection(own, compared, (*notes, *_unfinished(rows)))


def point(rows: pd.DataFrame, column: str, factor: float) -> Point | None:
    """Sum up a column over seeds: a score as its mean with its interval, a cost as its median with its range.

    Args:
        rows: of one setting.
        column: what to sum up; one in bytes or seconds, as its name ends, is a cost.
        factor: from the column's unit to the figure's.

    Returns:
        None where no row has a value.
    """
    if column not in rows:
        return None
    values = rows[column].to_numpy(dtype=float)
    known = ~np.isnan(values)
    if not known.any():
        return None
    ids = zip(rows["source"].tolist(), rows["cell_id"].tolist(), known, strict=True)
    cells = tuple(str(cell) for source, cell, counts in ids if counts and source != PAPER)
    if column.endswith(_COSTS):
        costs = values[known].tolist()
        low, high = (min(costs), max(costs)) if len(costs) > 1 else (None, None)
        return Point(_scaled(median(costs), factor), _maybe(low, factor), _maybe(high, factor), cells)
    score = grouping.score_of(rows, column)
    assert score is not None
    return Point(_scaled(score.mean, factor), _maybe(score.low, factor), _maybe(score.high, factor), cells)


def groups(rows: pd.DataFrame, *by: str) -> Iterator[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    """The rows of each distinct combination of values of these columns, a missing value being one too."""
    for key, group in rows.groupby(list(by), dropna=False, sort=False):
        yield key if isinstance(key, tuple) else (key,), group


def quality(rows: pd.DataFrame) -> tuple[str, str]:
    """The score by which a data set's cells are compared, and its axis label: EM@10 as in the paper, else of tests."""
    return _first_known(rows, QUALITY)


def codebleu(rows: pd.DataFrame) -> tuple[str, str]:
    """The CodeBLEU that compares with the paper's, and its axis label; `strict` where there is no other."""
    return _first_known(rows, CODEBLEU)


def _of_variants(frame: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    rows = frame[frame["model"].notna() & frame["method"].notna()].copy()
    names = zip(rows["method"], rows["quantization"].fillna("none"), strict=True)
    rows["variant"] = pd.Series([variant(str(method), str(bits)) for method, bits in names], rows.index, dtype=object)
    methods = [name.removesuffix("*") for name in wanted if name.endswith("*")]
    return rows[rows["variant"].isin(wanted) | rows["method"].isin(methods)] if wanted else rows


def _one_setting(study: Study, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Those of the rows that the tables show, where there are several settings of one configuration."""
    labels = set(rows.index)
    groups = [group for group in study.groups if group.frame.index[0] in labels]
    kept = rows.loc[[label for group in groups for label in group.done.index]]
    notes = list(grouping.caveats(group for group in groups if len(group.done)))
    return kept, notes


def _unfinished(frame: pd.DataFrame) -> list[str]:
    counts = frame.loc[frame["status"] != str(Status.ok), "status"].value_counts()
    if counts.empty:
        return []
    return ["Not finished and not shown: " + ", ".join(f"{number} {status}" for status, number in counts.items()) + "."]


def _first_known(rows: pd.DataFrame, labels: Mapping[str, str]) -> tuple[str, str]:
    known = [name for name in labels if name in rows and rows[name].notna().any()]
    name = known[0] if known else next(iter(labels))
    return name, labels[name]


def _maybe(value: float | None, factor: float) -> float | None:
    return None if value is None else _scaled(value, factor)


def _scaled(value: float, factor: float) -> float:
    # So that 100 x 0.3931 is 39.31 in a stored drawing.
    return round(value * factor, 6)
