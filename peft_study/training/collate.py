"""Padded training batches whose loss transformers computes: what the study's authors trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from peft_study.data.tokens import IGNORED_LABEL, Encoded


@dataclass(frozen=True)
class Collator:
    """Pads a batch to one length; only target tokens carry a label.

    Attributes:
        pad_token_id: fills up inputs; masked, so any id will do.
        encoder_decoder: prompt and target apart (labels alone reach the decoder), or one behind the other.
        length: of a decoder's samples, in tokens; 0 is that of the longest in the batch.
        left: pad a decoder's samples on the left.
    """

    pad_token_id: int
    encoder_decoder: bool
    length: int = 0
    left: bool = False

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a batch.

        Returns:
            input_ids and attention_mask of shape (samples, length of the inputs), and labels of the same shape, or of
            shape (samples, longest target) for an encoder-decoder.
        """
        if self.encoder_decoder:
            inputs = [list(sample.prompt) for sample in samples]
            labels = [list(sample.target) for sample in samples]
        else:
            inputs = [[*sample.prompt, *sample.target] for sample in samples]
            labels = [[IGNORED_LABEL] * len(sample.prompt) + list(sample.target) for sample in samples]
        return {
            "input_ids": self._padded(inputs, self.pad_token_id),
            "attention_mask": self._padded([[1] * len(ids) for ids in inputs], 0),
            "labels": self._padded(labels, IGNORED_LABEL),
        }

    def _padded(self, rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        width = max(len(row) for row in rows)
        if not self.encoder_decoder:
            width = max(width, self.length)
        padding = [[fill] * (width - len(row)) for row in rows]
        padded = [[*pad, *row] if self.left else [*row, *pad] for row, pad in zip(rows, padding, strict=True)]
        return torch.tensor(padded, dtype=torch.long)
