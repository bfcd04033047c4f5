"""Cells that differ in their seed alone, taken together."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from peft_study.metrics.seed_intervals import Spread, seeds_interval
from peft_study.report.names import DATASETS, METHODS, MODELS, PAPER, QUANTIZATIONS, method_name, place
from peft_study.results.schema import MemoryKind

Key = tuple[str | None, str, str, str, float | None]
KEYS = ("dataset", "model", "method", "quantization", "num_examples")
"""What a configuration is called by, as columns; figure 1 of the paper has no data set, its best ICL no number of
examples."""
_CHOSEN = ("settings", "sampled", "learning_rate", "epochs")
"""What a person set besides; known of every cell."""
_FOUND = ("data_fingerprint", "test_samples", "trainable_parameters", "precision", "memory_kind")
"""What a run found; a cell that failed early, or that only W&B told of, may not know it."""

_WITHOUT_A_DRAW = frozenset({"zero-shot", "rag"})
"""Prompting whose prompts do not depend on the seed."""
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
    def drawn(self) -> bool:
        """Whether a run depends on its seed: by training, by random examples, or by sampling."""
        random_examples = self.num_examples != 0 and self.method not in _WITHOUT_A_DRAW
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
        """The cells that ended well."""
        ended_well = (self.frame["status"] == "ok").to_numpy()
        return self.frame if ended_well.all() else self.frame[ended_well]

    @cached_property
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

    @cached_property
    def fingerprint(self) -> str | None:
        """Of their data; None where that is not known."""
        return next(iter(self.done["data_fingerprint"].dropna().tolist()), None)

    def scored(self, metric: str) -> pd.DataFrame:
        """The cells that ended well and have a score."""
        return self.done[self.done[metric].notna()] if metric in self.done else self.done.iloc[:0]

    def values(self, column: str) -> list[float]:
        """What is known of a column, of cells that ended well."""
        if column not in self.frame:
            return []
        return [value for value in self.done[column].tolist() if not math.isnan(value)]

    def score(self, metric: str) -> Spread | None:
        """A score over the seeds with its 95 % interval; None where none is known."""
        if metric not in self._spreads:
            self._spreads[metric] = score_of(self.done, metric)
        return self._spreads[metric]

    @cached_property
    def _spreads(self) -> dict[str, Spread | None]:
        """Scores by name, as they were asked for: each is asked for many times."""
        return {}

    def cells_with(self, metric: str) -> tuple[str, ...]:
        """The ids of the cells that ended well and have a score."""
        if metric not in self.done:
            return ()
        pairs = zip(self.cells, self.done[metric].tolist(), strict=True)
        return tuple(name for name, value in pairs if not math.isnan(value))

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


def score_of(rows: pd.DataFrame, metric: str) -> Spread | None:
    """A score over runs that differ in their seed: what tables, figures, page and claims all show.

    Args:
        rows: of one configuration, the cells that ended well.
        metric: the score's name.

    Returns:
        None where no row has it.
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
    """The same of plain numbers, one a run; NaN where unknown."""
    known = [run for run in zip(values, lows, highs, strict=True) if not math.isnan(run[0])]
    if not known:
        return None
    intervals = [None if math.isnan(low) or math.isnan(high) else (low, high) for _, low, high in known]
    return seeds_interval([value for value, _, _ in known], intervals)


def groups(frame: pd.DataFrame) -> list[Group]:
    """Take cells together that differ in their seed alone, ordered as the paper orders them."""
    known = frame.dropna(subset=["model", "method"])
    if known.empty:
        return []
    chosen = known.groupby(list(_CHOSEN), dropna=False, sort=False).ngroup().tolist()
    columns = (known[column].astype(object).tolist() for column in _FOUND)
    found = [tuple(None if _unknown(value) else value for value in values) for values in zip(*columns, strict=True)]
    worth = [
        (status == "ok", end if isinstance(end, str) else "")
        for status, end in zip(known["status"].tolist(), known["finished_at"].tolist(), strict=True)
    ]
    keys = known.groupby(list(KEYS), dropna=False, sort=False).ngroup().to_numpy()
    places = np.argsort(keys, kind="stable")
    merge_runs = []
    for part in np.split(places, np.flatnonzero(np.diff(keys[places])) + 1):
        cells = [_Cell(chosen[row], found[row], *worth[row]) for row in part.tolist()]
        merge_runs.append(_group(known.take(part), _sets(cells)))
    return sorted(merge_runs, key=_order)


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


def caveats_between(pairs: Iterable[tuple[Group, Group]]) -> tuple[str, ...]:
    """What a reader must know of configurations of two studies that are compared: whose test samples differ in number.

    Args:
        pairs: each configuration and the other study's.
    """
    names = [
        f"{one.name} on {one.test_samples:,.0f} against {its.test_samples:,.0f}"
        for one, its in pairs
        if one.test_samples is not None and its.test_samples is not None and one.test_samples != its.test_samples
    ]
    return (f"Not of the same number of test samples: {', '.join(dict.fromkeys(names))}.",) if names else ()


def _samples_caveats(found: Sequence[Group]) -> Iterable[str]:
    for dataset in dict.fromkeys(one.dataset for one in found if one.dataset):
        here = [one for one in found if one.dataset == dataset and one.test_samples is not None]
        numbers = Counter(one.test_samples for one in here)
        if len(numbers) > 1:
            usual = max(numbers, key=lambda number: (numbers[number], number or 0.0))
            names = ", ".join(f"{one.name} on {one.test_samples:,.0f}" for one in here if one.test_samples != usual)
            yield f"Scores on {dataset} are of {usual:,.0f} test samples, but: {names}."
        prints = Counter((one.test_samples, one.fingerprint) for one in here if one.fingerprint)
        for number in numbers:
            alike = {key: count for key, count in prints.items() if key[0] == number}
            if len(alike) > 1:
                usual_print = max(alike, key=lambda key: alike[key])
                names = ", ".join(
                    one.name for one in here if (one.test_samples, one.fingerprint) in alike.keys() - {usual_print}
                )
                yield f"Of the same size, but other data of {dataset} than the rest: {names}."


def _ends(sets: Iterable[pd.DataFrame]) -> str:
    """Such as "2 ok, 1 oom"."""
    ends = Counter(status for cells in sets for status in cells["status"])
    return ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))


class _Cell(NamedTuple):
    """What decides which cells a cell is a repeat of: a number for what it was set to, what it found, how it ended."""

    setting: int
    found: tuple[Any, ...]
    ok: bool
    finished_at: str


def _sets(cells: Sequence[_Cell]) -> list[list[int]]:
    """Places of the cells that are repeats of each other, a list for each set of repeats, the one to show first.

    Repeats were set alike and found the same as far as both know it; a cell that fits more than one set is counted in
    the one that stands first.
    """
    if len({(one.setting, one.found) for one in cells}) == 1:
        return [list(range(len(cells)))]
    sets: list[list[int]] = []
    known: list[tuple[int, tuple[Any, ...]]] = []
    # Those that know most first, as they tell the sets apart, and those that ended well before those that did not.
    order = sorted(range(len(cells)), key=lambda place: (not cells[place].ok, cells[place].found.count(None)))
    for index in order:
        one = cells[index]
        fitting = [
            number
            for number, (setting, found) in enumerate(known)
            if setting == one.setting
            and all(None in pair or pair[0] == pair[1] for pair in zip(found, one.found, strict=True))
        ]
        if fitting:
            best = max(fitting, key=lambda number: _worth([cells[place] for place in sets[number]]))
            sets[best].append(index)
        else:
            known.append((one.setting, one.found))
            sets.append([index])
    ordered = sorted(sets, key=lambda places: _worth([cells[place] for place in places]), reverse=True)
    return [sorted(places) for places in ordered]


def _worth(cells: Sequence[_Cell]) -> tuple[int, str]:
    """How many ended well, and when the last one of them ended."""
    return sum(one.ok for one in cells), max((one.finished_at for one in cells if one.ok), default="")


def _unknown(value: Any) -> bool:
    # NaN alone differs from itself.
    return value is None or value != value


def _group(frame: pd.DataFrame, sets: Sequence[list[int]]) -> Group:
    """A configuration from its cells, and the places of those that are repeats of each other."""
    parts = [frame] if len(sets) == 1 else [frame.iloc[places] for places in sets]
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
