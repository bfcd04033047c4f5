"""Groups the cells of one configuration: replicates that differ in their seed alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from peft_study.metrics.intervals import Spread, seeds_interval
from peft_study.report.names import DATASETS, METHODS, MODELS, PAPER, QUANTIZATIONS, method_name, place
from peft_study.results.schema import MemoryKind

Key = tuple[str | None, str, str, str, float | None]
KEYS = ("dataset", "model", "method", "quantization", "num_examples")
"""The columns that name a configuration. The paper's figure 1 has no data set, its best ICL no number of examples."""
_MEASURED = ("data_fingerprint", "test_samples", "trainable_parameters", "precision", "memory_kind")
"""What a run records about itself. A cell that failed early, or that was read from W&B, may lack it."""

_WITHOUT_RANDOM_EXAMPLES = frozenset({"zero-shot", "rag"})
"""Prompting whose prompts do not depend on the seed."""


@dataclass(frozen=True)
class Group:
    """One configuration over its seeds.

    Attributes:
        dataset: config name; None if the source names none.
        model: config name.
        method: config name.
        quantization: config name.
        num_examples: in each prompt; None for the best of several.
        frame: the cells, replicates of each other.
        left_out: the other cells of this name, in sets of replicates. They differ from `frame` in a setting, the
            data, the precision or how memory was measured. None of these sets has more finished cells.
    """

    dataset: str | None
    model: str
    method: str
    quantization: str
    num_examples: float | None
    frame: pd.DataFrame
    left_out: tuple[pd.DataFrame, ...] = ()

    @property
    def key(self) -> Key:
        """The values of `KEYS`."""
        return self.dataset, self.model, self.method, self.quantization, self.num_examples

    @property
    def name(self) -> str:
        """The name in a list of configurations."""
        parts = [self.model, method_name(self.method, self.quantization), self.dataset]
        parts += [f"{self.num_examples:.0f} examples"] if self.num_examples else []
        return "/".join(part for part in parts if part)

    @property
    def title(self) -> str:
        """The name in print, beside the model and the data set."""
        name = method_name(self.method, self.quantization)
        return f"{name} ({self.num_examples:.0f} examples)" if self.num_examples else name

    @cached_property
    def drawn(self) -> bool:
        """Whether a run depends on its seed: by training, by random examples, or by sampling."""
        # Prompting without a draw is the same for every seed, so a single cell decides.
        random_examples = self.num_examples != 0 and _plain(self.method) not in _WITHOUT_RANDOM_EXAMPLES
        return bool(self.trained or random_examples or self.frame["sampled"].eq(True).any())

    @cached_property
    def trained(self) -> bool:
        """Whether the model is trained, not only prompted."""
        return any(kind != "prompting" for kind in self.frame["kind"].tolist())

    @cached_property
    def printed(self) -> bool:
        """Whether its numbers are the paper's."""
        return all(source == PAPER for source in self.frame["source"].tolist())

    @cached_property
    def done(self) -> pd.DataFrame:
        """The cells that succeeded."""
        succeeded = (self.frame["status"] == "ok").to_numpy()
        return self.frame if succeeded.all() else self.frame[succeeded]

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """The ids of the cells that succeeded."""
        return tuple(str(name) for name in self.done["cell_id"])

    @cached_property
    def test_samples(self) -> float | None:
        """The number of test samples; None if unknown."""
        return self.middle("test_samples")

    @cached_property
    def on_gpu(self) -> bool | None:
        """Whether memory was measured on a GPU (True) or of a process on a CPU (False); None if unknown or mixed."""
        kinds = set(self.done["memory_kind"].dropna())
        # A peak on a GPU and a peak of a process have no common median.
        of_process = str(MemoryKind.cpu_peak_rss) in kinds
        return None if not kinds or (of_process and len(kinds) > 1) else not of_process

    @cached_property
    def fingerprint(self) -> str | None:
        """The fingerprint of the data; None if unknown."""
        return next(iter(self.done["data_fingerprint"].dropna().tolist()), None)

    def scored(self, metric: str) -> pd.DataFrame:
        """Return the cells that succeeded and have a score."""
        return self.done[self.done[metric].notna()] if metric in self.done else self.done.iloc[:0]

    def values(self, column: str) -> list[float]:
        """Return the known values of a column, of the cells that succeeded."""
        if column not in self.frame:
            return []
        return [value for value in self.done[column].tolist() if not math.isnan(value)]

    def score(self, metric: str) -> Spread | None:
        """Return a score over the seeds with its 95 % interval; None if no cell has it."""
        if metric not in self._spreads:
            self._spreads[metric] = score_of(self.done, metric)
        return self._spreads[metric]

    @cached_property
    def _spreads(self) -> dict[str, Spread | None]:
        """A cache of scores by name. Tables, figures and claims ask for each many times."""
        return {}

    def cells_with(self, metric: str) -> tuple[str, ...]:
        """Return the ids of the cells that succeeded and have a score."""
        if metric not in self.done:
            return ()
        pairs = zip(self.cells, self.done[metric].tolist(), strict=True)
        return tuple(name for name, value in pairs if not math.isnan(value))

    def middle(self, column: str) -> float | None:
        """Return the median of a column over the seeds; None if no value is known."""
        values = self.values(column)
        return median(values) if values else None

    def work_seconds(self) -> float | None:
        """Return the seconds of generation plus those of training; None if either is unknown.

        A method that only prompts has no training.
        """
        # Medians of both phases, so that figures and tables show the same sum.
        train, generate = self.middle("train_seconds"), self.middle("generate_seconds")
        if train is None and not self.frame["kind"].eq("prompting").all():
            return None
        return None if generate is None else generate + (train or 0.0)

    def state(self) -> str | None:
        """Return how unfinished cells ended, such as "oom" or "1 of 3 failed"; None if all succeeded."""
        ends = Counter(str(status) for status in self.frame["status"] if status != "ok")
        if not ends:
            return None
        number = len(self.frame)
        if number == sum(ends.values()) and len(ends) == 1:
            return next(iter(ends))
        return ", ".join(f"{count} of {number} {status}" for status, count in sorted(ends.items()))


def score_of(rows: pd.DataFrame, metric: str) -> Spread | None:
    """Return a score over replicates, as tables, figures, page and claims show it.

    Args:
        rows: cells of one configuration that succeeded.
        metric: the score's name.

    Returns:
        None if no row has the score.
    """
    if metric not in rows:
        return None
    values = rows[metric].to_numpy(dtype=float)
    ends = [
        rows[f"{metric}_{end}"].to_numpy(dtype=float) if f"{metric}_{end}" in rows else np.full(len(rows), math.nan)
        for end in ("low", "high")
    ]
    return score_of_values(values.tolist(), ends[0].tolist(), ends[1].tolist())


def score_of_values(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> Spread | None:
    """Return a score over replicates from plain numbers; see `score_of`.

    Args:
        values: a score for each run; NaN if unknown.
        lows: lower ends of the runs' intervals; NaN if unknown.
        highs: upper ends.
    """
    # A seed that succeeded without this score is passed over: it is not a 0.
    runs = [run for run in zip(values, lows, highs, strict=True) if not math.isnan(run[0])]
    if not runs:
        return None
    intervals = [None if math.isnan(low) or math.isnan(high) else (low, high) for _, low, high in runs]
    return seeds_interval([value for value, _, _ in runs], intervals)


def groups(frame: pd.DataFrame) -> list[Group]:
    """Group the cells of each configuration.

    Replicates have the same `identity.settings_key`, and the same values in `_MEASURED` as far as both are known.

    Args:
        frame: rows of `rows.load`; rows without a model or a method are left out.

    Returns:
        The configurations in the paper's order.
    """
    rows = frame.dropna(subset=["model", "method"])
    if rows.empty:
        return []
    # Numbers in place of texts, and one pass over columns: 10,000 cells are 3,300 configurations.
    settings = rows.groupby("settings", dropna=False, sort=False).ngroup().tolist()
    columns = (rows[column].astype(object).tolist() for column in _MEASURED)
    # NaN is the only value that differs from itself.
    measured = [tuple(None if value != value else value for value in values) for values in zip(*columns, strict=True)]
    ends = [
        (status == "ok", end if isinstance(end, str) else "")
        for status, end in zip(rows["status"].tolist(), rows["finished_at"].tolist(), strict=True)
    ]
    keys = rows.groupby(list(KEYS), dropna=False, sort=False).ngroup().to_numpy()
    # Stable, so that the cells of a configuration keep their order.
    order = np.argsort(keys, kind="stable")
    configurations = []
    for part in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        cells = [_Cell(settings[row], measured[row], *ends[row]) for row in part.tolist()]
        configurations.append(_group(rows.take(part), _sets(cells)))
    return sorted(configurations, key=_order)


class _Cell(NamedTuple):
    """What decides the set of replicates that a cell belongs to."""

    settings: int
    measured: tuple[Any, ...]
    ok: bool
    finished_at: str


def _sets(cells: Sequence[_Cell]) -> list[list[int]]:
    """Return the positions of cells that are replicates, a list for each set, the set to show first.

    A cell that fits several sets, because it lacks values, joins the one that would be shown first.
    """
    if len({(cell.settings, cell.measured) for cell in cells}) == 1:
        return [list(range(len(cells)))]
    sets: list[list[int]] = []
    firsts: list[_Cell] = []
    # Finished cells with most values known found the sets, so that the others can join one.
    order = sorted(range(len(cells)), key=lambda index: (not cells[index].ok, cells[index].measured.count(None)))
    for index in order:
        cell = cells[index]
        # By the first cell of each set, as a set of cells that lack values would join sets that differ.
        fitting = [number for number, first in enumerate(firsts) if _are_replicates(first, cell)]
        if fitting:
            best = max(fitting, key=lambda number: _rank([cells[member] for member in sets[number]]))
            sets[best].append(index)
        else:
            firsts.append(cell)
            sets.append([index])
    ordered = sorted(sets, key=lambda members: _rank([cells[member] for member in members]), reverse=True)
    return [sorted(members) for members in ordered]


def _are_replicates(first: _Cell, second: _Cell) -> bool:
    pairs = zip(first.measured, second.measured, strict=True)
    return first.settings == second.settings and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _rank(cells: Sequence[_Cell]) -> tuple[int, str]:
    """Return the number of cells that succeeded, and when the last of them ended: the largest set is shown."""
    return sum(cell.ok for cell in cells), max((cell.finished_at for cell in cells if cell.ok), default="")


def _group(frame: pd.DataFrame, sets: Sequence[list[int]]) -> Group:
    """Return a configuration from its cells and the positions of each set of replicates."""
    parts = [frame] if len(sets) == 1 else [frame.iloc[members] for members in sets]
    first = frame.iloc[0]
    examples = float(first["num_examples"])
    return Group(
        _text(first["dataset"]),
        str(first["model"]),
        str(first["method"]),
        _text(first["quantization"]) or "none",
        None if math.isnan(examples) else examples,
        parts[0],
        tuple(parts[1:]),
    )


def _plain(method: str) -> str:
    """Return the name of a method without its mark, such as that of conventions."""
    return method.partition(" [")[0]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _order(group: Group) -> tuple[object, ...]:
    return (
        place(group.dataset or "", tuple(DATASETS)),
        place(group.model, tuple(MODELS)),
        place(group.method, tuple(METHODS)),
        place(group.quantization, tuple(QUANTIZATIONS)),
        math.inf if group.num_examples is None else group.num_examples,
    )
