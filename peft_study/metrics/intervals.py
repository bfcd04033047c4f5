"""Intervals of a run's scores over its test samples, and of a score over runs with different seeds.

Shares of hits have score intervals, which hold if hits are few. Other scores have the percentiles of the bootstrap.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peft_study.metrics.distributions import student_quantile
from peft_study.metrics.resampling import (
    EQUAL,
    Clusters,
    PooledScore,
    by_cluster,
    effective_samples,
    mean_of_counts,
    resampled,
)
from peft_study.metrics.scores import Floats, Values
from peft_study.metrics.shares import CONFIDENCE, WIDTH, share_interval, wilson

RESAMPLES = 10_000
_SHARES_OF_HITS = frozenset({"em", "raw_em", "em_package", "top", "apps_top", "apps_package_top"})


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval.

    Attributes:
        estimate: the score; None if undefined.
        low: lower end; None if undefined.
        high: upper end; None if undefined.
    """

    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Spread:
    """A score over several seeds.

    Attributes:
        mean: over the runs.
        standard_deviation: of the runs, with the divisor n - 1; None for a single run.
        low: lower end of the 95 % interval over seeds and samples. For a single run it is over the samples alone. None
            if the intervals of the runs are unknown.
        high: upper end of the same interval.
        runs: number of runs.
    """

    mean: float
    standard_deviation: float | None
    low: float | None
    high: float | None
    runs: int


def mean_intervals(
    samples: Sequence[Values], resamples: int = RESAMPLES, clusters: Clusters | None = None
) -> dict[str, Interval]:
    """Return the 95 % intervals of many means of shares over the same samples.

    A score whose samples are hits and misses has the interval of a share (`shares.share_interval`). Other scores have
    the percentiles of the bootstrap, all from the same draws. If all samples have the same value, the interval is as
    wide as their number allows, because samples with other values may not have been seen.

    Args:
        samples: scores of every sample by name, from 0 to 1. A score that is None or absent is left out of its mean.
        resamples: number of resamples.
        clusters: of the samples; None if each sample is a cluster.
    """
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    if not names:
        return {}
    table = [[sample.get(name) for name in names] for sample in samples]
    values = np.array([[math.nan if value is None else value for value in row] for row in table])
    # Values beside the number of values, so that a mean over the samples that have a score can be resampled.
    counts = by_cluster(np.concatenate([np.nan_to_num(values), ~np.isnan(values)], axis=1), clusters)

    def means(sums: Floats) -> Floats:
        return mean_of_counts(np.stack([sums[..., : len(names)], sums[..., len(names) :]], axis=-1))

    # One draw serves all scores, because drawing takes most of the time.
    by_resample = resampled(counts, means, resamples).reshape(-1, len(names))
    return {
        name: _mean_interval(column, _percentiles(resampled_means), clusters)
        for name, column, resampled_means in zip(names, values.T, by_resample.T, strict=True)
    }


def pooled_interval(
    counts: Floats, score: PooledScore, resamples: int = RESAMPLES, clusters: Clusters | None = None
) -> Interval:
    """Return the 95 % bootstrap interval of a score that is pooled over a corpus, by percentiles.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.

    Args:
        counts: (samples, columns).
        score: of sums of counts, from 0 to 1.
        resamples: number of resamples.
        clusters: of the samples; None if each sample is a cluster.

    Returns:
        The score of the corpus and its interval; no interval for a single sample. If all resamples have the same
        score, the interval is as wide as the number of samples allows.

    Raises:
        ValueError: counts is empty.
    """
    if not len(counts):
        raise ValueError("counts must hold at least one sample, got an empty array")
    estimate = float(score(counts.sum(axis=0)))
    rows = by_cluster(counts, clusters)
    low, high = _percentiles(resampled(rows, score, resamples))
    # A bootstrap of equal samples has a width of 0, which would claim certainty.
    if low is not None and high is not None and high - low < EQUAL:
        low, high = _unseen(estimate, len(rows))
    return Interval(None if math.isnan(estimate) else estimate, low, high)


def seeds_interval(scores: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> Spread:
    """Return the mean of a score over runs that differ in their seed, with its 95 % interval over seeds and samples.

    The squared standard error adds two parts: the variance of one run over its samples, as all runs share them, and
    the variance between runs divided by their number. The degrees of freedom are Satterthwaite's. A single run keeps
    its interval.

    Source: Satterthwaite 1946, Biometrics Bulletin 2.

    Args:
        scores: the score of each run, from 0 to 1.
        intervals: the interval of each run over its samples; None if unknown.

    Raises:
        ValueError: scores is empty.
    """
    if not scores:
        raise ValueError("scores must hold at least one run, got an empty sequence")
    mean, runs = statistics.fmean(scores), len(scores)
    deviation = statistics.stdev(scores) if runs > 1 else None
    ends = [interval for interval in intervals if interval is not None]
    if len(ends) < runs:
        return Spread(mean, deviation, None, None, runs)
    # Runs with equal scores add nothing to the interval over samples.
    if not deviation:
        return Spread(mean, deviation, *ends[0], runs)
    of_samples = (statistics.fmean(high - low for low, high in ends) / (2 * WIDTH)) ** 2
    of_runs = deviation**2 / runs
    total = of_samples + of_runs
    freedom = (runs - 1) * (total / of_runs) ** 2
    # With three seeds the normal quantile would be too narrow: their variance is itself uncertain.
    half = student_quantile(CONFIDENCE, freedom) * math.sqrt(total)
    return Spread(mean, deviation, max(0.0, mean - half), min(1.0, mean + half), runs)


def counts_hits(metric: str) -> bool:
    """Return whether a score is a share of hits, by its name: "em@10", "em_package@1", "apps_top@1"."""
    return metric.rpartition("/")[2].partition("@")[0] in _SHARES_OF_HITS


def recorded_interval(
    metric: str, score: float | None, ends: tuple[float, float] | None, samples: float | None
) -> tuple[float, float] | None:
    """Return the interval of a finished run's score, from its record.

    Records of earlier versions hold intervals of width 0 if all samples had the same value. These are widened.

    Args:
        metric: the score's name.
        score: from 0 to 1.
        ends: the recorded interval; None if absent.
        samples: number of test samples; None if unknown.

    Returns:
        None if neither the record nor the number of samples determines the interval.
    """
    if score is None or (ends is not None and ends[1] - ends[0] > EQUAL):
        return ends
    # The number of samples of a single level is not in the record.
    if samples is None or samples < 2 or not 0 <= score <= 1 or "/" in metric:
        return None
    if counts_hits(metric):
        return share_interval(score, samples)
    return None if ends is None else _unseen(score, samples)


def _percentiles(scores: Floats) -> tuple[float | None, float | None]:
    # A pooled score may be undefined on a resample, for example CodeBLEU if no reference has code.
    defined = scores[~np.isnan(scores)]
    if not len(defined):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _mean_interval(values: Floats, ends: tuple[float | None, float | None], clusters: Clusters | None) -> Interval:
    """The interval of the mean of `values` without NaN. `ends` are the percentiles of the bootstrap."""
    present = ~np.isnan(values)
    defined = values[present]
    if not len(defined):
        return Interval(None, None, None)
    estimate = float(defined.mean())
    if len(defined) < 2:
        return Interval(estimate, None, None)
    defined_clusters = None if clusters is None else list(itertools.compress(clusters, present))
    samples = effective_samples(defined, defined_clusters)
    # Without any hit the bootstrap has a width of 0, so hits and misses have the interval of a share.
    if np.isin(defined, (0.0, 1.0)).all():
        return Interval(estimate, *share_interval(estimate, samples))
    if np.ptp(defined) < EQUAL:
        return Interval(estimate, *_unseen(estimate, samples))
    return Interval(estimate, *ends)


def _unseen(estimate: float, samples: float) -> tuple[float, float]:
    """The interval of a mean of shares if all samples have the same value. A rare other value may be unseen."""
    unseen = wilson(0.0, samples)[1]
    return estimate * (1 - unseen), estimate + (1 - estimate) * unseen
