"""From encoded samples to training batches, and how a batch lays its samples out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from peft_study.data.tokens import IGNORED_LABEL, Encoded

PACKED_TOKENS = 512
"""Tokens that share a row unless one sample is longer: attention within a row costs the square of its length."""
PADDING_SEGMENT = -1


class Layout(StrEnum):
    """How the samples of a micro-batch lie in its tensors.

    Attributes:
        packed: samples one behind the other in rows, without padding between them; logits at labels only.
        padded: one sample a row, padded to the longest; logits at labels only.
        full: one sample a row, padded to the longest or to a fixed width; logits at every position, as the model
            itself computes them.
    """

    packed = "packed"
    padded = "padded"
    full = "full"


@dataclass(frozen=True)
class Collator:
    """Builds a batch; only target tokens carry a label.

    Attributes:
        pad_token_id: fills up inputs; masked, so any id will do.
        encoder_decoder: prompt and target apart (labels alone reach the decoder), or one behind the other.
        layout: how samples lie in the tensors; `packed` is for decoders alone.
        input_width: tokens that inputs are padded to at least; the study's authors pad to the limits of the data set.
        label_width: the same of an encoder-decoder's labels; a decoder's labels have the width of its inputs.
    """

    pad_token_id: int
    encoder_decoder: bool
    layout: Layout = Layout.full
    input_width: int = 0
    label_width: int = 0

    def __post_init__(self) -> None:
        """Refuse a layout that the architecture cannot read."""
        if self.encoder_decoder and self.layout is Layout.packed:
            raise ValueError("layout must be padded or full for an encoder-decoder, got packed")

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a batch.

        Returns:
            int64 tensors. In every layout: `input_ids` and `labels`, both (rows, width); labels of an encoder-decoder
            are (samples, longest target). `padded` and `full` add `attention_mask` of the shape of `input_ids`.
            `packed` adds `position_ids` and `segment_ids` of the same shape: positions restart with each sample, and
            a segment is a sample's number within its row. `packed` and `padded` add `label_positions` and `targets`,
            both (labels,): the flat index, in the shape of `labels`, of the hidden state that predicts each target.
            The first tensor of a packed batch is `sample_lengths`, (samples,): the Trainer reads the number of samples
            from the first tensor.
        """
        if self.encoder_decoder:
            inputs = [list(sample.prompt) for sample in samples]
            labels = [list(sample.target) for sample in samples]
        else:
            inputs = [[*sample.prompt, *sample.target] for sample in samples]
            labels = [[IGNORED_LABEL] * len(sample.prompt) + list(sample.target) for sample in samples]
            for row in labels:
                row[0] = IGNORED_LABEL  # no token comes before it that could predict it
        if self.layout is Layout.packed:
            return self._packed(inputs, labels)
        batch = {
            "input_ids": _right_padded(inputs, self.pad_token_id, self.input_width),
            "attention_mask": _right_padded([[1] * len(ids) for ids in inputs], 0, self.input_width),
            "labels": _right_padded(
                labels, IGNORED_LABEL, self.label_width if self.encoder_decoder else self.input_width
            ),
        }
        if self.layout is Layout.padded:
            batch |= self._labelled(labels, batch["labels"].shape[1])
        return batch

    def _packed(self, inputs: list[list[int]], labels: list[list[int]]) -> dict[str, torch.Tensor]:
        rows = packed_rows([len(ids) for ids in inputs], PACKED_TOKENS)
        row_labels = [[label for index in row for label in labels[index]] for row in rows]
        row_inputs = [[token for index in row for token in inputs[index]] for row in rows]
        width = max(len(row) for row in row_inputs)
        positions, segments = [], []
        for row in rows:
            padding = width - sum(len(inputs[index]) for index in row)
            lengths = [*(len(inputs[index]) for index in row), padding]
            numbers = [*range(len(row)), PADDING_SEGMENT]
            positions.append([position for length in lengths for position in range(length)])
            segments.append([number for number, length in zip(numbers, lengths, strict=True) for _ in range(length)])
        return {
            "sample_lengths": torch.tensor([len(ids) for ids in inputs]),
            "input_ids": _right_padded(row_inputs, self.pad_token_id),
            "position_ids": torch.tensor(positions),
            "segment_ids": torch.tensor(segments),
            "labels": _right_padded(row_labels, IGNORED_LABEL),
        } | self._labelled(row_labels, width)

    def _labelled(self, rows: Sequence[Sequence[int]], width: int) -> dict[str, torch.Tensor]:
        # A decoder's hidden state predicts the token that comes next; T5's decoder reads labels shifted by one.
        shift = 0 if self.encoder_decoder else 1
        labelled = [
            (row * width + column - shift, label)
            for row, labels in enumerate(rows)
            for column, label in enumerate(labels)
            if label != IGNORED_LABEL
        ]
        return {
            "label_positions": torch.tensor([position for position, _ in labelled], dtype=torch.long),
            "targets": torch.tensor([label for _, label in labelled], dtype=torch.long),
        }


def packed_rows(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Distribute samples over rows of about the same length, as few as the limit allows.

    Args:
        lengths: tokens of each sample.
        limit: tokens a row; a longer sample raises it to its own length.

    Returns:
        the indices of the samples in each row, in their order.
    """
    limit = max(limit, *lengths)
    rows: list[list[int]] = [[] for _ in range(-(-sum(lengths) // limit))]
    filled = [0] * len(rows)
    # The longest first, each into the row with the most space.
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        emptiest = filled.index(min(filled))
        if filled[emptiest] + lengths[index] > limit:
            emptiest = len(rows)
            rows.append([])
            filled.append(0)
        rows[emptiest].append(index)
        filled[emptiest] += lengths[index]
    return [sorted(row) for row in rows]


def _right_padded(rows: Sequence[Sequence[int]], fill: int, width: int = 0) -> torch.Tensor:
    width = max(width, *(len(row) for row in rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)
