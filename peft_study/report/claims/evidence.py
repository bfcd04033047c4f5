"""Compares two sets of runs by the strongest test that the data allows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

import pandas as pd

from peft_study.metrics.choices import Choice
from peft_study.metrics.differences import Difference, compare_methods
from peft_study.metrics.intervals import RESAMPLES, counts_hits, recorded_interval
from peft_study.metrics.method_scores import MethodScore, run_variance
from peft_study.metrics.shares import WIDTH
from peft_study.report.caveats import caveats
from peft_study.report.claims.comparison import POWER_POINTS, Best, Comparison, Scope, Test
from peft_study.report.groups import Group
from peft_study.report.names import method_name
from peft_study.report.read import per_sample
from peft_study.report.read.per_sample import Run
from peft_study.report.read.predictions import PredictionsOf

# The deviations on all resamples take 80 kB for each configuration and score.
_KEPT = 2_048


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
        # Found by name and model, as a claim over 3,300 configurations asks for each of them.
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
        """Return configurations by name; None matches any."""
        groups = self._by_name.get((method, quantization, model), [])
        return [group for group in groups if dataset in (None, group.dataset)]

    def caveats(self, cells: Iterable[str]) -> tuple[str, ...]:
        """Return what a reader must know of the configurations of some cells."""
        return caveats(self._of(cells))

    def coverage(self, cells: Iterable[str]) -> tuple[str, ...]:
        """Return the number of models and data sets of some cells, in a sentence; empty without cells."""
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
        """Return the configuration with the best score and those that it was chosen from; None without a score."""
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
        """Compare the mean score of some configurations with that of others.

        Each configuration's score is its mean over seeds, and all have the same weight.

        Args:
            label: what is compared.
            first: configurations on one data set.
            second: configurations on the same data set.
            metric: a score from 0 to 1.
            other: the evidence of `second`; None if it is this one.

        Returns:
            None if a score is missing.
        """
        sides = [
            [choice if isinstance(choice, Best) else Best((choice,), ((choice,),)) for choice in side]
            for side in (first, second)
        ]
        chosen = [[group for choice in side for group in choice.chosen] for side in sides]
        if not all(side and all(group.score(metric) for group in side) for side in chosen):
            return None
        homes = (self, other or self)
        means = [_mean(side, metric) for side in sides]
        backs = (other, self)
        choices = [home._choices(side, metric, back) for home, side, back in zip(homes, sides, backs, strict=True)]
        placed = [(home, group) for home, side in zip(homes, chosen, strict=True) for group in side]
        # The paper prints neither seeds nor predictions, so nothing of its numbers alone can be tested.
        printed = all(group.printed for _, group in placed)
        tested = None if printed else compare_methods(choices[0], choices[1])
        names = [_names(side) for side in chosen]
        cells = tuple(dict.fromkeys(cell for _, group in placed for cell in group.cells_with(metric)))
        told = [home._samples(group, metric) for home, group in placed]
        test = Test.printed if printed else _test(tested, choices)
        plain = Comparison(
            *(label, names[0], names[1], means[0], means[1], means[0] - means[1]),
            *(None, None, None),
            *(test, cells),
            samples=min((number for number in told if number is not None), default=None),
            scope=Scope.printed if printed else Scope.methods,
            ratio=(means[0] / means[1], None, None) if means[1] else None,
        )
        single = any(home._score(group, metric)[0].run_variance is None for home, group in placed)
        return plain if tested is None else _with_test(plain, tested, pooled=single and tested.of_methods)

    def spread_of_runs(self, dataset: str | None, metric: str, *, trained: bool) -> tuple[float, float, float] | None:
        """Return the variance between runs of a configuration, pooled over configurations with several seeds.

        Args:
            dataset: the data set of the scores.
            metric: the score's name.
            trained: whether to pool trained methods, or else prompting.

        Returns:
            The variance due to the runs alone, the variance as observed, and its degrees of freedom; None if no
            configuration has several seeds.
        """
        # Training and a draw of examples are separate sources of chance, so they are not pooled.
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
            # Weighted by degrees of freedom, so that a method with five seeds counts more than one with two.
            freedom = sum(score.runs - 1 for score in same)
            self._spreads[key] = None
            if freedom:
                alone = sum((score.runs - 1) * (score.run_variance or 0.0) for score in same) / freedom
                observed = sum((score.runs - 1) * score.run_spread for score in same) / freedom
                self._spreads[key] = alone, observed, float(freedom)
        return self._spreads[key]

    def _choices(self, side: Sequence[Best], metric: str, back: "Evidence | None") -> list[Choice]:
        """Return the scores of a side; `back` gives the spread between runs if these rows do not."""
        return [
            Choice(
                self._scores_of(choice.chosen, metric, back),
                tuple(self._scores_of(option, metric, back) for option in choice.options),
            )
            for choice in side
        ]

    def _scores_of(self, groups: Sequence[Group], metric: str, back: "Evidence | None") -> tuple[MethodScore, ...]:
        return tuple(self._with_spread(group, metric, back) for group in groups if group.score(metric) is not None)

    def _with_spread(self, group: Group, metric: str, back: "Evidence | None") -> MethodScore:
        """Return a configuration's score; a single seed gets the spread of other configurations."""
        score = self._score(group, metric)[0]
        if score.run_variance is not None:
            return score
        trained = group.trained
        pooled = self.spread_of_runs(group.dataset, metric, trained=trained)
        if pooled is None and back is not None:
            pooled = back.spread_of_runs(group.dataset, metric, trained=trained)
        return score if pooled is None else score.with_run_variance(*pooled)

    def _samples(self, group: Group, metric: str) -> float | None:
        """Return the number of test samples of a score; for a level's score, of that level."""
        scored_samples = self._score(group, metric)[1]
        return group.test_samples if scored_samples is None else scored_samples

    def _score(self, group: Group, metric: str) -> tuple[MethodScore, float | None]:
        """Return a configuration's score, and the number of samples if its predictions are known."""
        # Groups live as long as the evidence, so their ids stay distinct.
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


def _mean(side: Sequence[Best], metric: str) -> float:
    """Return the mean over choices, of the mean over the configurations of each."""
    # Models count alike, however many seeds they have.
    return fmean(
        fmean(score.mean for group in choice.chosen if (score := group.score(metric)) is not None) for choice in side
    )


def _test(tested: Difference | None, choices: Sequence[Sequence[Choice]]) -> Test:
    if tested is None:
        return Test.summary
    if tested.paired:
        return Test.paired
    has_intervals = [
        all(part.sample_variance is not None for choice in side for part in choice.chosen) for side in choices
    ]
    return Test.intervals if all(has_intervals) else Test.one_interval


def _with_test(plain: Comparison, tested: Difference, *, pooled: bool) -> Comparison:
    low, high = tested.ends()
    return replace(
        plain,
        low=low,
        high=high,
        p_value=tested.p_value,
        # With one seed and no spread from elsewhere, the interval is of the samples only.
        scope=Scope.methods if tested.of_methods else Scope.runs,
        pooled=pooled,
        choices=tested.choices,
        power=tested.power(POWER_POINTS, 0.05),
        ratio=tested.ratio,
        tested=tested,
    )


def _from_summary(group: Group, metric: str) -> MethodScore:
    """Return a score from the scores and intervals of cells, as if all runs were on the same samples."""
    scored = group.scored(metric)
    scores = [float(value) for value in scored[metric].tolist()]
    samples = group.test_samples
    columns = [
        scored[name].tolist() if (name := f"{metric}_{end}") in scored else [math.nan] * len(scored)
        for end in ("low", "high")
    ]
    # A share of hits without a recorded interval has Wilson's, by the number of samples.
    ends = [
        recorded_interval(metric, score, None if math.isnan(low) or math.isnan(high) else (low, high), samples)
        for score, low, high in zip(scores, *columns, strict=True)
    ]
    widths = [pair[1] - pair[0] for pair in ends if pair is not None]
    variance = run_variance(scores, None) if group.drawn else 0.0
    # Newcombe's interval is of two shares of single runs; a mean over seeds is not a share of samples.
    single = len(scores) == 1 and counts_hits(metric) and "/" not in metric
    return MethodScore(
        estimate=fmean(scores),
        # The widths are averaged and not divided by the runs, which share their samples.
        sample_variance=(fmean(widths) / (2 * WIDTH)) ** 2 if len(widths) == len(scores) else None,
        samples=samples,
        share_samples=samples if single else None,
        run_variance=variance,
        run_spread=variance or 0.0,
        run_freedom=len(scores) - 1 if group.drawn and len(scores) > 1 else math.inf,
        runs=len(scores),
    )


def _names(groups: Sequence[Group]) -> str:
    names = list(dict.fromkeys(group.title for group in groups))
    return names[0] if len(names) == 1 else f"{method_name(groups[0].method, groups[0].quantization)} (best examples)"
