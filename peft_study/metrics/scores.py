"""The result that every scorer returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = Mapping[str, float | None]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """A corpus score that is computed from sums of the samples' counts.

    Attributes:
        counts: (samples, columns).
        score: from sums of counts, (..., columns), to scores, (...).
        names: the metrics that have this score; the first is the name of the counts in predictions.jsonl.
    """

    counts: Floats
    score: Callable[[Floats], Floats]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """The scores of one run.

    Attributes:
        metrics: the scores of the corpus by name; None if a score is undefined.
        samples: the scores of every sample by name, in order. Each is a term of the corpus score with the same name.
        recorded: further scores of every sample for predictions.jsonl. They are not terms of a corpus score.
        pools: the corpus scores that are computed from counts.
    """

    metrics: Values
    samples: Sequence[Values]
    recorded: Sequence[Values] = ()
    pools: Sequence[Pool] = ()


def check_lengths(candidates: Sequence[object], references: Sequence[str]) -> None:
    """Check the arguments of a scorer.

    Raises:
        ValueError: the inputs are empty, or there are not as many references as lists of candidates.
    """
    if len(candidates) != len(references):
        raise ValueError(
            f"candidates and references must have the same length, got {len(candidates)} and {len(references)}"
        )
    if not references:
        raise ValueError("references must hold at least one sample, got an empty sequence")


def mean_of(samples: Sequence[Values]) -> dict[str, float | None]:
    """Return the mean of every score over the samples that have it; None if no sample has it."""
    means: dict[str, float | None] = {}
    # A dict keeps the order of the names, and a set would not.
    for name in dict.fromkeys(name for sample in samples for name in sample):
        values = [value for sample in samples if (value := sample.get(name)) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means
