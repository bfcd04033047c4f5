"""The best of several configurations, and how much the choice may flatter it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peft_study.metrics.method_scores import MethodScore
from peft_study.metrics.scores import Floats

# A fixed seed, so that a report of the same results has the same p-values.
_NOISE_SEED, _NOISE_SIZE = 0, 10_000


@dataclass(frozen=True)
class Choice:
    """A term of a mean over configurations.

    Attributes:
        chosen: the scores of the term, which are averaged.
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
        first: the terms of the first mean.
        second: the terms of the second mean.
        paired: whether all scores are of the same samples, and so share their resamples.

    Returns:
        (resamples,).
    """
    noise = _Noise(paired)
    highest, lowest = [], []
    for side in (first, second):
        terms = [np.stack([noise.of_mean(option) for option in choice.options]) for choice in side]
        highest.append(np.mean([term.max(axis=0) for term in terms], axis=0))
        lowest.append(np.mean([term.min(axis=0) for term in terms], axis=0))
    # Both directions, because the best of the second mean may be the lucky choice, too.
    return np.sort(np.maximum(highest[0] - lowest[1], highest[1] - lowest[0]))


class _Noise:
    """Deviations of scores over samples and runs. A score that occurs twice has the same deviations."""

    def __init__(self, paired: bool) -> None:
        self._paired = paired
        self._generator = np.random.default_rng(_NOISE_SEED)
        self._by_score: dict[int, Floats] = {}

    def of_mean(self, scores: Sequence[MethodScore]) -> Floats:
        """Return the deviations of the mean of some scores, (resamples,)."""
        return np.asarray(np.mean([self._of_score(score) for score in scores], axis=0))

    def _of_score(self, score: MethodScore) -> Floats:
        # By identity, because two configurations with equal scores still err independently.
        if id(score) not in self._by_score:
            self._by_score[id(score)] = self._draw(score)
        return self._by_score[id(score)]

    def _draw(self, score: MethodScore) -> Floats:
        if self._paired and score.deviations is not None:
            of_samples = score.deviations
        else:
            # Without common resamples, normal noise replaces them.
            of_samples = self._generator.normal(0, math.sqrt(score.sample_variance or 0.0), _NOISE_SIZE)
        run_error = math.sqrt(max(0.0, score.run_variance or 0.0) / score.runs)
        if not run_error:
            return of_samples
        size = len(of_samples)
        if math.isfinite(score.run_freedom):
            of_runs = self._generator.standard_t(score.run_freedom, size)
        else:
            of_runs = self._generator.normal(size=size)
        return np.asarray(of_samples + run_error * of_runs)
