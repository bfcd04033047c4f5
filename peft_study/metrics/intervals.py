"""How far a score can be trusted: intervals over samples, and over seeds and samples together.

The samples are drawn anew with replacement (the bootstrap). A score that is pooled over a corpus is computed anew from
the sums of its samples' counts, so that it is resampled like a mean. Samples that belong together, such as several
phrasings of one question, are drawn together. Shares of hits have score intervals, which hold where hits are few.
"""

import math
import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from peft_study.metrics.scores import Values
from peft_study.metrics.shares import CONFIDENCE, normal_quantile, share_interval, wilson

Floats = NDArray[np.float64]
PooledScore = Callable[[Floats], Floats]
"""From sums of counts, (..., columns), to scores, (...); NaN where undefined."""
Clusters = Sequence[Hashable]
"""Of every sample what it belongs to; samples with an equal value are drawn together."""

RESAMPLES = 10_000
# Resamples scored at once: 4 MB at 543 samples.
_AT_ONCE = 1_000
# Values that differ by less are equal but for their last bits.
_EQUAL = 1e-12


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
class Spread:
    """A score over several seeds.

    Attributes:
        mean: over the runs.
        standard_deviation: of the runs (dividing by their number less 1); None for a single one.
        low: lower end of the 95 % interval, over seeds and samples; of a single run over its samples alone. None where
            the runs' own intervals are not known.
        high: upper end; likewise.
        runs: how many.
    """

    mean: float
    standard_deviation: float | None
    low: float | None
    high: float | None
    runs: int


def mean_interval(
    values: Sequence[float | None], resamples: int = RESAMPLES, seed: int = 0, clusters: Clusters | None = None
) -> Interval:
    """The 95% interval of a mean of shares; see `mean_intervals`.

    Args:
        values: one a sample, from 0 to 1; None is left out of the mean.
        resamples: how often the samples are drawn.
        seed: of the draws.
        clusters: of the samples; None where each stands for itself.

    Raises:
        ValueError: there is no sample.
    """
    if not values:
        raise ValueError("the interval of no sample is undefined")
    return mean_intervals([{"": value} for value in values], resamples, seed, clusters)[""]


def mean_intervals(
    samples: Sequence[Values], resamples: int = RESAMPLES, seed: int = 0, clusters: Clusters | None = None
) -> dict[str, Interval]:
    """The 95% intervals of many means of shares over the same samples.

    A score whose samples are hits and misses has the interval of a share (`shares.share_interval`). Others have the
    bootstrap's percentiles, all from the same draws. Where all samples have the same value, the interval is as wide as
    their number allows: another value may be as frequent as one that was never seen.

    Args:
        samples: scores of every sample by name, from 0 to 1; one that is None, or not there, is left out of its mean.
        resamples: how often the samples are drawn.
        seed: of the draws.
        clusters: of the samples; None where each stands for itself.
    """
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    if not names:
        return {}
    values = np.array([[_or_nan(sample.get(name)) for name in names] for sample in samples])
    counts = by_cluster(np.concatenate([np.nan_to_num(values), ~np.isnan(values)], axis=1), clusters)

    def means(sums: Floats) -> Floats:
        return mean_of_counts(np.stack([sums[..., : len(names)], sums[..., len(names) :]], axis=-1))

    drawn = resampled(counts, means, resamples, seed).reshape(-1, len(names))
    return {
        name: _mean_interval(column, _ends(resampled_means), clusters)
        for name, column, resampled_means in zip(names, values.T, drawn.T, strict=True)
    }


def pooled_interval(
    counts: Floats,
    score: PooledScore,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> Interval:
    """The 95% bootstrap interval of a score that is pooled over a corpus, by percentiles.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.

    Args:
        counts: (samples, columns), what adds up.
        score: of sums over a corpus, from 0 to 1.
        resamples: how often the samples are drawn.
        seed: of the draws.
        clusters: of the samples; None where each stands for itself.

    Returns:
        The corpus' score and its interval; no interval for a single sample. Where all resamples have the same score,
        the interval is as wide as the number of samples allows.

    Raises:
        ValueError: there is no sample.
    """
    if not len(counts):
        raise ValueError("the interval of no sample is undefined")
    estimate = float(score(counts.sum(axis=0)))
    rows = by_cluster(counts, clusters)
    low, high = _ends(resampled(rows, score, resamples, seed))
    if low is not None and high is not None and high - low < _EQUAL:
        low, high = _unseen(estimate, len(rows))
    return Interval(_known(estimate), low, high)


def seeds_interval(scores: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> Spread:
    """The mean of a score over runs that differ in their seed, with its 95% interval over seeds and samples.

    The squared standard error is that of one run over its samples, as all runs have the same samples, and the variance
    between runs divided by their number. Satterthwaite's degrees of freedom. A single run's interval is its own.

    Source: Satterthwaite 1946, Biometrics Bulletin 2.

    Args:
        scores: one a run, from 0 to 1.
        intervals: of each run over its samples; None where it is not known.

    Raises:
        ValueError: there is no run.
    """
    if not scores:
        raise ValueError("the spread of no run is undefined")
    mean, runs = statistics.fmean(scores), len(scores)
    deviation = statistics.stdev(scores) if runs > 1 else None
    known = [ends for ends in intervals if ends is not None]
    if len(known) < runs:
        return Spread(mean, deviation, None, None, runs)
    if not deviation:
        return Spread(mean, deviation, *known[0], runs)
    of_samples = (statistics.fmean(high - low for low, high in known) / (2 * normal_quantile())) ** 2
    of_runs = deviation**2 / runs
    total = of_samples + of_runs
    freedom = (runs - 1) * (total / of_runs) ** 2
    half = student_quantile(CONFIDENCE, freedom) * math.sqrt(total)
    return Spread(mean, deviation, max(0.0, mean - half), min(1.0, mean + half), runs)


def counts_hits(metric: str) -> bool:
    """Whether a score is the share of samples that are hit, by its name: "em@10", "raw_em@1", "apps_top@1"."""
    return metric.rpartition("/")[2].removeprefix("raw_").removeprefix("apps_").startswith(("em@", "top@"))


def recorded_interval(
    metric: str, score: float | None, ends: tuple[float, float] | None, samples: float | None
) -> tuple[float, float] | None:
    """The interval of a finished run's score, from what its record holds.

    Earlier records hold intervals without any width where all samples had the same value.

    Args:
        metric: the score's name.
        score: from 0 to 1.
        ends: as recorded; None where nothing was.
        samples: how many test samples there are; None where that is not known.

    Returns:
        None where neither the record nor the number of samples tells.
    """
    if score is None or (ends is not None and ends[1] - ends[0] > _EQUAL):
        return ends
    # A level's score is of fewer samples than there are.
    if samples is None or samples < 2 or not 0 <= score <= 1 or "/" in metric:
        return None
    if counts_hits(metric):
        return share_interval(score, samples)
    return None if ends is None else _unseen(score, samples)


def student_quantile(confidence: float, freedom: float) -> float:
    """Half the width of a two-sided interval by Student's distribution, in standard errors.

    Args:
        confidence: from 0 to 1.
        freedom: degrees of freedom; infinite for the normal distribution.
    """
    if math.isinf(freedom):
        return normal_quantile(confidence)
    # Imported where needed: a command that is refused has no use for it.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def by_cluster(counts: Floats, clusters: Clusters | None) -> Floats:
    """Sums of counts by cluster, (clusters, ...), in the order of their first samples; as they are without clusters."""
    if clusters is None:
        return counts
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(name, len(places)) for name in clusters], dtype=np.intp)
    sums = np.zeros((len(places), *counts.shape[1:]))
    np.add.at(sums, index, counts)
    return sums


def effective_samples(values: Floats, clusters: Clusters | None) -> float:
    """How many independent samples tell as much of a mean as these.

    Source: Kish 1965, Survey Sampling, section 8.2; the design effect is the variance by clusters to that without.

    Args:
        values: one a sample.
        clusters: of the samples; None where each stands for itself.
    """
    number = len(values)
    if clusters is None:
        return float(number)
    deviations = values - values.mean()
    independent = float((deviations**2).sum())
    sums = by_cluster(deviations, clusters)
    if independent < _EQUAL or len(sums) < 2:
        return float(len(sums))
    effect = float((sums**2).sum()) * len(sums) / (len(sums) - 1) / independent
    return number / max(1.0, effect)


def as_counts(values: Sequence[float | None]) -> Floats:
    """Give each value and whether there is one, (values, 2), whose sums make a mean."""
    return np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values], dtype=float).reshape(-1, 2)


def mean_of_counts(sums: Floats) -> Floats:
    """Means, (...), from sums of `as_counts`, (..., 2); NaN of nothing."""
    total, number = sums[..., 0], sums[..., 1]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def resampled(run: Floats, score: PooledScore, resamples: int, seed: int) -> Floats:
    """Score a run on each resample: (resamples,), or more axes where the score has more; empty for a single sample.

    Runs of as many samples, in the same order, are scored on the same resamples, as these follow from the seed.

    Args:
        run: (samples, columns), what adds up.
        score: of sums.
        resamples: how often the samples are drawn.
        seed: of the draws.
    """
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


def _mean_interval(values: Floats, ends: tuple[float | None, float | None], clusters: Clusters | None) -> Interval:
    """The interval of one mean, where its percentiles are known."""
    present = ~np.isnan(values)
    known = values[present]
    if not len(known):
        return Interval(None, None, None)
    estimate = float(known.mean())
    if len(known) < 2:
        return Interval(estimate, None, None)
    of_known = None if clusters is None else [name for name, kept in zip(clusters, present, strict=True) if kept]
    samples = effective_samples(known, of_known)
    if np.isin(known, (0.0, 1.0)).all():
        return Interval(estimate, *share_interval(estimate, samples))
    if np.ptp(known) < _EQUAL:
        return Interval(estimate, *_unseen(estimate, samples))
    return Interval(estimate, *ends)


def _unseen(estimate: float, samples: float) -> tuple[float, float]:
    """Where a mean of shares may lie if all samples have the same one: a rarer one may not have been seen."""
    unseen = wilson(0.0, samples)[1]
    return estimate * (1 - unseen), estimate + (1 - estimate) * unseen


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
