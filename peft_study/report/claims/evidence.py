"""Two sets of runs compared, by the strongest test that the data at hand allows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean

import pandas as pd

from peft_study.metrics.choices import Choice
from peft_study.metrics.differences import Difference, compare_methods
from peft_study.metrics.intervals import RESAMPLES, counts_hits, recorded_interval
from peft_study.metrics.method_scores import MethodScore, run_variance
from peft_study.metrics.shares import WIDTH
from peft_study.report.groups import Group, caveats
from peft_study.report.names import method_name
from peft_study.report.read import per_sample
from peft_study.report.read.per_sample import Run
from peft_study.report.read.predictions import PredictionsOf
from peft_study.report.tables.scores import signed_text

# Deviations on all resamples take 80 kB a configuration and score.
_KEPT = 2_048
SMALLEST_P = 1e-4
"""Resamples tell no smaller p-value, and no reader needs one."""
POWER_POINTS = 0.03
"""The difference whose power is printed: 3 points."""


class Test(StrEnum):
    """What a comparison rests on, the strongest first."""

    # pytest would take the class for a test.
    __test__ = False

    paired = "paired over the test samples"
    intervals = "both scores' intervals, as if of different samples"
    one_interval = "one score's interval, the other's taken to be as wide"
    measured = "memory as measured, without a test"
    printed = "by sign alone, as printed in the paper"
    summary = "nothing to test"


class Scope(StrEnum):
    """What a comparison speaks of."""

    methods = "methods"
    runs = "these runs"
    printed = "printed numbers"


@dataclass(frozen=True, eq=False)
class Best:
    """A choice that was made on the test split.

    Attributes:
        chosen: the configurations that scored best, averaged.
        options: all that the choice was between, the chosen ones among them.
    """

    chosen: tuple[Group, ...]
    options: tuple[tuple[Group, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """One number against another.

    Attributes:
        label: of what, such as "codellama-7b on conala, EM@10".
        first_name: what `first` is of.
        second_name: what `second` is of.
        first: the one.
        second: the other.
        difference: the first less the second.
        low: lower end of the difference's 95 % interval; None where nothing is known but the two numbers.
        high: upper end.
        p_value: of no difference, two-sided; likewise.
        test: what it rests on.
        cells: ids of the cells used.
        unit: "share" (from 0 to 1) or "bytes".
        samples: how many test samples the scores are of, the fewer of both; None where that is not known.
        scope: of methods, where the spread between runs is in the interval, or of these runs alone.
        pooled: the spread between runs of a single seed is that of other configurations of the study.
        choices: between how many configurations was chosen on the test split; 1 for none.
        power: the probability of telling a difference of `POWER_POINTS` at 5 %; None where nothing is tested.
        ratio: the first over the second; with both ends of its 95 % interval where they are known.
        tested: the distribution of the difference; None where nothing is tested.
    """

    label: str
    first_name: str
    second_name: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    test: Test
    cells: tuple[str, ...]
    unit: str = "share"
    samples: float | None = None
    scope: Scope = Scope.methods
    pooled: bool = False
    choices: int = 1
    power: float | None = None
    ratio: tuple[float, float | None, float | None] | None = None
    tested: Difference | None = None

    @property
    def name(self) -> str:
        """What is compared with what."""
        return f"{self.label}: {self.first_name} against {self.second_name}"

    @property
    def values(self) -> str:
        """Both numbers for a reader: percentages, and the difference in points; memory in GB (1e9 bytes)."""
        if self.unit == "bytes":
            return f"{self.first / 1e9:.2f} GB against {self.second / 1e9:.2f} GB, ratio {self.first / self.second:.2f}"
        line = f"{100 * self.first:.2f} against {100 * self.second:.2f}, {signed_text(100 * self.difference)}"
        if self.low is not None and self.high is not None and self.p_value is not None:
            ends = ", ".join(signed_text(100 * end) for end in (self.low, self.high))
            line += f" [{ends}], {p_text(self.p_value)}"
        return f"{line}, of these runs alone" if self.scope is Scope.runs else line

    @property
    def text(self) -> str:
        """One line of both."""
        return f"{self.name}, {self.values}"

    def to_json(self) -> dict[str, object]:
        """Plain containers."""
        left_out = {"tested"}
        plain = {name: value for name, value in vars(self).items() if name not in left_out}
        return plain | {"test": str(self.test), "scope": str(self.scope), "cells": list(self.cells)}


class Evidence:
    """Configurations whose scores can be compared.

    Args:
        groups: the configurations.
        predictions_of: reads a cell's predictions; None to compare by the scores' intervals alone.
        resamples: number of bootstrap resamples.
    """

    def __init__(
        self, groups: Sequence[Group], predictions_of: PredictionsOf | None = None, resamples: int = RESAMPLES
    ) -> None:
        self.groups = tuple(groups)
        self._by_name: dict[tuple[str, str, str | None], list[Group]] = {}
        for group in self.groups:
            for model in (None, group.model):
                self._by_name.setdefault((group.method, group.quantization, model), []).append(group)
        self._predictions_of = predictions_of
        self._resamples = resamples
        self._scores: dict[tuple[int, str], tuple[MethodScore, float | None]] = {}
        self._spreads: dict[tuple[str | None, str, bool], tuple[float, float, float] | None] = {}

    def find(
        self, method: str, quantization: str = "none", dataset: str | None = None, model: str | None = None
    ) -> list[Group]:
        """Configurations by name; None is any."""
        groups = self._by_name.get((method, quantization, model), [])
        return [group for group in groups if dataset in (None, group.dataset)]

    def caveats(self, cells: Iterable[str]) -> tuple[str, ...]:
        """What a reader must know of the configurations that some cells are of."""
        return caveats(self._of(cells))

    def coverage(self, cells: Iterable[str]) -> tuple[str, ...]:
        """On how many models and data sets some cells were run; nothing where there is none."""
        groups = self._of(cells)
        models = {group.model for group in groups}
        datasets = {group.dataset for group in groups if group.dataset}
        if not models:
            return ()
        parts = [
            f"{len(names)} {word}{'s' * (len(names) != 1)}"
            for names, word in ((models, "model"), (datasets, "data set"))
            if names
        ]
        return (f"Seen on {' and '.join(parts)}.",)

    def _of(self, cells: Iterable[str]) -> list[Group]:
        used = set(cells)
        return [group for group in self.groups if not used.isdisjoint(group.cells)]

    def best(self, options: Sequence[Group], metric: str) -> Best | None:
        """The configuration with the best score, and those that it was chosen from; None where none has a score."""
        scored = [(score.mean, group) for group in options if (score := group.score(metric)) is not None]
        if not scored:
            return None
        chosen = max(scored, key=lambda pair: pair[0])[1]
        return Best((chosen,), tuple((group,) for _, group in scored))

    def compare(
        self,
        label: str,
        first: Sequence[Group | Best],
        second: Sequence[Group | Best],
        metric: str,
        other: "Evidence | None" = None,
    ) -> Comparison | None:
        """Compare the mean score of some configurations with that of others, each over its seeds first.

        Args:
            label: of what.
            first: on one data set, each with the same weight.
            second: on the same.
            metric: a share.
            other: what the second are of; None for the same rows.

        Returns:
            None where a score is missing.
        """
        sides = [_as_choices(side) for side in (first, second)]
        chosen = [[group for place in side for group in place.chosen] for side in sides]
        if not all(side and all(group.score(metric) for group in side) for side in chosen):
            return None
        homes = (self, other or self)
        means = [_mean(side, metric) for side in sides]
        backs = (other, self)
        choices = [home._choices(side, metric, back) for home, side, back in zip(homes, sides, backs, strict=True)]
        placed = [(home, group) for home, side in zip(homes, chosen, strict=True) for group in side]
        printed = all(group.printed for _, group in placed)
        tested = None if printed else compare_methods(choices[0], choices[1])
        names = [_names(side) for side in chosen]
        cells = tuple(dict.fromkeys(cell for _, group in placed for cell in group.cells_with(metric)))
        told = [home._samples(group, metric) for home, group in placed]
        plain = Comparison(
            label,
            names[0],
            names[1],
            means[0],
            means[1],
            means[0] - means[1],
            None,
            None,
            None,
            Test.printed if printed else _test(tested, choices),
            cells,
            samples=min((number for number in told if number is not None), default=None),
            scope=Scope.printed if printed else Scope.methods,
            ratio=(means[0] / means[1], None, None) if means[1] else None,
        )
        single = any(home._is_single(group, metric) for home, group in placed)
        return plain if tested is None else _with_test(plain, tested, pooled=single and tested.of_methods)

    def spread_of_runs(self, dataset: str | None, metric: str, *, trained: bool) -> tuple[float, float, float] | None:
        """The variance between runs of one configuration, pooled over those that have several seeds.

        Args:
            dataset: on which they are scored.
            metric: the score.
            trained: of trained methods, or of prompting.

        Returns:
            The variance that is owing to the runs alone, the variance as observed, and its degrees of freedom; None
            where no configuration has several seeds.
        """
        key = (dataset, metric, trained)
        if key not in self._spreads:
            same = [
                self._score(group, metric)[0]
                for group in self.groups
                if group.dataset == dataset
                and group.drawn
                and group.trained is trained
                and len(group.cells_with(metric)) > 1
            ]
            freedom = sum(score.runs - 1 for score in same)
            self._spreads[key] = None
            if freedom:
                alone = sum((score.runs - 1) * (score.run_variance or 0.0) for score in same) / freedom
                observed = sum((score.runs - 1) * score.run_spread for score in same) / freedom
                self._spreads[key] = alone, observed, float(freedom)
        return self._spreads[key]

    def _choices(self, side: Sequence[Best], metric: str, back: "Evidence | None") -> list[Choice]:
        """Scores of a side; `back` tells the spread between runs where these rows do not."""
        return [
            Choice(
                self._scores_of(place.chosen, metric, back),
                tuple(self._scores_of(option, metric, back) for option in place.options),
            )
            for place in side
        ]

    def _scores_of(self, groups: Sequence[Group], metric: str, back: "Evidence | None") -> tuple[MethodScore, ...]:
        return tuple(self._with_spread(group, metric, back) for group in groups if group.score(metric) is not None)

    def _with_spread(self, group: Group, metric: str, back: "Evidence | None") -> MethodScore:
        """A configuration's score; of a single seed with the spread of other configurations."""
        score = self._score(group, metric)[0]
        if score.run_variance is not None:
            return score
        trained = group.trained
        pooled = self.spread_of_runs(group.dataset, metric, trained=trained)
        if pooled is None and back is not None:
            pooled = back.spread_of_runs(group.dataset, metric, trained=trained)
        return score if pooled is None else score.with_run_variance(*pooled)

    def _is_single(self, group: Group, metric: str) -> bool:
        return self._score(group, metric)[0].run_variance is None

    def _samples(self, group: Group, metric: str) -> float | None:
        """How many test samples a score is of; of a level's score, how many of that level."""
        scored_samples = self._score(group, metric)[1]
        return group.test_samples if scored_samples is None else scored_samples

    def _score(self, group: Group, metric: str) -> tuple[MethodScore, float | None]:
        """A configuration's score, and of how many samples where they are known one by one."""
        # Groups live as long as the evidence, so that their ids are distinct.
        key = (id(group), metric)
        if key not in self._scores:
            if len(self._scores) >= _KEPT:
                del self._scores[next(iter(self._scores))]
            runs = self._runs(group.scored(metric), metric)
            by_sample = per_sample.method_score(runs, drawn=group.drawn, resamples=self._resamples)
            scored_samples = min((run.scored for run in runs if run is not None), default=None)
            self._scores[key] = (
                (by_sample, scored_samples) if by_sample is not None else (_from_summary(group, metric), None)
            )
        return self._scores[key]

    def _runs(self, scored: pd.DataFrame, metric: str) -> list[Run | None]:
        if self._predictions_of is None:
            return [None] * len(scored)
        columns = (scored[name].tolist() for name in ("cell_id", metric, "test_samples"))
        return [
            per_sample.of_cell(self._predictions_of(str(cell)), metric, value, size)
            for cell, value, size in zip(*columns, strict=True)
        ]


def p_text(p_value: float) -> str:
    """A p-value for a reader; a very small one is said to be below `SMALLEST_P`."""
    return f"p < {SMALLEST_P:.4f}" if p_value < SMALLEST_P else f"p = {p_value:.2g}"


def _as_choices(side: Sequence[Group | Best]) -> list[Best]:
    return [place if isinstance(place, Best) else Best((place,), ((place,),)) for place in side]


def _mean(side: Sequence[Best], metric: str) -> float:
    """Over places, of the mean over the configurations that stand there."""
    return fmean(
        fmean(score.mean for group in place.chosen if (score := group.score(metric)) is not None) for place in side
    )


def _test(tested: Difference | None, choices: Sequence[Sequence[Choice]]) -> Test:
    if tested is None:
        return Test.summary
    if tested.paired:
        return Test.paired
    has_intervals = [
        all(part.sample_variance is not None for place in side for part in place.chosen) for side in choices
    ]
    return Test.intervals if all(has_intervals) else Test.one_interval


def _with_test(plain: Comparison, tested: Difference, *, pooled: bool) -> Comparison:
    low, high = tested.ends()
    return replace(
        plain,
        low=low,
        high=high,
        p_value=tested.p_value,
        scope=Scope.methods if tested.of_methods else Scope.runs,
        pooled=pooled,
        choices=tested.choices,
        power=tested.power(POWER_POINTS, 0.05),
        ratio=tested.ratio,
        tested=tested,
    )


def _from_summary(group: Group, metric: str) -> MethodScore:
    """From the scores and the intervals of a configuration's cells: the runs count as if of the same samples."""
    scored = group.scored(metric)
    scores = [float(value) for value in scored[metric].tolist()]
    samples = group.test_samples
    columns = [_column(scored, f"{metric}_{end}") for end in ("low", "high")]
    ends = [_run_interval(metric, score, low, high, samples) for score, low, high in zip(scores, *columns, strict=True)]
    widths = [pair[1] - pair[0] for pair in ends if pair is not None]
    variance = run_variance(scores, None) if group.drawn else 0.0
    single = len(scores) == 1 and counts_hits(metric) and "/" not in metric
    return MethodScore(
        estimate=fmean(scores),
        sample_variance=(fmean(widths) / (2 * WIDTH)) ** 2 if len(widths) == len(scores) else None,
        samples=samples,
        share_samples=samples if single else None,
        run_variance=variance,
        run_spread=variance or 0.0,
        run_freedom=len(scores) - 1 if group.drawn and len(scores) > 1 else math.inf,
        runs=len(scores),
    )


def _column(rows: pd.DataFrame, name: str) -> list[float]:
    return rows[name].tolist() if name in rows else [math.nan] * len(rows)


def _run_interval(
    metric: str, score: float, low: float, high: float, samples: float | None
) -> tuple[float, float] | None:
    """As recorded; of a printed share of hits, from the number of samples."""
    recorded = None if math.isnan(low) or math.isnan(high) else (low, high)
    return recorded_interval(metric, score, recorded, samples)


def _names(groups: Sequence[Group]) -> str:
    names = list(dict.fromkeys(group.title for group in groups))
    return names[0] if len(names) == 1 else f"{method_name(groups[0].method, groups[0].quantization)} (best examples)"
