"""What every metric family gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Scores:
    """The scores of one run.

    Attributes:
        metrics: the corpus' scores by name; None where a score is undefined.
        samples: for every sample, in order, its own scores by name. Where a corpus score is a mean, the sample's
            value of the same name is what it is the mean of.
        undefined: why, for every name whose score of the corpus is None.
    """

    metrics: Values
    samples: Sequence[Values]
    undefined: Mapping[str, str] = field(default_factory=dict)


def mean_of(samples: Sequence[Values]) -> dict[str, float | None]:
    """The mean of every score over the samples that have one; None where no sample has."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for sample in samples for name in sample):
        known = [value for sample in samples if (value := sample.get(name)) is not None]
        found[name] = sum(known) / len(known) if known else None
    return found
