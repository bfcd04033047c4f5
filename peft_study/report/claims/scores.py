"""The scores of configurations with their variances over samples and between runs."""

import math
from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from peft_study.metrics.intervals import RESAMPLES, counts_hits, recorded_interval
from peft_study.metrics.method_scores import MethodScore, run_variance
from peft_study.metrics.shares import WIDTH
from peft_study.report.groups import Group, runs_of
from peft_study.report.read import per_sample
from peft_study.report.read.per_sample import PredictionsOf, Run

# The deviations on all resamples take 80 kB for each configuration and score.
_CACHED_SCORES = 2_048


class Scores:
    """The scores of a study's configurations, each computed once.

    Args:
        groups: the configurations.
        predictions_of: reads a cell's predictions; None to use the scores and intervals of the records alone.
        resamples: number of bootstrap resamples.
    """

    def __init__(
        self, groups: Sequence[Group], predictions_of: PredictionsOf | None = None, resamples: int = RESAMPLES
    ) -> None:
        self._groups = groups
        self._predictions_of = predictions_of
        self._resamples = resamples
        self._cache: dict[tuple[Group, str], tuple[MethodScore, float | None]] = {}
        self._run_spreads: dict[tuple[str | None, str, bool], tuple[float, float, float] | None] = {}

    def of(self, group: Group, metric: str) -> tuple[MethodScore, float | None]:
        """Return a configuration's score and its number of test samples; for a level's score, of that level if known.

        Args:
            group: a configuration that has the score.
            metric: the score's name.
        """
        key = (group, metric)
        if key not in self._cache:
            if len(self._cache) >= _CACHED_SCORES:
                del self._cache[next(iter(self._cache))]
            runs = self._runs(group.done[group.done[metric].notna()], metric)
            by_sample = per_sample.method_score(runs, drawn=group.drawn, resamples=self._resamples)
            if by_sample is None:
                self._cache[key] = _from_records(group, metric), group.test_samples
            else:
                self._cache[key] = by_sample, min(run.scored for run in runs if run is not None)
        return self._cache[key]

    def with_run_variance(self, group: Group, metric: str, fallback: "Scores") -> MethodScore:
        """Return a configuration's score; a single seed gets the spread between runs of other configurations.

        Args:
            group: a configuration that has the score.
            metric: the score's name.
            fallback: gives the spread if no configuration here has several seeds.
        """
        score, _ = self.of(group, metric)
        if score.run_variance is not None:
            return score
        pooled = self._run_spread(group, metric) or fallback._run_spread(group, metric)
        return score if pooled is None else score.with_run_variance(*pooled)

    def _run_spread(self, group: Group, metric: str) -> tuple[float, float, float] | None:
        """Pool the variance between runs over the configurations like `group` that have several seeds.

        Returns:
            The variance due to the runs alone, the variance as observed, and its degrees of freedom; None if no
            configuration has several seeds.
        """
        # Training and a draw of examples are separate sources of chance, so they are not pooled.
        key = (group.dataset, metric, group.trained)
        if key not in self._run_spreads:
            scores = [
                self.of(member, metric)[0]
                for member in self._groups
                if member.dataset == group.dataset
                and member.drawn
                and member.trained is group.trained
                and len(member.cells_with(metric)) > 1
            ]
            # Weighted by degrees of freedom, so that a method with five seeds counts more than one with two.
            freedom = sum(score.runs - 1 for score in scores)
            self._run_spreads[key] = None
            if freedom:
                alone = sum((score.runs - 1) * (score.run_variance or 0.0) for score in scores) / freedom
                observed = sum((score.runs - 1) * score.run_spread for score in scores) / freedom
                self._run_spreads[key] = alone, observed, float(freedom)
        return self._run_spreads[key]

    def _runs(self, scored: pd.DataFrame, metric: str) -> list[Run | None]:
        if self._predictions_of is None:
            return [None] * len(scored)
        columns = (scored[name].tolist() for name in ("cell_id", metric, "test_samples"))
        return [
            per_sample.of_cell(self._predictions_of(str(cell)), metric, value, size)
            for cell, value, size in zip(*columns, strict=True)
        ]


def _from_records(group: Group, metric: str) -> MethodScore:
    """Return a score from the scores and intervals of cells, as if all runs were on the same samples."""
    scores, recorded = runs_of(group.done, metric)
    samples = group.test_samples
    # A share of hits without a recorded interval has Wilson's, by the number of samples.
    intervals = [
        recorded_interval(metric, score, interval, samples) for score, interval in zip(scores, recorded, strict=True)
    ]
    widths = [interval[1] - interval[0] for interval in intervals if interval is not None]
    variance = run_variance(scores, None) if group.drawn else 0.0
    # Newcombe's interval is of two shares of single runs; a mean over seeds is not a share of samples.
    is_share = len(scores) == 1 and counts_hits(metric) and "/" not in metric and 0 <= scores[0] <= 1
    return MethodScore(
        estimate=fmean(scores),
        # The widths are averaged and not divided by the runs, which share their samples.
        sample_variance=(fmean(widths) / (2 * WIDTH)) ** 2 if len(widths) == len(scores) else None,
        samples=samples,
        share_samples=samples if is_share else None,
        run_variance=variance,
        run_spread=variance or 0.0,
        run_freedom=len(scores) - 1 if group.drawn and len(scores) > 1 else math.inf,
        runs=len(scores),
    )
