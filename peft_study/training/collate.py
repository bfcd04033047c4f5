"""Padded training batches, as the study's authors used them; transformers computes their loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from peft_study.data.tokens import IGNORED_LABEL, Encoded


@dataclass(frozen=True)
class Collator:
    """Pads the samples of a batch to the same length. Only target tokens have a label.

    Attributes:
        pad_token_id: id that fills inputs; it is masked, so that any id serves.
        encoder_decoder: True puts the prompt into the inputs and the target into the labels. False puts prompt and
            target into the inputs, as a decoder reads them.
        input_width: least width of the inputs, in tokens. The study's authors pad to the data set's limits.
        label_width: least width of an encoder-decoder's labels. A decoder's labels have the width of its inputs.
        left: pad a decoder's samples on the left.
    """

    pad_token_id: int
    encoder_decoder: bool
    input_width: int = 0
    label_width: int = 0
    left: bool = False

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a batch.

        Returns:
            input_ids and attention_mask of shape (samples, width of the inputs), and labels of the same shape, or of
            shape (samples, width of the labels) for an encoder-decoder.
        """
        if self.encoder_decoder:
            inputs = [list(sample.prompt) for sample in samples]
            labels = [list(sample.target) for sample in samples]
        else:
            inputs = [[*sample.prompt, *sample.target] for sample in samples]
            labels = [[IGNORED_LABEL] * len(sample.prompt) + list(sample.target) for sample in samples]
        label_width = self.label_width if self.encoder_decoder else self.input_width
        return {
            "input_ids": self._padded(inputs, self.pad_token_id, self.input_width),
            "attention_mask": self._padded([[1] * len(ids) for ids in inputs], 0, self.input_width),
            "labels": self._padded(labels, IGNORED_LABEL, label_width),
        }

    def _padded(self, rows: Sequence[Sequence[int]], fill: int, width: int) -> torch.Tensor:
        width = max(width, *(len(row) for row in rows))
        # Padding on the left puts peft's virtual tokens some 90 positions before the prompt: docs/differences.md.
        padding = [[fill] * (width - len(row)) for row in rows]
        padded = [[*pad, *row] if self.left else [*row, *pad] for row, pad in zip(rows, padding, strict=True)]
        return torch.tensor(padded, dtype=torch.long)
