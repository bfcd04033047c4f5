"""From encoded samples to training batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from peft_study.data.tokens import IGNORED_LABEL, Encoded


@dataclass(frozen=True)
class Collator:
    """Pads a batch to its longest sample; only target tokens carry a label.

    Attributes:
        pad_token_id: fills up inputs; masked, so any id will do.
        encoder_decoder: prompt and target apart (labels alone reach the decoder), or one behind the other.
    """

    pad_token_id: int
    encoder_decoder: bool

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a batch.

        Returns:
            input_ids and attention_mask of shape (samples, longest input), and labels of the same shape, or of shape
            (samples, longest target) for an encoder-decoder.
        """
        if self.encoder_decoder:
            inputs = [list(sample.prompt) for sample in samples]
            labels = [list(sample.target) for sample in samples]
        else:
            inputs = [[*sample.prompt, *sample.target] for sample in samples]
            labels = [[IGNORED_LABEL] * len(sample.prompt) + list(sample.target) for sample in samples]
        return {
            "input_ids": _right_padded(inputs, self.pad_token_id),
            "attention_mask": _right_padded([[1] * len(ids) for ids in inputs], 0),
            "labels": _right_padded(labels, IGNORED_LABEL),
        }


def _right_padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)
