"""The bootstrap: scores on samples that are drawn with replacement.

A score that is pooled over a corpus is computed from the sums of its samples' counts, so it is resampled like a mean.
Samples that belong together, such as several phrasings of one question, are drawn together.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from peft_study.metrics.scores import Floats

PooledScore = Callable[[Floats], Floats]
"""From sums of counts, (..., columns), to scores, (...); NaN if undefined."""
Clusters = Sequence[Hashable]
"""What each sample belongs to. Samples with equal values are drawn together."""

EQUAL = 1e-12
"""Values that differ by less differ by rounding alone."""
_SEED = 0
_AT_ONCE = 1_000  # resamples scored at once: 4 MB at 543 samples


def by_cluster(counts: Floats, clusters: Clusters | None) -> Floats:
    """Sum counts by cluster.

    Args:
        counts: (samples, ...).
        clusters: of the samples; None if each sample is a cluster.

    Returns:
        (clusters, ...), in the order of their first samples.
    """
    if clusters is None:
        return counts
    numbers: dict[Hashable, int] = {}
    indices = np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.intp)
    sums = np.zeros((len(numbers), *counts.shape[1:]))
    # Not `sums[indices] += counts`, which adds only one of several rows with the same index.
    np.add.at(sums, indices, counts)
    return sums


def effective_samples(values: Floats, clusters: Clusters | None) -> float:
    """Return how many independent samples would give a mean with the same variance.

    Source: Kish 1965, Survey Sampling, section 8.2. The design effect is the ratio of the variance by clusters to the
    variance of independent samples.

    Args:
        values: (samples,).
        clusters: of the samples; None if each sample is a cluster.
    """
    number = len(values)
    if clusters is None:
        return float(number)
    deviations = values - values.mean()
    independent = float((deviations**2).sum())
    sums = by_cluster(deviations, clusters)
    if independent < EQUAL or len(sums) < 2:
        return float(len(sums))
    effect = float((sums**2).sum()) * len(sums) / (len(sums) - 1) / independent
    # By chance the effect may be below 1; clusters never count as more than their samples.
    return number / max(1.0, effect)


def as_counts(values: Sequence[float | None]) -> Floats:
    """Return each value and 1, or two zeros for None: (values, 2), whose sums make a mean."""
    # An empty sequence keeps its second axis by the reshape.
    return np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values], dtype=float).reshape(-1, 2)


def mean_of_counts(sums: Floats) -> Floats:
    """Return means, (...), from sums of `as_counts`, (..., 2); NaN for the mean of nothing."""
    total, number = sums[..., 0], sums[..., 1]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def resampled(run: Floats, score: PooledScore, resamples: int) -> Floats:
    """Score a run on each resample.

    The resamples follow from the number of samples alone. Runs with the same samples in the same order are therefore
    scored on the same resamples.

    Args:
        run: (samples, columns), the counts.
        score: of sums of counts.
        resamples: number of resamples.

    Returns:
        (resamples,), or more axes if the score has more; empty for a single sample.
    """
    scores = [score(times.astype(float) @ run) for times in _draws(len(run), resamples)]
    return np.concatenate(scores) if scores else np.empty(0)


# A report compares hundreds of runs on the same samples, and drawing takes most of the time.
@lru_cache(maxsize=2)
def _draws(samples: int, resamples: int) -> Sequence[NDArray[np.uint8]]:
    """How often each sample occurs in each resample: (resamples, samples), in parts; empty for a single sample."""
    generator = np.random.default_rng(_SEED)
    parts = []
    for start in range(0, resamples if samples > 1 else 0, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        drawn = generator.integers(samples, size=(size, samples)) + samples * np.arange(size)[:, None]
        # With fewer than 256 samples a count is at most 255. With more, a larger count practically never occurs.
        times = np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples)
        # A byte each: 10,000 resamples of 543 samples stay in the cache with 5 MB.
        parts.append(np.minimum(times, 255).astype(np.uint8))
    return parts
