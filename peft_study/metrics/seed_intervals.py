"""The interval of a score over seeds and samples."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.metrics.distributions import student_quantile
from peft_study.metrics.shares import CONFIDENCE, normal_quantile


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
    known_ends = [ends for ends in intervals if ends is not None]
    if len(known_ends) < runs:
        return Spread(mean, deviation, None, None, runs)
    # Runs with equal scores add nothing to the interval over samples.
    if not deviation:
        return Spread(mean, deviation, *known_ends[0], runs)
    of_samples = (statistics.fmean(high - low for low, high in known_ends) / (2 * normal_quantile())) ** 2
    of_runs = deviation**2 / runs
    total = of_samples + of_runs
    freedom = (runs - 1) * (total / of_runs) ** 2
    # With three seeds the normal quantile would be too narrow: their variance is itself uncertain.
    half = student_quantile(CONFIDENCE, freedom) * math.sqrt(total)
    return Spread(mean, deviation, max(0.0, mean - half), min(1.0, mean + half), runs)
