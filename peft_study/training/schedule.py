"""At which steps a run evaluates. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of one fine-tuning run.

    Attributes:
        total_steps: optimizer steps.
        evaluation_steps: steps after which the validation loss is taken; the last step is one of them.
    """

    total_steps: int
    evaluation_steps: frozenset[int]


def plan(samples: int, batch_size: int, epochs: float, evaluations_per_epoch: int) -> Schedule:
    """Spread the evaluations evenly over a run.

    Args:
        samples: training samples.
        batch_size: samples an optimizer step.
        epochs: passes over the samples; a fraction is allowed.
        evaluations_per_epoch: the study's is 5, one each 0.2 of an epoch.
    """
    steps_per_epoch = math.ceil(samples / batch_size)
    total = max(1, math.ceil(epochs * steps_per_epoch))
    evaluations = min(total, max(1, round(epochs * evaluations_per_epoch)))
    return Schedule(total, frozenset(round(total * index / evaluations) for index in range(1, evaluations + 1)))
