"""Cells that differ in their seed alone, taken together."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from peft_study.metrics.intervals import Spread, spread
from peft_study.report.names import DATASETS, METHODS, MODELS, QUANTIZATIONS, method_name, place
from peft_study.results.schema import MemoryKind

Key = tuple[str | None, str, str, str, float | None]
KEYS = ("dataset", "model", "method", "quantization", "num_examples")
"""What a configuration is called by, as columns; figure 1 of the paper has no data set, its best ICL no number of
examples."""
_CHOSEN = ("settings", "sampled", "learning_rate", "epochs")
"""What a person set besides; known of every cell."""
_FOUND = ("data_fingerprint", "test_samples", "trainable_parameters", "precision", "memory_kind")
"""What a run found; a cell that failed early, or that only W&B told of, may not know it."""

_OTHERS = "Left out, as they differ from those shown in more than the seed (settings, data, precision, kind of memory):"


@dataclass(frozen=True)
class Group:
    """One configuration over its seeds.

    Attributes:
        dataset: config name; None where the source names none.
        model: likewise.
        method: likewise.
        quantization: likewise.
        num_examples: before each prompt; None for the best of several.
        frame: its cells, repeats of each other.
        left_out: the other cells of this name, in sets of repeats: they differ in more than the seed, in a setting,
            the data, the precision or how memory was measured. None of these sets has more finished cells.
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
        """What it is called by."""
        return self.dataset, self.model, self.method, self.quantization, self.num_examples

    @property
    def name(self) -> str:
        """What it is called in a list."""
        parts = [self.model, method_name(self.method, self.quantization), self.dataset]
        parts += [f"{self.num_examples:.0f} examples"] if self.num_examples else []
        return "/".join(part for part in parts if part)

    @property
    def title(self) -> str:
        """What it is called in print beside its model and data set."""
        name = method_name(self.method, self.quantization)
        return f"{name} ({self.num_examples:.0f} examples)" if self.num_examples else name

    @cached_property
    def done(self) -> pd.DataFrame:
        """The cells that ended well."""
        ended_well = (self.frame["status"] == "ok").to_numpy()
        return self.frame if ended_well.all() else self.frame[ended_well]

    @property
    def cells(self) -> tuple[str, ...]:
        """The ids of those that ended well."""
        return tuple(str(name) for name in self.done["cell_id"])

    @cached_property
    def test_samples(self) -> float | None:
        """How many samples their scores are of; None where that is not known."""
        return self.middle("test_samples")

    @cached_property
    def on_gpu(self) -> bool | None:
        """Whether memory is of a GPU (True), of a process on a CPU (False), or of nobody knows what (None)."""
        kinds = set(self.done["memory_kind"].dropna())
        of_process = str(MemoryKind.cpu_peak_rss) in kinds
        return None if not kinds or (of_process and len(kinds) > 1) else not of_process

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

    def work_seconds(self) -> float | None:
        """Of generation, and of training unless the method only prompts; None where either is not known."""
        train, generate = self.middle("train_seconds"), self.middle("generate_seconds")
        if train is None and not self.frame["kind"].eq("prompting").all():
            return None
        return None if generate is None else generate + (train or 0.0)

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
    chosen = known.groupby(list(_CHOSEN), dropna=False, sort=False).ngroup().tolist()
    found = list(zip(*(known[column].astype(object).tolist() for column in _FOUND), strict=True))
    done = (known["status"] == "ok").tolist()
    keys = known.groupby(list(KEYS), dropna=False, sort=False).ngroup().to_numpy()
    places = np.argsort(keys, kind="stable")
    together = []
    for part in np.split(places, np.flatnonzero(np.diff(keys[places])) + 1):
        here = part.tolist()
        sets = _sets([(chosen[row], found[row] if done[row] else None) for row in here])
        together.append(_group(known.take(part), sets))
    return sorted(together, key=_order)


def by_key(found: Iterable[Group]) -> dict[Key, Group]:
    """Groups by what they are called by."""
    return {one.key: one for one in found}


def caveats(found: Iterable[Group]) -> tuple[str, ...]:
    """What a reader must know of configurations that stand beside each other, a sentence each; none where all is well.

    Args:
        found: the configurations.
    """
    known = list(found)
    others = [f"{one.name} ({_ends(one.left_out)})" for one in known if one.left_out]
    twice = [one.name for one in known if one.done["seed"].dropna().duplicated().any()]
    return (
        *([f"{_OTHERS} {', '.join(others)}."] if others else []),
        *(
            [f"Several cells with the same seed, which count as if they had different ones: {', '.join(twice)}."]
            * bool(twice)
        ),
        *_samples_caveats(known),
    )


def _samples_caveats(found: Sequence[Group]) -> Iterable[str]:
    for dataset in dict.fromkeys(one.dataset for one in found if one.dataset):
        here = [one for one in found if one.dataset == dataset and one.test_samples is not None]
        numbers = Counter(one.test_samples for one in here)
        if len(numbers) > 1:
            usual = max(numbers, key=lambda number: (numbers[number], number or 0.0))
            names = ", ".join(f"{one.name} on {one.test_samples:,.0f}" for one in here if one.test_samples != usual)
            yield f"Scores on {dataset} are of {usual:,.0f} test samples, but: {names}."


def _ends(sets: Iterable[pd.DataFrame]) -> str:
    """Such as "2 ok, 1 oom"."""
    ends = Counter(status for cells in sets for status in cells["status"])
    return ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))


def _sets(cells: Sequence[tuple[int, tuple[Any, ...] | None]]) -> list[list[int]]:
    """Places of the cells that are repeats of each other, a list for each set of repeats.

    Args:
        cells: a number for what each was set to, and what it found; None for one that did not end well, which is a
            repeat of all that were set alike. Something not known differs from nothing.
    """
    if len({one[0] for one in cells}) == 1 and len({one[1] for one in cells if one[1] is not None}) < 2:
        return [list(range(len(cells)))]
    found: list[list[int]] = []
    for code in dict.fromkeys(one[0] for one in cells):
        alike = [index for index, one in enumerate(cells) if one[0] == code]
        finished = {index: values for index in alike if (values := cells[index][1]) is not None}
        unfinished = [index for index in alike if index not in finished]
        common = [_most_common(column) for column in zip(*finished.values(), strict=True)]
        ways: dict[tuple[Any, ...], list[int]] = {}
        for index, values in finished.items():
            whole = tuple(usual if _unknown(value) else value for value, usual in zip(values, common, strict=True))
            ways.setdefault(whole, []).append(index)
        # Of several ways with the same settings the most usual one gets those that did not end well.
        largest = max(ways.values(), key=len, default=[])
        largest += unfinished
        found += [sorted(places) for places in ways.values()] or [unfinished]
    return found


def _most_common(values: Iterable[Any]) -> Any:
    counts = Counter(value for value in values if not _unknown(value))
    return max(counts, key=lambda value: counts[value], default=None)


def _unknown(value: Any) -> bool:
    # NaN alone differs from itself.
    return value is None or value != value


def _group(frame: pd.DataFrame, sets: Sequence[list[int]]) -> Group:
    """A configuration from its cells, and the places of those that are repeats of each other."""
    parts = [frame] if len(sets) == 1 else [frame.iloc[places] for places in sets]
    parts.sort(key=_finished, reverse=True)
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
