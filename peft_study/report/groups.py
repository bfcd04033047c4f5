"""Cells that differ in their seed alone, taken together."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peft_study.metrics.intervals import Spread, spread
from peft_study.report.names import DATASETS, METHODS, MODELS, QUANTIZATIONS, place

KEYS = ("dataset", "model", "method", "quantization", "num_examples")
"""What a configuration is called by; figure 1 of the paper has no data set, its best ICL no number of examples."""
_SETTINGS = ("sampled", "test_samples", "learning_rate", "epochs", "trainable_parameters")


@dataclass(frozen=True)
class Group:
    """One configuration over its seeds.

    Attributes:
        dataset: config name; None where the source names none.
        model: likewise.
        method: likewise.
        quantization: likewise.
        num_examples: before each prompt; None for the best of several.
        frame: its cells.
        other_settings: how many more sets of runs have this name and differ in more than the seed (learning rate,
            epochs, size of the adapter, samples); this one has the most finished cells.
    """

    dataset: str | None
    model: str
    method: str
    quantization: str
    num_examples: float | None
    frame: pd.DataFrame
    other_settings: int = 0

    @cached_property
    def done(self) -> pd.DataFrame:
        """The cells that ended well."""
        ended_well = (self.frame["status"] == "ok").to_numpy()
        return self.frame if ended_well.all() else self.frame[ended_well]

    @property
    def cells(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(str(name) for name in self.frame["cell_id"])

    def values(self, column: str) -> list[float]:
        """What is known of a column, of cells that ended well."""
        if column not in self.frame:
            return []
        return [value for value in self.done[column].tolist() if not math.isnan(value)]

    def score(self, metric: str) -> Spread | None:
        """A score over the seeds; None where none is known."""
        values = self.values(metric)
        return spread(values) if values else None

    def middle(self, column: str) -> float | None:
        """The median over the seeds; None where none is known."""
        values = self.values(column)
        return median(values) if values else None

    def state(self) -> str | None:
        """How cells ended that did not end well, such as "oom" or "1 of 3 failed"; None where all did."""
        ends = Counter(str(status) for status in self.frame["status"] if status != "ok")
        if not ends:
            return None
        number = len(self.frame)
        if number == sum(ends.values()) and len(ends) == 1:
            return next(iter(ends))
        return ", ".join(f"{count} of {number} {status}" for status, count in sorted(ends.items()))


def groups(frame: pd.DataFrame) -> list[Group]:
    """Take cells together that differ in their seed alone, ordered as the paper orders them."""
    known = frame.dropna(subset=["model", "method"])
    if known.empty:
        return []
    settings = known.groupby(list(_SETTINGS), dropna=False, sort=False).ngroup().to_numpy()
    keys = known.groupby(list(KEYS), dropna=False, sort=False).ngroup().to_numpy()
    places = np.argsort(keys, kind="stable")
    parts = np.split(places, np.flatnonzero(np.diff(keys[places])) + 1)
    return sorted((_group(known.take(part), settings[part]) for part in parts), key=_order)


def by_name(found: Iterable[Group]) -> dict[tuple[str | None, str, str, str, float | None], Group]:
    """Groups by their keys."""
    return {(one.dataset, one.model, one.method, one.quantization, one.num_examples): one for one in found}


def _group(frame: pd.DataFrame, settings: NDArray[np.integer[Any]]) -> Group:
    """A configuration from its cells and, as numbers, what they are set to besides."""
    chosen, others = frame, 0
    if (settings != settings[0]).any():
        # A cell that failed before its model was built says nothing of the adapter's size: it is counted where it fits.
        parts = [frame[settings == code] for code in dict.fromkeys(settings.tolist())]
        whole = [part for part in parts if (part["status"] == "ok").any()]
        if len(whole) > 1:
            chosen, others = max(whole, key=_finished), len(whole) - 1
    first = frame.iloc[0]
    examples = float(first["num_examples"])
    return Group(
        _text(first["dataset"]),
        str(first["model"]),
        str(first["method"]),
        _text(first["quantization"]) or "none",
        None if math.isnan(examples) else examples,
        chosen,
        others,
    )


def _finished(frame: pd.DataFrame) -> tuple[int, str]:
    """How many cells ended well, and when the last one ended."""
    ends = [end for end in frame["finished_at"] if isinstance(end, str)]
    return int((frame["status"] == "ok").sum()), max(ends, default="")


def _text(part: object) -> str | None:
    return part if isinstance(part, str) else None


def _order(group: Group) -> tuple[object, ...]:
    return (
        place(group.dataset or "", tuple(DATASETS)),
        place(group.model, tuple(MODELS)),
        place(group.method, tuple(METHODS)),
        place(group.quantization, tuple(QUANTIZATIONS)),
        math.inf if group.num_examples is None else group.num_examples,
    )
