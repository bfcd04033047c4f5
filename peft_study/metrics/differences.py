"""Differences between methods, with the uncertainty that samples and runs each add.

A method's score varies with the test samples and with the run that was trained. The squared standard error of a
difference adds two parts:

- the samples' part, by the paired bootstrap;
- the runs' part, the variance between seeds divided by their number.

If a method ran with one seed and no run variance is known, the difference speaks of these runs alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from peft_study.metrics.choices import Choice, largest_errors
from peft_study.metrics.distributions import Chosen, Distribution, Student
from peft_study.metrics.method_scores import MethodScore
from peft_study.metrics.resampling import effective_samples
from peft_study.metrics.scores import Floats
from peft_study.metrics.shares import CONFIDENCE, Independent, Pairs


@dataclass(frozen=True, eq=False)
class Difference:
    """The first mean minus the second.

    Attributes:
        estimate: the difference.
        standard_error: of the difference, over samples and runs.
        distribution: how the difference is distributed.
        of_methods: whether the variance between runs is included; False for a statement about these runs alone.
        paired: whether both means are of the same samples, with a score for each sample.
        choices: how many alternatives the best was chosen from; 1 without a choice.
        ratio: the first over the second with both ends of its 95 % interval; None if undefined.
    """

    estimate: float
    standard_error: float
    distribution: Distribution
    of_methods: bool
    paired: bool
    choices: int
    ratio: tuple[float, float, float] | None

    def ends(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return both ends of the interval of the difference."""
        return self.distribution.ends(confidence)

    def above(self, margin: float = 0.0) -> float:
        """Return the one-sided p-value of a true difference of at most `margin`."""
        return self.distribution.above(margin)

    def below(self, margin: float = 0.0) -> float:
        """Return the one-sided p-value of a true difference of at least `margin`."""
        return 1 - self.distribution.above(margin)

    @property
    def p_value(self) -> float:
        """The two-sided p-value of no difference."""
        return min(1.0, 2 * min(self.above(), self.below()))

    def power(self, true_difference: float, alpha: float) -> float:
        """Return the probability that a two-sided test detects a true difference.

        Args:
            true_difference: above 0.
            alpha: level of the test, from 0 to 1.
        """
        low, high = self.ends(1 - alpha)
        return NormalDist().cdf((true_difference - (high - low) / 2) / self.standard_error)


def compare_methods(first: Sequence[Choice], second: Sequence[Choice]) -> Difference | None:
    """Compare two means over configurations.

    Args:
        first: the terms of the first mean, equally weighted.
        second: the terms of the second mean, equally weighted.

    Returns:
        None if the variance over samples is unknown on both sides, or if there are fewer than two samples.
    """
    sides = _weighted(first), _weighted(second)
    scores = [score for choice in (*first, *second) for option in choice.options for score in option]
    key = scores[0].key
    paired = key is not None and all(score.deviations is not None and score.key == key for score in scores)
    estimate = _mean(sides[0]) - _mean(sides[1])
    # A variance of 0 would call every difference significant.
    of_samples = _paired_variance(*sides) if paired else (sum(_separate_variances(*sides)) or None)
    if of_samples is None:
        return None
    # Estimates below 0 are summed before the sum is cut at 0, so that the sum stays nearly unbiased.
    run_parts = [weight**2 * (score.run_variance or 0.0) / score.runs for side in sides for score, weight in side]
    variance = of_samples + max(0.0, sum(run_parts))
    error = math.sqrt(variance)
    choices = math.prod(len(choice.options) for choice in (*first, *second))
    distribution: Distribution
    if choices > 1:
        distribution = Chosen(estimate, largest_errors(first, second, paired))
    else:
        # A score interval covers the samples only, so it is used only if no variance between runs is known.
        shares = _two_shares(*sides, paired) if not any(run_parts) else None
        distribution = shares or Student(estimate, error, _freedom(variance, of_samples, sides))
    low, high = distribution.ends(CONFIDENCE)
    return Difference(
        estimate=estimate,
        standard_error=error,
        distribution=distribution,
        of_methods=all(score.run_variance is not None for score in scores),
        paired=paired,
        choices=choices,
        ratio=_ratio(*sides, paired, (high - low) / 2 / error),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the probability of any false finding among them is at most the level.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    Returns:
        the adjusted p-values, in the same order.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    # The largest so far, so that a larger p-value never gets a smaller adjusted one.
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


_Weighted = tuple[MethodScore, float]  # a score and its weight in the mean


def _weighted(side: Sequence[Choice]) -> list[_Weighted]:
    return [(score, 1 / len(side) / len(choice.chosen)) for choice in side for score in choice.chosen]


def _mean(side: Sequence[_Weighted]) -> float:
    return sum(weight * score.estimate for score, weight in side)


def _paired_variance(first: Sequence[_Weighted], second: Sequence[_Weighted]) -> float | None:
    samples = first[0][0].samples or 0
    if samples < 2:
        return None
    variance = float(np.var(_deviation(first) - _deviation(second)))
    # Half a sample in each entry of the fourfold table (Agresti and Min 2005, Statistics in Medicine 24): equal
    # predictions of a few samples do not show that the methods are equal.
    return variance + 1 / (samples + 2) ** 2


def _deviation(side: Sequence[_Weighted]) -> Floats:
    return np.asarray(sum(weight * score.deviations for score, weight in side if score.deviations is not None))


def _separate_variances(first: Sequence[_Weighted], second: Sequence[_Weighted]) -> list[float]:
    """The variances of both means for different samples. If one is unknown, it is assumed equal to the other."""
    variances = [variance for side in (first, second) if (variance := _side_variance(side)) is not None]
    return [variances[0]] * 2 if len(variances) == 1 else variances


def _side_variance(side: Sequence[_Weighted]) -> float | None:
    """The variance of a side's mean. Its configurations share their samples, so we assume that their errors add up."""
    errors = [weight * math.sqrt(score.sample_variance) for score, weight in side if score.sample_variance is not None]
    return sum(errors) ** 2 if len(errors) == len(side) else None


def _freedom(variance: float, of_samples: float, sides: Sequence[Sequence[_Weighted]]) -> float:
    """Satterthwaite's degrees of freedom, with the observed variance between runs as the uncertain part."""
    samples = min((score.samples for side in sides for score, _ in side if score.samples), default=math.inf)
    uncertainty = of_samples**2 / max(1.0, samples - 1)
    # The observed spread, which includes the chance on samples. With the estimate alone, tables of many tests had too
    # many false positives (`python -m benchmarks.calibration`).
    uncertainty += sum(
        (weight**2 * score.run_spread / score.runs) ** 2 / score.run_freedom for side in sides for score, weight in side
    )
    if not uncertainty:
        return math.inf
    # Runs with equal predictions cancel in the variance and not in the observed spreads. A sum of variances has at
    # least the degrees of freedom of its least certain part.
    least = min(max(1.0, samples - 1), *(score.run_freedom for side in sides for score, _ in side))
    return max(least, variance**2 / uncertainty)


def _two_shares(first: Sequence[_Weighted], second: Sequence[_Weighted], paired: bool) -> Pairs | Independent | None:
    """The two shares of hits; None unless each side is a single run whose samples are hits or misses."""
    if len(first) > 1 or len(second) > 1:
        return None
    (left, _), (right, _) = first[0], second[0]
    if paired and left.hits is not None and right.hits is not None:
        differences = left.hits - right.hits
        samples = effective_samples(differences, left.clusters)
        # Samples in clusters count as fewer independent ones, in proportion.
        weight = samples / len(differences)
        return Pairs(weight * float((differences > 0).sum()), weight * float((differences < 0).sum()), samples)
    if not paired and left.share_samples and right.share_samples:
        return Independent(left.estimate, left.share_samples, right.estimate, right.share_samples)
    return None


def _ratio(
    first: Sequence[_Weighted], second: Sequence[_Weighted], paired: bool, width: float
) -> tuple[float, float, float] | None:
    """The first mean over the second, and its interval of `width` standard errors to each side."""
    above, below = _mean(first), _mean(second)
    if above <= 0 or below <= 0:
        return None
    try:
        # The delta method on the logarithm keeps both ends above 0.
        factor = math.exp(width * math.sqrt(_relative_variance(first, second, paired)))
    except (OverflowError, ZeroDivisionError):
        # A mean close to 0 leaves the ratio without a bound.
        factor = math.inf
    return above / below, above / below / factor, above / below * factor


def _relative_variance(first: Sequence[_Weighted], second: Sequence[_Weighted], paired: bool) -> float:
    """The variance of the logarithm of the ratio of two means."""
    sides = ((first, _mean(first)), (second, _mean(second)))
    if paired:
        of_samples = float(np.var(_deviation(first) / sides[0][1] - _deviation(second) / sides[1][1]))
    else:
        variances = zip(_separate_variances(first, second), sides, strict=True)
        of_samples = sum(variance / mean**2 for variance, (_, mean) in variances)
    of_runs = sum(
        weight**2 * max(0.0, score.run_variance or 0.0) / score.runs / mean**2
        for side, mean in sides
        for score, weight in side
    )
    return of_samples + of_runs
