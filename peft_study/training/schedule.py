"""The steps at which a run evaluates, and the samples of a forward pass."""

import math
from dataclasses import dataclass

from peft_study.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of one fine-tuning run.

    Attributes:
        total_steps: number of optimizer steps.
        evaluation_steps: steps after which the validation loss is computed, including the last step.
    """

    total_steps: int
    evaluation_steps: frozenset[int]


def plan(samples: int, settings: TrainingConfig) -> Schedule:
    """Spread the evaluations evenly over a run.

    Args:
        samples: number of training samples.
        settings: batch size, epochs and evaluations per epoch.
    """
    steps_per_epoch = math.ceil(samples / settings.batch_size)
    total = max(1, math.ceil(settings.epochs * steps_per_epoch))
    # The study's package evaluates every 54 of 1,335 steps, so never after the last step. Here the last step counts.
    evaluations = min(total, max(1, round(settings.epochs * settings.evaluations_per_epoch)))
    return Schedule(total, frozenset(round(total * index / evaluations) for index in range(1, evaluations + 1)))


def micro_batch_of_rank(settings: TrainingConfig, ranks: int = 1) -> int:
    """Return the samples of a forward pass on each rank.

    Args:
        settings: batch size, and the micro-batch size that a rank has at most.
        ranks: number of processes that train the model; divides the batch size.
    """
    share = settings.batch_size // ranks
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= settings.micro_batch_size)
