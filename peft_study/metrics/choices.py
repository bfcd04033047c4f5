"""The best of several configurations, and how much the choice may flatter it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peft_study.metrics.method_scores import MethodScore
from peft_study.metrics.scores import Floats

# A fixed seed, so that a report of the same results has the same p-values.
_NOISE_SEED = 0


@dataclass(frozen=True)
class Choice:
    """One place in a mean over configurations.

    Attributes:
        chosen: the scores in this place, which are averaged.
        candidates: all that could have been chosen, the chosen ones among them; empty if nothing was chosen.
    """

    chosen: tuple[MethodScore, ...]
    candidates: tuple[tuple[MethodScore, ...], ...] = ()

    @property
    def options(self) -> tuple[tuple[MethodScore, ...], ...]:
        """All candidates, or the single one if nothing was chosen."""
        return self.candidates or (self.chosen,)


def largest_errors(first: Sequence[Choice], second: Sequence[Choice], paired: bool) -> Floats:
    """Return the largest error of any choice's difference in each resample, sorted.

    Args:
        first: the places of the first mean.
        second: the places of the second mean.
        paired: whether all scores are of the same samples, and so share their resamples.

    Returns:
        (resamples,).
    """
    noise = _Noise(paired)
    highest, lowest = [], []
    for side in (first, second):
        places = [np.stack([noise.of(option) for option in place.options]) for place in side]
        highest.append(np.mean([place.max(axis=0) for place in places], axis=0))
        lowest.append(np.mean([place.min(axis=0) for place in places], axis=0))
    # Both directions, because the best of the second mean may be the lucky choice, too.
    return np.sort(np.maximum(highest[0] - lowest[1], highest[1] - lowest[0]))


class _Noise:
    """Deviations of scores over samples and runs. A score that occurs twice has the same deviations."""

    def __init__(self, paired: bool, resamples: int = 10_000) -> None:
        self._paired, self._resamples = paired, resamples
        self._generator = np.random.default_rng(_NOISE_SEED)
        self._by_score: dict[int, Floats] = {}

    def of(self, option: Sequence[MethodScore]) -> Floats:
        """Return the deviations of the mean of some scores, (resamples,)."""
        return np.asarray(np.mean([self._score(part) for part in option], axis=0))

    def _score(self, part: MethodScore) -> Floats:
        # By identity, because two configurations with equal scores still err independently.
        if id(part) not in self._by_score:
            self._by_score[id(part)] = self._draw(part)
        return self._by_score[id(part)]

    def _draw(self, part: MethodScore) -> Floats:
        if self._paired and part.deviations is not None:
            of_samples = part.deviations
        else:
            # Without common resamples, normal noise replaces them.
            of_samples = self._generator.normal(0, math.sqrt(part.sample_variance or 0.0), self._resamples)
        error = math.sqrt(max(0.0, part.run_variance or 0.0) / part.runs)
        if not error:
            return of_samples
        size = len(of_samples)
        finite = math.isfinite(part.run_freedom)
        draws = self._generator.standard_t(part.run_freedom, size) if finite else self._generator.normal(size=size)
        return np.asarray(of_samples + error * draws)
