"""Intervals and tests for shares of hits: one share, two independent shares, two shares of the same samples.

The bootstrap fails if hits are few: without any hit, every resample has none. The methods in this file hold there.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
_NORMAL = NormalDist()
FEW = 10
"""With fewer hits or misses, an interval is widened as Brown, Cai and DasGupta propose."""
_HALVINGS = 44  # the interval has a width of at most 2, so the root is exact to 1e-13
_WIDEST = 38.0  # standard errors beyond which a normal probability underflows


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Return half the width of a two-sided normal interval, in standard errors."""
    return _NORMAL.inv_cdf((1 + confidence) / 2)


WIDTH = normal_quantile()
"""Half the width of a 95 % interval, in standard errors."""


def wilson(share: float, samples: float, width: float = WIDTH) -> tuple[float, float]:
    """Return the score interval of a share.

    Source: Wilson 1927, Journal of the American Statistical Association 22.

    Args:
        share: of hits, from 0 to 1.
        samples: number of samples. For samples in clusters it is the effective number, which need not be whole.
        width: half the interval's width, in standard errors.

    Returns:
        both ends, from 0 to 1.
    """
    squared = width * width
    middle = (share + squared / (2 * samples)) / (1 + squared / samples)
    half = math.sqrt(squared * (share * (1 - share) + squared / (4 * samples)) / samples) / (1 + squared / samples)
    # These ends are exact, and rounding would miss them.
    low = 0.0 if share == 0 else max(0.0, middle - half)
    return low, 1.0 if share == 1 else min(1.0, middle + half)


def share_interval(share: float, samples: float) -> tuple[float, float]:
    """Return Wilson's interval, widened towards 0 if hits are few and towards 1 if misses are few.

    With 50 samples, Wilson's interval covers a share of 1 % in only 91 of 100 cases. Its lower end is therefore at
    most a one-sided Poisson bound for the same number of hits; the upper end follows by symmetry.

    Source: Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion, section 4.1.1. They do so for
    up to 3 hits; this function does so for fewer than `FEW`.

    Args:
        share: see `wilson`.
        samples: see `wilson`.
    """
    low, high = wilson(share, samples)
    hits, misses = share * samples, (1 - share) * samples
    # Without a hit the lower end is 0 already.
    if 0 < hits < FEW:
        low = min(low, _poisson_bound(hits) / samples)
    if 0 < misses < FEW:
        high = max(high, 1 - _poisson_bound(misses) / samples)
    return low, high


@dataclass(frozen=True)
class Independent:
    """Two shares of hits on different samples.

    Attributes:
        first: a share, from 0 to 1.
        first_samples: number of samples of `first`. For samples in clusters it is the effective number.
        second: the share that is subtracted, from 0 to 1.
        second_samples: number of samples of `second`.
    """

    first: float
    first_samples: float
    second: float
    second_samples: float

    def ends(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return Newcombe's hybrid score interval of the difference.

        Source: Newcombe 1998, Statistics in Medicine 17, 873-890, method 10.
        """
        return self._ends(normal_quantile(confidence))

    def score(self, difference: float) -> float:
        """Return how many standard errors the observed difference lies above `difference`, by Newcombe's interval."""
        observed = self.first - self.second
        # The interval grows with its width, so bisection finds the width at which it ends at `difference`.
        side = 0 if difference < observed else 1
        low, high = 0.0, _WIDEST
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = abs(self._ends(middle)[side] - observed) < abs(difference - observed)
            low, high = (middle, high) if inside else (low, middle)
        return low if side == 0 else -low

    def above(self, margin: float) -> float:
        """See `distributions.Distribution.above`."""
        return _NORMAL.cdf(-self.score(margin))

    def _ends(self, width: float) -> tuple[float, float]:
        ends = wilson(self.first, self.first_samples, width), wilson(self.second, self.second_samples, width)
        below = math.hypot(self.first - ends[0][0], ends[1][1] - self.second)
        above = math.hypot(ends[0][1] - self.first, self.second - ends[1][0])
        return self.first - self.second - below, self.first - self.second + above


@dataclass(frozen=True)
class Pairs:
    """Two shares of hits on the same samples.

    For samples in clusters all numbers are effective numbers, which need not be whole.

    Attributes:
        first_alone: number of samples that only the first run hits.
        second_alone: number of samples that only the second run hits.
        samples: number of samples.
    """

    first_alone: float
    second_alone: float
    samples: float

    def score(self, difference: float) -> float:
        """Return how many standard errors the observed difference lies above `difference`.

        Source: Tango 1998, Statistics in Medicine 17, 891-908, equation 12. At 0 it is McNemar's test.

        Args:
            difference: the supposed difference, the first share minus the second, from -1 to 1.
        """
        excess = self.first_alone - self.second_alone - self.samples * difference
        linear = (
            -self.first_alone
            - self.second_alone
            + (2 * self.samples - self.first_alone + self.second_alone) * difference
        )
        constant = -self.second_alone * difference * (1 - difference)
        root = math.sqrt(max(0.0, linear * linear - 8 * self.samples * constant))
        # The share of samples that only the second hits, estimated under the supposed difference.
        nuisance = (root - linear) / (4 * self.samples)
        variance = self.samples * (2 * nuisance + difference * (1 - difference))
        if variance <= 0:
            return 0.0 if abs(excess) < 1e-12 else math.copysign(math.inf, excess)
        return excess / math.sqrt(variance)

    def above(self, margin: float) -> float:
        """See `distributions.Distribution.above`."""
        return _NORMAL.cdf(-self.score(margin))

    def ends(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return Tango's interval: the supposed differences that the score does not reject."""
        width = normal_quantile(confidence)
        observed = (self.first_alone - self.second_alone) / self.samples
        return self._root(-1.0, observed, width), self._root(observed, 1.0, -width)

    def _root(self, low: float, high: float, target: float) -> float:
        """Find where the score, which decreases in the supposed difference, equals `target`."""
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.score(middle) > target else (low, middle)
        return (low + high) / 2


def _poisson_bound(hits: float) -> float:
    """The Poisson mean at which `hits` or more events have a probability of 5 %."""
    # scipy loads slowly, and most commands need no bound.
    from scipy.special import gammaincinv

    return float(gammaincinv(hits, 1 - CONFIDENCE))
