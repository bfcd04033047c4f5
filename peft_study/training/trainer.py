"""transformers' Trainer with this project's loss."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer

from peft_study.data.tokens import IGNORED_LABEL
from peft_study.training.checkpoint import load_training_state
from peft_study.training.loss import training_loss
from peft_study.training.work import WORK, StepClock


class TokenMeanTrainer(Trainer):
    """A Trainer whose loss is the mean over all target tokens of a batch, and that resumes adapters exactly.

    It overrides two private methods of transformers 5.23; `tests/unit/test_compat.py` checks that they exist.

    Args:
        clock: counts the micro-batches that the model trains on.
        arguments: see transformers' Trainer.
    """

    def __init__(self, *, clock: StepClock, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._clock = clock

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        work, inputs = inputs[WORK], {name: value for name, value in inputs.items() if name != WORK}
        if model.training:
            self._clock.add(work)
        # accelerate casts the model's own forward only, and the head runs outside of it.
        with self.accelerator.autocast():
            loss = training_loss(model, inputs, target_count=num_items_in_batch)
        return (loss, {"loss": loss}) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: `cost.flops` counts operations, and transformers' count walks the model at every step."""
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        # transformers shifts labels, and so does not count the first of each row. Our labels are not shifted: without
        # this method the loss would be divided by too small a number.
        # The count stays a tensor: reading its value would wait for the GPU at each step.
        return torch.stack([(batch["labels"] != IGNORED_LABEL).sum() for batch in batch_samples]).sum().to(device)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # transformers would load peft's file, which for some adapters is not the training state: see `checkpoint`.
        if isinstance(self.model, PeftModel):
            load_training_state(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
