"""The mean score of a configuration over its runs, and its two variances: over samples and between runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from peft_study.metrics.scores import Floats


@dataclass(frozen=True, eq=False)
class MethodScore:
    """The mean score of one configuration over its runs.

    Attributes:
        estimate: mean over the runs, from 0 to 1.
        sample_variance: variance of the mean over samples; None if unknown.
        samples: number of samples, or of clusters of samples; None if unknown.
        key: identifies the samples. Scores with equal keys are of the same samples and are compared in pairs.
        deviations: (resamples,), of the mean from `estimate`, on the resamples that all scores with this key share.
        hits: (samples,), 0 or 1, of a single run; None for several runs and for other scores.
        clusters: what each sample in `hits` belongs to.
        share_samples: the number of independent samples behind a share of hits; None unless `estimate` is the share of
            a single run.
        run_variance: variance of one run's score between seeds, without the chance on single samples. It is 0 if
            nothing depends on the seed, and None if unknown. An estimate may be below 0 and then counts as 0.
        run_spread: the observed variance between runs, which includes the chance on single samples.
        run_freedom: degrees of freedom of `run_spread`.
        runs: number of runs.
    """

    estimate: float
    sample_variance: float | None
    samples: float | None
    key: object = None
    deviations: Floats | None = None
    hits: Floats | None = None
    clusters: Sequence[object] | None = None
    share_samples: float | None = None
    run_variance: float | None = None
    run_spread: float = 0.0
    run_freedom: float = math.inf
    runs: int = 1

    def with_run_variance(self, variance: float, spread: float, freedom: float) -> "MethodScore":
        """Return the score with the run variance of other configurations if it has none."""
        if self.run_variance is not None:
            return self
        return replace(self, run_variance=variance, run_spread=spread, run_freedom=freedom)


def run_variance(scores: Sequence[float], resampled: Floats | None) -> float | None:
    """Estimate the variance between runs without the chance on single samples.

    Two runs of one method also differ on single samples by chance. The variance over samples already holds that part,
    and the resamples say how large it is. The estimate may be negative, so that a pooled estimate is unbiased.

    Args:
        scores: the score of each run.
        resampled: (resamples, runs), the runs scored on the same resamples; None if unknown.

    Returns:
        None for a single run.
    """
    if len(scores) < 2:
        return None
    between = float(np.var(scores, ddof=1))
    if resampled is None or not len(resampled):
        return between
    apart = resampled - resampled.mean(axis=1, keepdims=True)
    # A pooled score may be undefined on a resample, hence nanvar.
    by_chance = float(np.nanvar(apart, axis=0).sum()) / (len(scores) - 1)
    return between - by_chance
