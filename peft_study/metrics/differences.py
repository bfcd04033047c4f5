"""Differences between methods: what the samples and the runs each add to the doubt.

A method's score varies with the test samples and with the run that was trained. Both count: the squared standard error
of a difference has a part of the samples, by the paired bootstrap, and a part of the runs, the variance between seeds
over their number. Where a method ran with one seed and no spread is known, a difference is one of these two runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

import numpy as np

from peft_study.metrics.intervals import Floats, effective_samples, student_quantile
from peft_study.metrics.shares import CONFIDENCE, Independent, Pairs

_NOISE_SEED = 0
_MOST_SEEDS = 100
_MOST_SAMPLES = 10_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class MethodScore:
    """The mean score of one configuration over its runs, and how far it may vary.

    Attributes:
        estimate: mean over the runs, from 0 to 1.
        sample_variance: of the mean, owing to the samples; None where that is not known.
        samples: how many there are, or clusters of them; None where that is not known.
        key: names the samples. Scores with an equal key are of the same ones and are compared in pairs.
        deviations: (resamples,), of the mean from `estimate`, on the resamples that all scores with this key share.
        hits: (samples,), 0 or 1, of a single run; None for several runs and for other scores.
        clusters: of the samples, beside `hits`.
        share_samples: how many independent samples a share of hits is of, where `estimate` is that of a single run.
        run_variance: of one run, owing to the run alone; 0 where nothing is drawn, None where it is not known. An
            estimate may be below 0, and counts as 0.
        run_spread: the variance between runs as observed, which chance on single samples is part of.
        run_freedom: degrees of freedom of `run_spread`.
        runs: how many.
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
        """The same with the spread of other configurations' runs, where its own is not known."""
        if self.run_variance is not None:
            return self
        return replace(self, run_variance=variance, run_spread=spread, run_freedom=freedom)


def run_variance(scores: Sequence[float], resampled: Floats | None) -> float | None:
    """The variance between runs that is owing to the runs alone.

    Two runs of one method also differ on single samples by chance. That part is in the samples' part already, and the
    resamples tell how large it is. The estimate may be negative, so that a pooled one is unbiased.

    Args:
        scores: one a run.
        resampled: (resamples, runs), the runs on the same resamples; None where they are not known.

    Returns:
        None for a single run.
    """
    if len(scores) < 2:
        return None
    between = float(np.var(scores, ddof=1))
    if resampled is None or not len(resampled):
        return between
    apart = resampled - resampled.mean(axis=1, keepdims=True)
    by_chance = float(np.nanvar(apart, axis=0).sum()) / (len(scores) - 1)
    return between - by_chance


class Law(Protocol):
    """How a difference is distributed around its estimate."""

    def ends(self, confidence: float) -> tuple[float, float]:
        """The interval, two-sided."""

    def above(self, margin: float) -> float:
        """The probability of such a difference, or a larger one, if the true one were `margin`; one-sided."""


@dataclass(frozen=True)
class Student:
    """An estimate with a standard error and degrees of freedom."""

    estimate: float
    standard_error: float
    freedom: float

    def ends(self, confidence: float) -> tuple[float, float]:
        """See `Law.ends`."""
        half = student_quantile(confidence, self.freedom) * self.standard_error
        return self.estimate - half, self.estimate + half

    def above(self, margin: float) -> float:
        """See `Law.above`."""
        statistic = (self.estimate - margin) / self.standard_error
        if math.isinf(self.freedom):
            return _NORMAL.cdf(-statistic)
        from scipy.special import stdtr

        return float(stdtr(self.freedom, -statistic))


@dataclass(frozen=True)
class ByScore:
    """Two shares of hits, by a score interval."""

    shares: Pairs | Independent

    def ends(self, confidence: float) -> tuple[float, float]:
        """See `Law.ends`."""
        return self.shares.ends(confidence)

    def above(self, margin: float) -> float:
        """See `Law.above`."""
        return _NORMAL.cdf(-self.shares.score(margin))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The best of several against others, where the choice is repeated in each resample.

    Attributes:
        estimate: of the best.
        largest: (resamples,), sorted: by how much the difference of any choice may be off, the largest of all choices.
    """

    estimate: float
    largest: Floats

    def ends(self, confidence: float) -> tuple[float, float]:
        """See `Law.ends`: it holds for all choices at once, so for the one that was made."""
        half = float(np.quantile(self.largest, confidence))
        return self.estimate - half, self.estimate + half

    def above(self, margin: float) -> float:
        """See `Law.above`; the resamples tell no probability below one half of one in their number."""
        distance = abs(self.estimate - margin)
        rarer = len(self.largest) - int(np.searchsorted(self.largest, distance - 1e-12))
        one_sided = min(1.0, (1 + rarer) / (1 + len(self.largest))) / 2
        return one_sided if self.estimate >= margin else 1 - one_sided


@dataclass(frozen=True, eq=False)
class Difference:
    """The first mean less the second.

    Attributes:
        estimate: the difference.
        standard_error: of it, both parts together.
        law: how it is distributed.
        of_methods: whether the spread between runs is in it; False for a statement about these runs alone.
        paired: whether both are of the same samples, known one by one.
        choices: between how many configurations, or sets of them, was chosen; 1 for none.
        ratio: the first over the second with both ends of its 95 % interval; None where it is not defined.
    """

    estimate: float
    standard_error: float
    law: Law
    of_methods: bool
    paired: bool
    choices: int
    ratio: tuple[float, float, float] | None

    def ends(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The interval of the difference."""
        return self.law.ends(confidence)

    def above(self, margin: float = 0.0) -> float:
        """One-sided p-value of a true difference of at most `margin`."""
        return self.law.above(margin)

    def below(self, margin: float = 0.0) -> float:
        """One-sided p-value of a true difference of at least `margin`."""
        return 1 - self.law.above(margin)

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference."""
        return min(1.0, 2 * min(self.above(), self.below()))

    def power(self, true_difference: float, alpha: float) -> float:
        """The probability that a true difference is told from none, by a two-sided test.

        Args:
            true_difference: above 0.
            alpha: of the test.
        """
        low, high = self.ends(1 - alpha)
        return _NORMAL.cdf((true_difference - (high - low) / 2) / self.standard_error)


@dataclass(frozen=True)
class Choice:
    """One place in a mean over configurations.

    Attributes:
        chosen: the scores that stand there, averaged.
        candidates: all that might have stood there, the chosen ones among them.
    """

    chosen: tuple[MethodScore, ...]
    candidates: tuple[tuple[MethodScore, ...], ...] = ()

    @property
    def options(self) -> tuple[tuple[MethodScore, ...], ...]:
        """What the choice was between."""
        return self.candidates or (self.chosen,)


def compare_methods(first: Sequence[Choice], second: Sequence[Choice]) -> Difference | None:
    """Compare two means over configurations.

    Args:
        first: the places of the first mean, each with the same weight.
        second: of the second.

    Returns:
        None where the doubt about neither is known, or fewer than two samples are.
    """
    sides = [_parts(side) for side in (first, second)]
    every = [part for side in (first, second) for place in side for option in place.options for part in option]
    paired = _are_paired(every)
    estimate = _mean(sides[0]) - _mean(sides[1])
    of_samples = _paired_variance(*sides) if paired else _separate_variance(*sides)
    if of_samples is None:
        return None
    run_parts = [weight**2 * (part.run_variance or 0.0) / part.runs for side in sides for part, weight in side]
    of_runs = max(0.0, sum(run_parts))
    variance = of_samples + of_runs
    error = math.sqrt(variance)
    choices = math.prod(len(place.options) for side in (first, second) for place in side)
    law: Law
    if choices > 1:
        law = Chosen(estimate, _largest(first, second, paired))
    else:
        shares = _two_shares(sides[0], sides[1], paired) if not any(run_parts) else None
        law = ByScore(shares) if shares else Student(estimate, error, _freedom(variance, of_samples, sides))
    half = (law.ends(CONFIDENCE)[1] - law.ends(CONFIDENCE)[0]) / 2
    return Difference(
        estimate,
        error,
        law,
        all(part.run_variance is not None for part in every),
        paired,
        choices,
        _ratio(sides[0], sides[1], paired, half / error),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the probability of any false finding among them is at most the level.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    Returns:
        the adjusted p-values, in the same order.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


_Part = tuple[MethodScore, float]


def _parts(side: Sequence[Choice]) -> list[_Part]:
    """The chosen scores with their weights in the mean."""
    return [(part, 1 / len(side) / len(place.chosen)) for place in side for part in place.chosen]


def _mean(side: Sequence[_Part]) -> float:
    return sum(weight * part.estimate for part, weight in side)


def _of_run(part: MethodScore) -> float:
    return max(0.0, part.run_variance or 0.0)


def _are_paired(parts: Sequence[MethodScore]) -> bool:
    first = parts[0]
    return first.key is not None and all(part.deviations is not None and part.key == first.key for part in parts)


def _paired_variance(first: Sequence[_Part], second: Sequence[_Part]) -> float | None:
    samples = first[0][0].samples or 0
    if samples < 2:
        return None
    variance = float(np.var(_deviation(first) - _deviation(second)))
    # Half a sample in each cell of the fourfold table (Agresti and Min 2005, Statistics in Medicine 24): equal
    # predictions of a few samples do not show that the methods are equal.
    return variance + 1 / (samples + 2) ** 2


def _deviation(side: Sequence[_Part]) -> Floats:
    return np.asarray(sum(weight * part.deviations for part, weight in side if part.deviations is not None))


def _separate_variance(first: Sequence[_Part], second: Sequence[_Part]) -> float | None:
    """As if of different samples; a side without a known variance is taken to vary as the other does."""
    known = [variance for side in (first, second) if (variance := _side_variance(side)) is not None]
    total = 2 * known[0] if len(known) == 1 else sum(known)
    return total or None


def _side_variance(side: Sequence[_Part]) -> float | None:
    """Of a side's mean; its configurations have the same samples and err together."""
    errors = [weight * math.sqrt(part.sample_variance) for part, weight in side if part.sample_variance is not None]
    return sum(errors) ** 2 if len(errors) == len(side) else None


def _freedom(variance: float, of_samples: float, sides: Sequence[Sequence[_Part]]) -> float:
    """Satterthwaite's degrees of freedom; the doubt about a part is that about the observed spread."""
    samples = min((part.samples for side in sides for part, _ in side if part.samples), default=math.inf)
    doubt = of_samples**2 / max(1.0, samples - 1)
    parts = [part_and_weight for side in sides for part_and_weight in side]
    doubt += sum((weight**2 * part.run_spread / part.runs) ** 2 / part.run_freedom for part, weight in parts)
    return variance**2 / doubt if doubt else math.inf


def _two_shares(first: Sequence[_Part], second: Sequence[_Part], paired: bool) -> Pairs | Independent | None:
    """Single runs whose samples are hits or misses."""
    if len(first) > 1 or len(second) > 1:
        return None
    (one, _), (other, _) = first[0], second[0]
    if paired and one.hits is not None and other.hits is not None:
        apart = one.hits - other.hits
        samples = effective_samples(apart, one.clusters)
        kept = samples / len(apart)
        return Pairs(kept * float((apart > 0).sum()), kept * float((apart < 0).sum()), samples)
    if not paired and one.share_samples and other.share_samples:
        return Independent(one.estimate, one.share_samples, other.estimate, other.share_samples)
    return None


def _largest(first: Sequence[Choice], second: Sequence[Choice], paired: bool) -> Floats:
    """By how much the difference of any choice may be off, the largest in each resample, sorted."""
    noise = _Noise(paired)
    highest, lowest = [], []
    for side in (first, second):
        places = [np.stack([noise.of(option) for option in place.options]) for place in side]
        highest.append(np.mean([place.max(axis=0) for place in places], axis=0))
        lowest.append(np.mean([place.min(axis=0) for place in places], axis=0))
    return np.sort(np.maximum(highest[0] - lowest[1], highest[1] - lowest[0]))


class _Noise:
    """Deviations of scores, of samples and runs together: a score that occurs twice deviates alike."""

    def __init__(self, paired: bool, resamples: int = 10_000) -> None:
        self._paired = paired
        self._resamples = resamples
        self._generator = np.random.default_rng(_NOISE_SEED)
        self._of: dict[int, Floats] = {}

    def of(self, option: Sequence[MethodScore]) -> Floats:
        """Of the mean of some scores."""
        return np.asarray(np.mean([self._score(part) for part in option], axis=0))

    def _score(self, part: MethodScore) -> Floats:
        if id(part) not in self._of:
            self._of[id(part)] = self._draw(part)
        return self._of[id(part)]

    def _draw(self, part: MethodScore) -> Floats:
        if self._paired and part.deviations is not None:
            of_samples = part.deviations
        else:
            of_samples = self._generator.normal(0, math.sqrt(part.sample_variance or 0.0), self._resamples)
        error = math.sqrt(_of_run(part) / part.runs)
        if not error:
            return of_samples
        size = len(of_samples)
        finite = math.isfinite(part.run_freedom)
        draws = self._generator.standard_t(part.run_freedom, size) if finite else self._generator.normal(size=size)
        return np.asarray(of_samples + error * draws)


def _ratio(
    first: Sequence[_Part], second: Sequence[_Part], paired: bool, width: float
) -> tuple[float, float, float] | None:
    """By the delta method on the logarithm."""
    above, below = _mean(first), _mean(second)
    if above <= 0 or below <= 0:
        return None
    if paired:
        of_samples = float(np.var(_deviation(first) / above - _deviation(second) / below))
    else:
        known = [_side_variance(side) for side in (first, second)]
        of_samples = sum((variance or 0.0) / mean**2 for variance, mean in zip(known, (above, below), strict=True))
    of_runs = sum(
        weight**2 * _of_run(part) / part.runs / mean**2
        for side, mean in ((first, above), (second, below))
        for part, weight in side
    )
    factor = math.exp(width * math.sqrt(of_samples + of_runs))
    return above / below, above / below / factor, above / below * factor


def seeds_needed(
    difference: float, sample_deviation: float, run_deviation: float, samples: float, power: float = 0.8
) -> int | None:
    """How many seeds a side tell a difference between two methods, by a two-sided test at 5 %.

    Args:
        difference: the true one, above 0.
        sample_deviation: standard deviation of a sample's difference between the two methods.
        run_deviation: standard deviation of a run's score, owing to the run alone.
        samples: how many there are.
        power: the probability with which it is to be told.

    Returns:
        at least 2; None where no number of seeds is enough, as the samples alone leave too much doubt.
    """
    of_samples = sample_deviation**2 / samples
    numbers = range(2, _MOST_SEEDS + 1)
    return next((seeds for seeds in numbers if _tells(difference, of_samples, run_deviation, seeds, power)), None)


def samples_needed(
    difference: float, sample_deviation: float, run_deviation: float, seeds: int, power: float = 0.8
) -> int | None:
    """How many test samples tell a difference between two methods with so many seeds a side; see `seeds_needed`.

    Returns:
        None where no number of samples is enough, as the runs alone leave too much doubt.
    """
    low, high = 1, _MOST_SAMPLES
    if not _tells(difference, sample_deviation**2 / high, run_deviation, seeds, power):
        return None
    while low < high:
        middle = (low + high) // 2
        enough = _tells(difference, sample_deviation**2 / middle, run_deviation, seeds, power)
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _tells(difference: float, of_samples: float, run_deviation: float, seeds: int, power: float) -> bool:
    of_runs = 2 * run_deviation**2 / seeds
    variance = of_samples + of_runs
    freedom = 2 * (seeds - 1) * (variance / of_runs) ** 2 if of_runs else math.inf
    return (student_quantile(CONFIDENCE, freedom) + _NORMAL.inv_cdf(power)) * math.sqrt(variance) <= difference
