"""How the difference of two scores is distributed around its estimate."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from peft_study.metrics.scores import Floats
from peft_study.metrics.shares import normal_quantile


def student_quantile(confidence: float, freedom: float) -> float:
    """Return half the width of a two-sided interval by Student's distribution, in standard errors.

    Args:
        confidence: from 0 to 1.
        freedom: degrees of freedom; infinite for the normal distribution.
    """
    if math.isinf(freedom):
        return normal_quantile(confidence)
    # scipy loads slowly, and most commands need no quantile.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


class Distribution(Protocol):
    """The distribution of a difference. Two shares of hits have one by a score interval (`shares`)."""

    def ends(self, confidence: float) -> tuple[float, float]:
        """Return both ends of the two-sided interval."""

    def above(self, margin: float) -> float:
        """Return the probability of a difference at least this large if the true one were `margin`, one-sided."""


@dataclass(frozen=True)
class Student:
    """Student's distribution.

    Attributes:
        estimate: the difference.
        standard_error: of the difference, above 0.
        freedom: degrees of freedom; infinite for the normal distribution.
    """

    estimate: float
    standard_error: float
    freedom: float

    def ends(self, confidence: float) -> tuple[float, float]:
        """See `Distribution.ends`."""
        half = student_quantile(confidence, self.freedom) * self.standard_error
        return self.estimate - half, self.estimate + half

    def above(self, margin: float) -> float:
        """See `Distribution.above`."""
        statistic = (self.estimate - margin) / self.standard_error
        if math.isinf(self.freedom):
            return NormalDist().cdf(-statistic)
        from scipy.special import stdtr  # loads slowly

        return float(stdtr(self.freedom, -statistic))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The difference of the best of several from others. Each resample repeats the choice (max-T).

    Attributes:
        estimate: the difference of the best.
        largest: (resamples,), sorted. The largest error of any choice's difference in each resample.
    """

    estimate: float
    largest: Floats

    def ends(self, confidence: float) -> tuple[float, float]:
        """See `Distribution.ends`. The interval holds for all choices at once, and so for the one that was made."""
        half = float(np.quantile(self.largest, confidence))
        return self.estimate - half, self.estimate + half

    def above(self, margin: float) -> float:
        """See `Distribution.above`. With R resamples the smallest probability is 1 / (2 * (R + 1))."""
        distance = abs(self.estimate - margin)
        # The tolerance includes resamples that equal the distance up to rounding.
        rarer = len(self.largest) - int(np.searchsorted(self.largest, distance - 1e-12))
        # The observed difference counts as a resample, so that a p-value is never 0.
        one_sided = min(1.0, (1 + rarer) / (1 + len(self.largest))) / 2
        return one_sided if self.estimate >= margin else 1 - one_sided
