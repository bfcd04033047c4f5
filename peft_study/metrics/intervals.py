"""How far a score can be trusted: intervals over samples, differences of two runs, spread over seeds.

The samples are drawn anew with replacement (the bootstrap). A score that is pooled over a corpus is computed anew from
the sums of its samples' counts, so that it is resampled like a mean.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from peft_study.metrics.scores import Values

Floats = NDArray[np.float64]
PooledScore = Callable[[Floats], Floats]
"""From sums of counts, (..., columns), to scores, (...); NaN where undefined."""

RESAMPLES = 10_000
CONFIDENCE = 0.95
# Equal differences of scores may differ in their last bits.
_TIE = 1e-12
# Resamples scored at once: 4 MB at 543 samples.
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Interval:
    """A score and where it may as well have been; None where undefined.

    Attributes:
        estimate: the score.
        low: lower end.
        high: upper end.
    """

    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Interval):
    """The first run's score less the second's.

    Attributes:
        p_value: how often a difference at least as large, of either sign, would occur if there were none.
    """

    p_value: float | None


@dataclass(frozen=True)
class Spread:
    """A score over several seeds.

    Attributes:
        mean: over the runs.
        standard_deviation: of the runs (dividing by their number less 1); None for a single one.
        low: the lowest run.
        high: the highest run.
        runs: how many.
    """

    mean: float
    standard_deviation: float | None
    low: float
    high: float
    runs: int


def mean_interval(values: Sequence[float | None], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The 95% bootstrap interval of a mean; see `pooled_interval`.

    Args:
        values: one a sample; None is left out of the mean.
        resamples: how often the samples are drawn.
        seed: of the draws.
    """
    return pooled_interval(as_counts(values), mean_of_counts, resamples, seed)


def mean_intervals(samples: Sequence[Values], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """The 95% bootstrap intervals of many means over the same samples, all from the same draws; see `pooled_interval`.

    Args:
        samples: scores of every sample by name; one that is None, or not there, is left out of its mean.
        resamples: how often the samples are drawn.
        seed: of the draws.
    """
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    if not names:
        return {}
    values = np.array([[_or_nan(sample.get(name)) for name in names] for sample in samples])
    counts = np.concatenate([np.nan_to_num(values), ~np.isnan(values)], axis=1)

    def means(sums: Floats) -> Floats:
        return mean_of_counts(np.stack([sums[..., : len(names)], sums[..., len(names) :]], axis=-1))

    estimates = means(counts.sum(axis=0))
    drawn = _resampled(counts, means, resamples, seed).reshape(-1, len(names))
    return {
        name: Interval(_known(float(estimate)), *_ends(column))
        for name, estimate, column in zip(names, estimates, drawn.T, strict=True)
    }


def pooled_interval(counts: Floats, score: PooledScore, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The 95% bootstrap interval of a score that is pooled over a corpus, by percentiles.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.

    Args:
        counts: (samples, columns), what adds up.
        score: of sums over a corpus.
        resamples: how often the samples are drawn.
        seed: of the draws.

    Returns:
        The corpus' score and its interval; no interval for a single sample.

    Raises:
        ValueError: there is no sample.
    """
    estimate = _of_corpus(counts, score)
    low, high = _ends(_resampled(counts, score, resamples, seed))
    return Interval(_known(estimate), low, high)


def mean_difference(
    first: Sequence[float | None], second: Sequence[float | None], resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare the means of two runs on the same samples; see `pooled_difference`.

    Args:
        first: one value a sample; None is left out of the mean.
        second: as many, in the same order.
        resamples: how often the samples are drawn.
        seed: of the draws.
    """
    return pooled_difference(as_counts(first), as_counts(second), mean_of_counts, resamples, seed)


def pooled_difference(
    first: Floats,
    second: Floats,
    score: PooledScore,
    resamples: int = RESAMPLES,
    seed: int = 0,
    factor: float = 1.0,
    second_score: PooledScore | None = None,
) -> Difference:
    """Compare the pooled scores of two runs on the same samples by the paired bootstrap.

    Both runs are scored on each resample. The interval is by percentiles. The p-value shifts the resampled differences
    to a mean of none (Efron and Tibshirani 1993, section 16.4): p = (1 + #{|d* - d| >= |d|}) / (1 + resamples), with
    d the difference and d* a resampled one, where counting the sample itself keeps p above 0 (Davison and Hinkley 1997,
    Bootstrap Methods and their Application, section 4.2).

    Args:
        first: (samples, columns), what adds up.
        second: as many, in the same order.
        score: of sums over a corpus.
        resamples: how often the samples are drawn.
        seed: of the draws.
        factor: by which the second's score is multiplied before it is subtracted.
        second_score: of the second's sums, where its columns are others.

    Returns:
        The difference; neither interval nor p-value for a single sample.

    Raises:
        ValueError: there is no sample, or the numbers differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} samples of one run, {len(second)} of the other: they are compared in pairs")
    other = second_score or score
    estimate = _of_corpus(first, score) - factor * _of_corpus(second, other)
    # The same draws: they follow from the seed.
    scores = [_resampled(run, its, resamples, seed) for run, its in ((first, score), (second, other))]
    differences = scores[0] - factor * scores[1]
    low, high = _ends(differences)
    if low is None or math.isnan(estimate):
        return Difference(_known(estimate), low, high, None)
    extreme = np.abs(differences - estimate) >= abs(estimate) - _TIE
    return Difference(estimate, low, high, (1 + int(extreme.sum())) / (1 + len(differences)))


def spread(values: Sequence[float]) -> Spread:
    """Sum up one score over seeds.

    Raises:
        ValueError: there is no run.
    """
    if not values:
        raise ValueError("the spread of no run is undefined")
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, min(values), max(values), len(values))


def as_counts(values: Sequence[float | None]) -> Floats:
    """Give each value and whether there is one, (values, 2), whose sums make a mean."""
    return np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values], dtype=float).reshape(-1, 2)


def mean_of_counts(sums: Floats) -> Floats:
    """Means, (...), from sums of `as_counts`, (..., 2); NaN of nothing."""
    total, number = sums[..., 0], sums[..., 1]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _of_corpus(counts: Floats, score: PooledScore) -> float:
    if not len(counts):
        raise ValueError("the interval of no sample is undefined")
    return float(score(counts.sum(axis=0)))


def _resampled(run: Floats, score: PooledScore, resamples: int, seed: int) -> Floats:
    """Score a run on each resample: (resamples,), or more axes where the score has more."""
    scores = [score(times.astype(float) @ run) for times in _draws(len(run), resamples, seed)]
    return np.concatenate(scores) if scores else np.empty(0)


@lru_cache(maxsize=2)
def _draws(samples: int, resamples: int, seed: int) -> Sequence[NDArray[np.uint8]]:
    """How often each sample occurs in each resample: (resamples, samples), in parts. None for a single sample.

    Kept, as a report compares hundreds of runs on the same samples, and drawing takes most of the time.
    """
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples if samples > 1 else 0, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        drawn = generator.integers(samples, size=(size, samples)) + samples * np.arange(size)[:, None]
        # Of fewer than 256 samples none is drawn more than 255 times, and of more none ever is.
        times = np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples)
        parts.append(np.minimum(times, 255).astype(np.uint8))
    return parts


def _ends(resampled: Floats) -> tuple[float | None, float | None]:
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
