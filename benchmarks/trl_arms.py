"""TRL's SFTTrainer as arms of `benchmarks.training`: its collator, its loss and its training step.

TRL 1.16 has one way to compute its loss: a head in chunks, of which `loss_type="chunked_nll"` is a deprecated name. On
a GPU it computes logits of predicted tokens only, on a CPU of all tokens.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from peft_study.data.tokens import IGNORED_LABEL, Encoded
from peft_study.models.loading import Model

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "trl": {},
    "trl_without_recomputation": {"gradient_checkpointing": False},
    "trl_padding_free": {"gradient_checkpointing": False, "padding_free": True, "max_length": None},
}
"""Settings of each arm that differ from TRL's defaults, which pad to the longest sample and recompute activations."""


class TrlArm:
    """One SFTTrainer.

    Args:
        name: a name of `OPTIONS`.
        model: the adapter; TRL replaces its forward method.
        tokenizer: gives the padding token.
        batch_size: samples of a batch.
        samples: some samples; TRL asks for a data set when it is built.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        samples: Sequence[Encoded],
    ) -> None:
        self.model = model
        options = SFTConfig(
            output_dir=tempfile.mkdtemp(prefix="trl-"),
            per_device_train_batch_size=batch_size,
            # TRL's default is bf16, and the other arms compute in fp32 on a CPU.
            bf16=False,
            use_cpu=True,
            report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            **OPTIONS[name],
        )
        data = Dataset.from_list([_row(sample) for sample in samples])
        self._trainer = SFTTrainer(model=model, args=options, train_dataset=data, processing_class=tokenizer)
        self._trainer.current_gradient_accumulation_steps = 1
        if options.gradient_checkpointing:
            # `train` does this, and the arms take turns step by step instead.
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def build(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a batch with TRL's collator."""
        collate: Callable[[Any], dict[str, torch.Tensor]] = self._trainer.data_collator
        return collate([_row(sample) for sample in samples])

    def backward(self, samples: Sequence[Encoded]) -> torch.Tensor:
        """Take TRL's training step: loss and gradients."""
        count = torch.tensor(sum(len(sample.target) for sample in samples))
        loss: torch.Tensor = self._trainer.training_step(self.model, self.build(samples), count)
        return loss


def _row(sample: Encoded) -> dict[str, list[int]]:
    labels = [IGNORED_LABEL] * len(sample.prompt) + list(sample.target)
    return {"input_ids": [*sample.prompt, *sample.target], "labels": labels}
