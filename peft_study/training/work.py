"""The work of training steps: a rank's share, tokens, operations, and seconds without evaluations and checkpoints."""

import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from peft_study.cost.flops import TrainingFlops
from peft_study.data.tokens import Encoded
from peft_study.results.schema import Work
from peft_study.training.packing import BatchBuilder
from peft_study.training.ranks import Ranks

WORK = "work"
"""Key of a micro-batch's tokens and operations. The trainer removes it before the model's inputs."""
IDLE = "idle"
"""Key of a micro-batch that a rank only computes because the others need its share of the weights."""


def share_builder(
    build: BatchBuilder, ranks: Ranks, flops: TrainingFlops
) -> Callable[[Sequence[Encoded]], dict[str, Any]]:
    """Return a builder of a rank's share of a micro-batch, with the work of all ranks.

    Args:
        build: builds micro-batches.
        ranks: the processes that train the model.
        flops: operations of a sample.
    """

    def build_share(samples: Sequence[Encoded]) -> dict[str, Any]:
        if share := ranks.share(samples):
            batch = build(share)
        elif ranks.shards:
            # The others gather the weights of each layer from this rank too.
            batch = {**build(samples[:1]), IDLE: torch.ones(())}
        else:
            batch = {"labels": torch.empty(0, dtype=torch.long)}
        # From the samples rather than from the tensors: on a GPU, sums over a mask would be kernels in each step.
        return {**batch, WORK: work_of(samples, flops)}

    return build_share


def work_of(samples: Sequence[Encoded], flops: TrainingFlops) -> Work:
    """Count the real tokens, of prompt and target, and the operations of samples in a training step."""
    return Work(
        tokens=sum(len(sample.prompt) + len(sample.target) for sample in samples),
        flops=float(sum(map(flops.of_sample, samples))),
    )


class StepClock(TrainerCallback):
    """Reports the work of training steps before each evaluation, and at the end.

    Args:
        evaluation_steps: the steps after which the trainer evaluates and saves.
        device: device of the training.
        on_work: receives the work since the last report.
    """

    def __init__(
        self, evaluation_steps: AbstractSet[int], device: torch.device, on_work: Callable[[Work], None]
    ) -> None:
        self._evaluation_steps = evaluation_steps
        self._device = device
        self._on_work = on_work
        self._began_seconds: float | None = None
        self._work = Work()
        self._tokens_since_reading = 0
        self._reading_seconds: float | None = None

    def add(self, work: Work) -> None:
        """Count a micro-batch that the model trains on."""
        self._work += work
        self._tokens_since_reading += work.tokens

    def tokens_per_second(self, step: int) -> float | None:
        """Read the tokens a second of the steps since the last reading; None before the first step.

        Args:
            step: the optimizer step of the reading. The loss was copied from the device, so its kernels are finished.
        """
        now, began, tokens = time.perf_counter(), self._reading_seconds, self._tokens_since_reading
        self._tokens_since_reading = 0
        # An evaluation follows, and does not count for the next interval.
        self._reading_seconds = None if step in self._evaluation_steps else now
        return tokens / (now - began) if began is not None and tokens else None

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._began_seconds is None:
            self._began_seconds = time.perf_counter()
        if self._reading_seconds is None:
            self._reading_seconds = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step in self._evaluation_steps:
            self._report()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._report()

    def _report(self) -> None:
        if self._began_seconds is None:
            return
        # Kernels run asynchronously. Once an evaluation, this waits for what the evaluation would wait for.
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._began_seconds
        self._on_work(self._work + Work(seconds=seconds))
        self._began_seconds, self._work = None, Work()
