"""A run's score sample by sample, so that two runs on the same samples can be compared in pairs."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from peft_study.metrics.codebleu import CONVENTIONS, STRICT, Convention, corpus_score
from peft_study.metrics.codebleu.pooling import COLUMNS
from peft_study.metrics.intervals import Difference, Floats, PooledScore, as_counts, mean_of_counts, pooled_difference
from peft_study.results.store import Prediction

_SAME = 1e-6
"""Predictions are those that a score was made of where it can be made of them again, but for its last digits."""
_LARGEST = 1e300
_POOLED: Mapping[str, Convention] = {f"codebleu_{one.name}": one for one in CONVENTIONS} | {"codebleu": STRICT}


@dataclass(frozen=True, eq=False)
class Runs:
    """One or more runs on the same samples.

    Attributes:
        names: of the samples, each once.
        counts: (samples, runs, columns), what adds up to a run's score.
        score: of the sums.
        weights: (runs,), of each in their mean.
    """

    names: tuple[str, ...]
    counts: Floats
    score: PooledScore
    weights: Floats

    @property
    def known(self) -> int:
        """How many samples have part in a score: not those of another level, or without a reference."""
        return int(self.counts.any(axis=(1, 2)).sum())

    def of(self, names: Sequence[str]) -> "Runs | None":
        """The same with the samples in another order; None where these are others."""
        if tuple(names) == self.names:
            return self
        places = {name: place for place, name in enumerate(self.names)}
        if len(names) != len(places) or not places.keys() >= set(names):
            return None
        return Runs(tuple(names), self.counts[[places[name] for name in names]], self.score, self.weights)


def of_cell(predictions: Sequence[Prediction], metric: str, score: float | None, samples: float | None) -> Runs | None:
    """A cell's score by sample; None unless the predictions are whole, and those that the score was made of.

    Args:
        predictions: of the cell.
        metric: the score's name.
        score: what the cell's record says.
        samples: how many test samples it is of; None where the record does not say.
    """
    if samples is not None and not math.isnan(samples) and len(predictions) != samples:
        return None
    # Two data sets may number their samples alike: a sample is the same where its reference is.
    names = tuple(f"{one.id} {_digest(one.reference)}" for one in predictions)
    if score is None or not names or len(set(names)) != len(names):
        return None
    convention = _POOLED.get(metric)
    if convention is None:
        counted = as_counts([sample_score(one, metric) for one in predictions])[:, None]
        runs = Runs(names, counted, mean_of_counts, np.ones(1))
    else:
        counts = [_counts(one, f"codebleu_{convention.name}") for one in predictions]
        if not any(counts) or any(len(row) not in {0, len(COLUMNS)} for row in counts):
            return None
        # A sample without a reference has no part in it.
        rows = np.array([row or [0.0] * len(COLUMNS) for row in counts])[:, None]
        runs = Runs(names, rows, lambda sums: corpus_score(sums, convention), np.ones(1))
    return runs if abs(_of_all(runs.counts.sum(axis=0), runs.score) - score) <= _SAME else None


def together(found: Sequence[Runs | None]) -> Runs | None:
    """Several sets of runs, each with the same weight, whether it has one seed or five; None unless all are of the same
    samples.
    """
    known = [runs for runs in found if runs is not None]
    if not known or len(known) < len(found):
        return None
    alike = [same for runs in known if (same := runs.of(known[0].names)) is not None]
    if len(alike) < len(known):
        return None
    counts = np.concatenate([runs.counts for runs in alike], axis=1)
    weights = np.concatenate([runs.weights / len(alike) for runs in alike])
    return Runs(known[0].names, counts, known[0].score, weights)


def difference(first: Runs | None, second: Runs | None, factor: float, resamples: int) -> Difference | None:
    """Compare the means over both sides' runs by the paired bootstrap; None unless both are of the same samples.

    Args:
        first: the one.
        second: the other.
        factor: the second's mean is multiplied by it.
        resamples: of the bootstrap.
    """
    same = None if first is None or second is None else second.of(first.names)
    if first is None or same is None or len(first.names) < 2:
        return None
    sides = [runs.counts.reshape(len(first.names), -1) for runs in (first, same)]
    means = [_mean_over_runs(runs) for runs in (first, same)]
    return pooled_difference(sides[0], sides[1], means[0], resamples, factor=factor, second_score=means[1])


def _mean_over_runs(runs: Runs) -> PooledScore:
    """The weighted mean of the runs' scores, from sums of their columns side by side."""
    width = runs.counts.shape[-1]
    return lambda sums: np.asarray(runs.score(sums.reshape(*sums.shape[:-1], -1, width)) @ runs.weights)


def sample_score(prediction: Prediction, metric: str) -> float | None:
    """A sample's own part of a score that is a mean over samples; None where it has none.

    Args:
        prediction: of the sample, whatever its file holds.
        metric: such as "em@10", "pass@1" or, of one level's samples, "introductory/pass@1".
    """
    if metric.startswith("em@"):
        if not prediction.reference.strip() or not prediction.matched:
            return None
        return float(any(prediction.matched[: int(metric.removeprefix("em@"))]))
    level, _, name = metric.rpartition("/")
    if (level and prediction.level != level) or not isinstance(prediction.scores, Mapping):
        return None
    value = prediction.scores.get(name)
    return value if _is_number(value) else None


def _counts(prediction: Prediction, name: str) -> list[float]:
    found = prediction.counts.get(name) if isinstance(prediction.counts, Mapping) else None
    if not isinstance(found, list) or not all(map(_is_number, found)):
        return []
    return [float(one) for one in found]


def _is_number(value: object) -> TypeGuard[int | float]:
    # A whole number in JSON may be larger than any float.
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _of_all(sums: NDArray[np.float64], score: PooledScore) -> float:
    """A single run's score from its sums, (1, columns)."""
    return float(score(sums)[0])


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
