"""Select the rows of a figure, and summarise finished cells over their seeds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Self

import numpy as np
import pandas as pd

from peft_study.metrics.registry import CODEBLEU, QUALITY
from peft_study.report.caveats import caveats
from peft_study.report.groups import score_of
from peft_study.report.names import DATASETS, METHODS, MODELS, PAPER, QUANTIZATIONS, dataset_name, method_name, place
from peft_study.report.read.reference import as_named_here, is_paper
from peft_study.report.study import Study
from peft_study.results.schema import MemoryKind, Status

PERCENT = 100.0
_COST_FACTORS = {"_bytes": 1e-9, "_seconds": 1 / 60, "_wh": 1.0}
"""What converts a cost to GB, minutes or Wh, by the end of its column's name."""
_ON_CPU = "Memory is the peak of a process on a CPU, including its libraries. The limit of a card does not apply."
_OTHERWISE = "Memory to compare with was measured on a GPU and is not shown."


@dataclass(frozen=True)
class Summary:
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

    def only(self, keep: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> Self:
        """Keep the rows for which `keep` is true."""
        return replace(self, rows=self.rows[keep(self.rows)], compared=self.compared[keep(self.compared)])

    def of_model(self, model: str) -> Self:
        """Keep the rows of a model."""
        return self.only(lambda rows: rows["model"] == model)

    def of_variant(self, key: str) -> Self:
        """Keep the rows of a variant."""
        return self.only(lambda rows: rows["variant"] == key)

    def of_dataset(self, dataset: str | None) -> Self:
        """Keep this study's rows of a data set, and the rows to compare with them.

        Args:
            dataset: its name, or None for rows without a data set. The paper's memory figures do not name a data set,
                so its rows without one belong to each.
        """
        rows, name = self.rows, self.compared["dataset"]
        rows = rows[rows["dataset"].isna() if dataset is None else rows["dataset"] == dataset]
        return replace(self, rows=rows, compared=self.compared[name.isna() | (name == dataset)])

    def by_dataset(self) -> Iterator[tuple[str, Self]]:
        """Yield each data set's name in print, empty for rows without one, with its rows."""
        for dataset in self.datasets():
            yield dataset_name(dataset or ""), self.of_dataset(dataset)

    def datasets(self) -> list[str | None]:
        """List the data sets of this study's rows in the figures' order; None stands for rows without one."""
        names = _in_order(self.rows["dataset"].dropna(), tuple(DATASETS))
        return [*names, None] if self.rows["dataset"].isna().any() else [*names]

    def models(self) -> list[str]:
        """List the models of all rows in the figures' order."""
        return _in_order([*self.rows["model"], *self.compared["model"]], tuple(MODELS))

    def variants(self) -> list[str]:
        """List the variants of all rows in the figures' order."""
        return _in_order([*self.rows["variant"], *self.compared["variant"]], _VARIANTS)

    def with_comparable_memory(self, column: str) -> tuple[Self, str]:
        """Keep rows whose memory is comparable: on GPUs if there are any, otherwise of processes on the CPU.

        Args:
            column: a peak in bytes; rows without it are dropped.

        Returns:
            The rows, and the title of the axis.
        """
        measured = self.only(lambda rows: rows[column].notna() & rows["memory_kind"].notna())
        notes = [*self.notes]
        if unknown := int((self.rows[column].notna() & self.rows["memory_kind"].isna()).sum()):
            notes.append(f"Left out: {unknown} cells whose kind of memory is unknown.")
        # A process holds Python's libraries, which a peak on the GPU does not have.
        on_cpu = measured.rows["memory_kind"] == str(MemoryKind.cpu_peak_rss)
        if len(on_cpu) and on_cpu.all():
            of_process = measured.only(lambda rows: rows["memory_kind"] == str(MemoryKind.cpu_peak_rss))
            notes.append(_ON_CPU)
            if len(of_process.compared) < len(measured.compared):
                notes.append(_OTHERWISE)
            return replace(of_process, notes=tuple(notes)), "peak memory of the process, GB"
        of_gpu = measured.only(lambda rows: rows["memory_kind"] != str(MemoryKind.cpu_peak_rss))
        if on_cpu.any():
            notes.append(f"Left out: {on_cpu.sum()} cells that ran on a CPU.")
        return replace(of_gpu, notes=tuple(notes)), "peak GPU memory, GB"


def select(study: Study, other: Study | None, *variants: str) -> Selection:
    """Select the rows that a figure can show.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, such as the paper's; None for no comparison.
        variants: such as "lora+nf4", or methods with any quantization such as "lora*"; all if empty.
    """
    rows = _of_variants(study.frame, variants)
    shown, notes = _as_in_tables(study, rows)
    compared = shown.iloc[:0]
    if other is not None and len(other.frame):
        compared, _ = _as_in_tables(other, _of_variants(other.frame, variants))
        # A model that this study did not run would be an entry in the legend with nothing to compare.
        compared = as_named_here(compared, shown["model"])
        compared = compared[compared["model"].isin(set(shown["model"]))]
    return Selection(shown, compared, (*notes, *_unfinished(rows)))


def summarise(rows: pd.DataFrame, column: str) -> Summary | None:
    """Summarise a column over seeds: a score by its mean and interval, a cost by its median and range.

    Args:
        rows: the replicates of a configuration.
        column: a cost if its name ends in _bytes, _seconds or _wh, otherwise a score.

    Returns:
        The summary in percent, GB, minutes or Wh, or None if no row has a value.
    """
    if column not in rows:
        return None
    values = rows[column].to_numpy(dtype=float)
    present = ~np.isnan(values)
    if not present.any():
        return None
    low: float | None
    high: float | None
    factor = next((factor for end, factor in _COST_FACTORS.items() if column.endswith(end)), None)
    if factor is None:
        score = score_of(rows, column)
        assert score is not None
        middle, low, high, factor = score.mean, score.low, score.high, PERCENT
    else:
        # Other load on the machine slows single runs down, which a median ignores.
        costs = values[present].tolist()
        middle = median(costs)
        low, high = (min(costs), max(costs)) if len(costs) > 1 else (None, None)
    # The page opens a point's cells by these ids, and the paper has no cells.
    ids = zip(rows["source"].tolist(), rows["cell_id"].tolist(), present, strict=True)
    return Summary(
        # Rounding makes 100 x 0.3931 exactly 39.31 in a stored drawing.
        value=round(middle * factor, 6),
        low=None if low is None else round(low * factor, 6),
        high=None if high is None else round(high * factor, 6),
        cells=tuple(str(cell) for source, cell, has_value in ids if has_value and source != PAPER),
    )


def quality(rows: pd.DataFrame) -> tuple[str, str]:
    """Choose the score that compares a data set's cells, EM@10 as in the paper or one of tests, and its axis title."""
    return _first_present(rows, QUALITY)


def codebleu(rows: pd.DataFrame) -> tuple[str, str]:
    """Choose the CodeBLEU that is comparable to the paper's, or the strict one, and its axis title."""
    return _first_present(rows, CODEBLEU)


def variant_label(key: str) -> str:
    """Name a variant, such as "lora" or "lora+nf4", in a legend."""
    method, _, quantization = key.partition("+")
    return method_name(method, quantization or "none")


def _variant(method: str, quantization: str) -> str:
    """Make the key of a method on a quantised base, by which figures choose colour and marker."""
    # A quantised base needs another mark: figure 5 compares 16, 8 and 4 bits of the same method.
    return method if quantization == "none" else f"{method}+{quantization}"


_VARIANTS = tuple(_variant(method, quantization) for method in METHODS for quantization in QUANTIZATIONS)


def _in_order(names: Iterable[object], order: Sequence[str]) -> list[str]:
    return sorted({str(name) for name in names}, key=lambda name: place(name, order))


def _of_variants(frame: pd.DataFrame, variants: Sequence[str]) -> pd.DataFrame:
    # A cell that failed before its config was read has neither.
    rows = frame[frame["model"].notna() & frame["method"].notna()].copy()
    pairs = zip(rows["method"], rows["quantization"].fillna("none"), strict=True)
    keys = [_variant(str(method), str(quantization)) for method, quantization in pairs]
    rows["variant"] = pd.Series(keys, rows.index, dtype=object)
    if not variants:
        return rows
    methods = [name.removesuffix("*") for name in variants if name.endswith("*")]
    return rows[rows["variant"].isin(variants) | rows["method"].isin(methods)]


def _as_in_tables(study: Study, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Select the cells that the tables show if a configuration has several settings."""
    # By the groups of the tables: a mean over cells of two learning rates would be of no configuration.
    labels = set(rows.index)
    shown = [group for group in study.groups if group.frame.index[0] in labels]
    cells = rows.loc[[label for group in shown for label in group.done.index]]
    return cells, list(caveats(group for group in shown if len(group.done)))


def _unfinished(frame: pd.DataFrame) -> list[str]:
    # A missing point must be explained, for out of memory is a result too.
    counts = frame.loc[frame["status"] != str(Status.ok), "status"].value_counts()
    if counts.empty:
        return []
    return ["Not finished and not shown: " + ", ".join(f"{number} {status}" for status, number in counts.items()) + "."]


def _first_present(rows: pd.DataFrame, labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the first metric that has a value in any row, with its label. Without one, return the first metric."""
    present = (name for name in labels if name in rows and rows[name].notna().any())
    name = next(present, next(iter(labels)))
    return name, labels[name]
