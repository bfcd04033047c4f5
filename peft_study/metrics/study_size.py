"""How many seeds and test samples a study needs to detect a difference between two methods."""

import math
from statistics import NormalDist

from peft_study.metrics.distributions import student_quantile
from peft_study.metrics.shares import CONFIDENCE

_MOST_SEEDS, _MOST_SAMPLES = 100, 10_000_000  # larger studies are not practical
_POWER = 0.8


def seeds_needed(difference: float, sample_deviation: float, run_deviation: float, samples: float) -> int | None:
    """Return how many seeds per method detect a difference with a probability of 80 %, by a two-sided test at 5 %.

    Args:
        difference: the true difference, above 0.
        sample_deviation: standard deviation over samples of the difference between the two methods.
        run_deviation: standard deviation of a run's score between seeds.
        samples: number of test samples.

    Returns:
        at least 2; None if the samples alone leave too much uncertainty for any number of seeds.
    """
    of_samples = sample_deviation**2 / samples
    numbers = range(2, _MOST_SEEDS + 1)
    return next((seeds for seeds in numbers if _detects(difference, of_samples, run_deviation, seeds)), None)


def samples_needed(difference: float, sample_deviation: float, run_deviation: float, seeds: int) -> int | None:
    """Return how many test samples detect a difference, as `seeds_needed`.

    Args:
        difference: see `seeds_needed`.
        sample_deviation: see `seeds_needed`.
        run_deviation: see `seeds_needed`.
        seeds: number of seeds per method, at least 2.

    Returns:
        None if the runs alone leave too much uncertainty for any number of samples.
    """
    low, high = 1, _MOST_SAMPLES
    if not _detects(difference, sample_deviation**2 / high, run_deviation, seeds):
        return None
    # The variance decreases with the number of samples, so bisection finds the smallest.
    while low < high:
        middle = (low + high) // 2
        enough = _detects(difference, sample_deviation**2 / middle, run_deviation, seeds)
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def _detects(difference: float, of_samples: float, run_deviation: float, seeds: int) -> bool:
    # Both methods have this number of runs, while they share their samples.
    of_runs = 2 * run_deviation**2 / seeds
    variance = of_samples + of_runs
    # Satterthwaite's degrees of freedom; the variance over samples counts as known.
    freedom = 2 * (seeds - 1) * (variance / of_runs) ** 2 if of_runs else math.inf
    return (student_quantile(CONFIDENCE, freedom) + NormalDist().inv_cdf(_POWER)) * math.sqrt(variance) <= difference
