"""Groups the cells of one configuration: replicates that differ in their seed alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np
import pandas as pd

from peft_study.metrics.intervals import Spread, seeds_interval
from peft_study.report.names import DATASETS, METHODS, MODELS, PAPER, QUANTIZATIONS, method_name, place
from peft_study.report.replicates import CellTraits, replicate_sets
from peft_study.results.schema import MemoryKind

Ends = tuple[float, float]
Key = tuple[str | None, str, str, str, float | None]
KEYS = ("dataset", "model", "method", "quantization", "num_examples")
"""The columns that name a configuration. The paper's figure 1 has no data set, its best ICL no number of examples."""
_MEASURED = ("data_fingerprint", "test_samples", "trainable_parameters", "precision", "memory_kind")
"""What a run records about itself. A cell that failed early, or that was read from W&B, may lack it."""

_WITHOUT_RANDOM_EXAMPLES = frozenset({"zero-shot", "rag"})
"""Prompting whose prompts do not depend on the seed."""


@dataclass(frozen=True, eq=False)
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
        # Without its mark, such as that of conventions.
        name = self.method.partition(" [")[0]
        random_examples = self.num_examples != 0 and name not in _WITHOUT_RANDOM_EXAMPLES
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
    scores, intervals = runs_of(rows, metric)
    return seeds_interval(scores, intervals) if scores else None


def score_of_values(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> Spread | None:
    """Return a score over replicates from plain numbers; see `score_of`.

    Args:
        values: a score for each run; NaN if unknown.
        lows: lower ends of the runs' intervals; NaN if unknown.
        highs: upper ends.
    """
    scores, intervals = _known(values, lows, highs)
    return seeds_interval(scores, intervals) if scores else None


def runs_of(rows: pd.DataFrame, metric: str) -> tuple[list[float], list[Ends | None]]:
    """Return the scores of cells and the ends of their intervals, without the cells that lack the score.

    Args:
        rows: cells that succeeded.
        metric: the score's name.
    """
    if metric not in rows:
        return [], []
    unknown = [math.nan] * len(rows)
    lows, highs = (rows[name].tolist() if (name := f"{metric}_{end}") in rows else unknown for end in ("low", "high"))
    return _known(rows[metric].tolist(), lows, highs)


def _known(
    values: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> tuple[list[float], list[Ends | None]]:
    # A seed that succeeded without this score is passed over: it is not a 0.
    runs = [run for run in zip(values, lows, highs, strict=True) if not math.isnan(run[0])]
    intervals = [None if math.isnan(low) or math.isnan(high) else (low, high) for _, low, high in runs]
    return [value for value, _, _ in runs], intervals


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
        cells = [CellTraits(settings[row], measured[row], *ends[row]) for row in part.tolist()]
        configurations.append(_group(rows.take(part), replicate_sets(cells)))
    return sorted(configurations, key=_order)


def _group(frame: pd.DataFrame, sets: Sequence[list[int]]) -> Group:
    """Return a configuration from its cells and the positions of each set of replicates."""
    parts = [frame] if len(sets) == 1 else [frame.iloc[members] for members in sets]
    first = frame.iloc[0]
    examples = float(first["num_examples"])
    return Group(
        dataset=_text(first["dataset"]),
        model=str(first["model"]),
        method=str(first["method"]),
        quantization=_text(first["quantization"]) or "none",
        num_examples=None if math.isnan(examples) else examples,
        frame=parts[0],
        left_out=tuple(parts[1:]),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _order(group: Group) -> tuple[object, ...]:
    return (
        place(group.dataset or "", DATASETS),
        place(group.model, MODELS),
        place(group.method, METHODS),
        place(group.quantization, QUANTIZATIONS),
        math.inf if group.num_examples is None else group.num_examples,
    )
