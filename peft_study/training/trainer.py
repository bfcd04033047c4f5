"""transformers' Trainer with this project's loss."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer

from peft_study.data.tokens import IGNORED_LABEL
from peft_study.training.checkpoint import load_training_state
from peft_study.training.loss import training_loss
from peft_study.training.ranks import Ranks
from peft_study.training.recorded_steps import RecordedSteps
from peft_study.training.work import IDLE, WORK, StepClock

SEED_FACTOR = 1_000_003
"""Factor between a cell's seed and the seeds of its steps, which exceeds the number of steps of every study."""
MAX_SEED = 1 << 63


class TokenMeanTrainer(Trainer):
    """A Trainer whose loss is the mean over all target tokens of a batch, and that resumes adapters exactly.

    It overrides three private methods of transformers 5.23; `tests/unit/test_compat.py` checks that they exist.

    Args:
        clock: counts the micro-batches that the model trains on.
        ranks: the processes that train the model.
        recorded: replays the steps of micro-batches; None computes each step.
        arguments: see transformers' Trainer.
    """

    def __init__(self, *, clock: StepClock, ranks: Ranks, recorded: RecordedSteps | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._clock = clock
        self._ranks = ranks
        self._recorded = recorded
        self._micro_step = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        work, idle = inputs[WORK], IDLE in inputs
        inputs = {name: value for name, value in inputs.items() if name not in (WORK, IDLE)}
        if model.training:
            self._clock.add(work)
        if not inputs["labels"].numel():  # this rank has no share of the batch
            loss = torch.zeros((), device=self.args.device, requires_grad=model.training)
        else:
            # accelerate casts the model's own forward only, and the head runs outside of it.
            with self.accelerator.autocast():
                loss = training_loss(model, inputs, target_count=num_items_in_batch)
        if idle:
            loss = loss * 0
        return (loss, {"loss": loss}) if return_outputs else loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Compute the gradients of a micro-batch, and add those of all ranks before an optimizer step."""
        if self._recorded is not None:
            return self._recorded_step(self._recorded, model, inputs, num_items_in_batch)
        if self._ranks.size == 1:
            return super().training_step(model, inputs, num_items_in_batch)
        self._seed_step()
        loss = self._ranks.add(super().training_step(model, inputs, num_items_in_batch).clone())
        self._micro_step += 1
        if self.accelerator.sync_gradients:
            self._ranks.add_gradients(model.parameters())
            self._micro_step = 0
        return loss

    def _recorded_step(
        self, recorded: RecordedSteps, model: Any, inputs: dict[str, Any], target_count: torch.Tensor
    ) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        tensors = {name: values for name, values in inputs.items() if name != WORK}
        loss = recorded.add_gradients(tensors, target_count)
        if loss is None:
            return super().training_step(model, inputs, target_count)
        self._clock.add(inputs[WORK])
        return loss

    def _seed_step(self) -> None:
        # Each rank draws other dropout masks. A checkpoint keeps the state of one generator only, so that a resumed run
        # could not restore those of all ranks.
        seed = int(self.args.seed) * SEED_FACTOR + self.state.global_step
        seed = (seed * self.args.gradient_accumulation_steps + self._micro_step) * self._ranks.size + self._ranks.rank
        torch.manual_seed(seed % MAX_SEED)

    def prediction_step(self, *arguments: Any, **options: Any) -> tuple[torch.Tensor | None, Any, Any]:
        """Compute the validation loss of a batch over all ranks."""
        loss, outputs, labels = super().prediction_step(*arguments, **options)
        return (None if loss is None else self._ranks.add(loss)), outputs, labels

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Parameters and optimizer are the same in every rank.
        if self._ranks.first:
            super()._save_checkpoint(model, trial)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: `cost.flops` counts operations, and transformers' count walks the model at every step."""
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        # transformers shifts labels, and so does not count the first of each row. Our labels are not shifted: without
        # this method the loss would be divided by too small a number.
        # The count stays a tensor: reading its value would wait for the GPU at each step.
        counts = [(batch["labels"] != IGNORED_LABEL).sum() * (IDLE not in batch) for batch in batch_samples]
        return self._ranks.add(torch.stack(counts).sum().to(device))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # transformers would load peft's file, which for some adapters is not the training state: see `checkpoint`.
        if isinstance(self.model, PeftModel):
            load_training_state(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
