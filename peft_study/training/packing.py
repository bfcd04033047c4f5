"""Micro-batches without padding: a row holds several samples, and no sample attends to another.

`layout_for` decides which adapters allow packed rows. With other adapters, and with encoder-decoders, each row is a
padded sample. In both cases `loss` computes logits only at the positions that predict a label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType

from peft_study.config.schema import DatasetConfig, MemoryPolicy, TrainingConfig
from peft_study.data.tokens import IGNORED_LABEL, Encoded
from peft_study.models.adapter import virtual_tokens
from peft_study.models.compat import attention_kernel
from peft_study.models.loading import Model
from peft_study.training.collate import Collator

ATTENTION_SHARE = 2
"""Divides the hidden size to give the number of tokens in a row.

A token's attention costs the length of the row times the hidden size; its linear layers cost 12 times the square of the
hidden size. With rows of half the hidden size, attention costs at most 1/24 of the linear layers.
"""
GPU_MULTIPLE = 64
"""On a GPU, the length of rows and the number of labels are padded to a multiple of this number.

A new shape costs more time, in the allocator and in the choice of kernels, than the padding does
(benchmarks/results/gpu-h100.json).
"""
# Their virtual tokens are the same before each sample, so that a row can repeat them.
_PACKED_PROMPTS = frozenset({PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING})
_NEEDS_LOSS = frozenset({PeftType.ADALORA, PeftType.CPT, PeftType.SHADOW, PeftType.XLORA})
# In peft 0.21 these mix the tokens of a row. `tests/integration/test_packed_adapters.py` compares every config class.
_LOOKS_AT_SEQUENCES = frozenset({PeftType.ADAPTION_PROMPT, PeftType.LILY, PeftType.POLY})

BatchBuilder = Callable[[Sequence[Encoded]], dict[str, torch.Tensor]]


class Layout(StrEnum):
    """The arrangement of samples in the tensors of a micro-batch."""

    packed = "packed"
    padded = "padded"
    encoder_decoder = "encoder_decoder"


def batch_builder(
    model: Model, pad_token_id: int, training: TrainingConfig, dataset: DatasetConfig, *, left_padding: bool = False
) -> BatchBuilder:
    """Choose the function that builds a cell's micro-batches.

    Args:
        model: base or adapter.
        pad_token_id: id that fills rows.
        training: settings; `memory=paper` pads each sample to the data set's limits and computes all logits, as the
            study did.
        dataset: gives the limits, in tokens.
        left_padding: pad a decoder's samples to the limits on the left, a convention of the study's package.

    Returns:
        a function from samples to the inputs of `loss.training_loss`.
    """
    encoder_decoder = bool(model.config.is_encoder_decoder)
    left = left_padding and not encoder_decoder
    if left or training.memory is MemoryPolicy.paper:
        prompt, target = dataset.max_prompt_tokens, dataset.max_target_tokens
        width = prompt if encoder_decoder else prompt + target
        return Collator(pad_token_id, encoder_decoder, input_width=width, label_width=target, left=left)
    if isinstance(model, PeftModel) and model.active_peft_config.peft_type in _NEEDS_LOSS:
        # peft adds a term to the loss that transformers computes, or the adapter computes logits besides.
        return Collator(pad_token_id, encoder_decoder)
    return Packer.of(model, pad_token_id)


def layout_for(model: Model) -> Layout:
    """Choose a layout in which a model computes the same loss as sample by sample.

    Packed rows need an adapter that processes each token independently, or virtual tokens that can be repeated before
    each sample.
    """
    if model.config.is_encoder_decoder:
        return Layout.encoder_decoder
    if attention_kernel(model.config) not in {"sdpa", "eager"}:
        return Layout.padded  # other kernels take no mask for several sequences in a row
    adapter = model.active_peft_config if isinstance(model, PeftModel) else None
    return Layout.packed if adapter is None or _works_on_tokens(adapter) else Layout.padded


def _works_on_tokens(adapter: PeftConfig) -> bool:
    if adapter.is_prompt_learning:
        return adapter.peft_type in _PACKED_PROMPTS
    # An activated LoRA searches each row for its tokens, and VeLoRA compresses the activations of a row.
    by_row = isinstance(adapter, LoraConfig) and (
        adapter.alora_invocation_tokens is not None or getattr(adapter, "velora_config", None) is not None
    )
    return adapter.peft_type not in _LOOKS_AT_SEQUENCES and not by_row


@dataclass(frozen=True)
class Packer:
    """Builds micro-batches in one of the layouts. The order of the samples does not change the loss.

    Attributes:
        layout: see `layout_for`.
        pad_token_id: id that fills rows; nothing attends to it, so that any id serves.
        virtual_tokens: number of positions before each packed sample, in its row or, for prefix tuning, in the cache.
        virtual_in_row: whether the virtual tokens are in the row.
        row_tokens: capacity of a packed row in tokens; a longer sample makes all rows as long as itself.
        multiple: the length of rows and the number of labels are padded to a multiple of this number.
        decoder_start_token_id: first decoder token of an encoder-decoder.
    """

    layout: Layout
    pad_token_id: int
    virtual_tokens: int = 0
    virtual_in_row: bool = False
    row_tokens: int = 1
    multiple: int = 1
    decoder_start_token_id: int = 0

    @classmethod
    def of(cls, model: Model, pad_token_id: int) -> "Packer":
        """The packer for a model with its adapter."""
        layout = layout_for(model)
        # Eager attention stores scores of tokens x tokens, so that longer rows take more memory than padding: 26.5 and
        # 23.9 GB for CodeGen2-7B. Rows as long as the longest sample take 23.6 (docs/performance-log.md).
        keeps_scores = attention_kernel(model.config) == "eager"
        adapter = model.active_peft_config if isinstance(model, PeftModel) else None
        return cls(
            layout,
            pad_token_id,
            virtual_tokens=virtual_tokens(adapter) if layout is Layout.packed else 0,
            virtual_in_row=getattr(adapter, "peft_type", None) is not PeftType.PREFIX_TUNING,
            row_tokens=1 if keeps_scores else int(model.config.hidden_size) // ATTENTION_SHARE,
            multiple=GPU_MULTIPLE if model.device.type == "cuda" else 1,
            decoder_start_token_id=int(getattr(model.config, "decoder_start_token_id", None) or 0),
        )

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build a micro-batch.

        Returns:
            in every layout, labels, label_rows and label_columns of shape (labels,): each target token, and the row
            and column of the hidden state that predicts it. The other tensors have the shape (rows, tokens):

            - packed: input_ids, position_ids, sequence_ids (from 1; 0 is padding) and, for prompt tuning, virtual_ids
              (from 1; 0 is a token). If each row is exactly one sample, only input_ids.
            - padded: input_ids and attention_mask.
            - encoder_decoder: input_ids, attention_mask and decoder_input_ids.
        """
        if self.layout is Layout.packed:
            return self._packed(samples)
        return self._padded(samples) if self.layout is Layout.padded else self._encoder_decoder(samples)

    def _packed(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        in_row = self.virtual_tokens if self.virtual_in_row else 0
        first_position = 0 if self.virtual_in_row else self.virtual_tokens
        lengths = [in_row + len(sample.prompt) + len(sample.target) for sample in samples]
        rows: list[_Row] = []
        labels = _Labels()
        for row_number, indices in enumerate(arrange(lengths, self.row_tokens)):
            row = _Row()
            rows.append(row)
            for index in indices:
                sample = samples[index]
                start = len(row.ids)
                row.ids += [self.pad_token_id] * in_row + [*sample.prompt, *sample.target]
                row.positions += range(first_position, first_position + lengths[index])
                row.sequences += [index + 1] * lengths[index]
                row.virtual += [*range(1, in_row + 1), *[0] * (lengths[index] - in_row)]
                labels.add(sample.target, row_number, start + in_row + len(sample.prompt) - 1)
        ids = self._filled([row.ids for row in rows], self.pad_token_id)
        batch = {"input_ids": ids, **labels.tensors(self.multiple)}
        if not self.virtual_tokens and len(rows) == len(samples) and set(lengths) == {ids.shape[1]}:
            # Plain causal attention needs no mask, and has faster kernels.
            return batch
        batch["position_ids"] = self._filled([row.positions for row in rows], 0)
        batch["sequence_ids"] = self._filled([row.sequences for row in rows], 0)
        return batch | ({"virtual_ids": self._filled([row.virtual for row in rows], 0)} if in_row else {})

    def _padded(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        labels = _Labels()
        for row, sample in enumerate(samples):
            labels.add(sample.target, row, len(sample.prompt) - 1)
        ids = [[*sample.prompt, *sample.target] for sample in samples]
        return {
            "input_ids": self._filled(ids, self.pad_token_id),
            "attention_mask": self._filled([[1] * len(row) for row in ids], 0),
            **labels.tensors(self.multiple),
        }

    def _encoder_decoder(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        labels = _Labels()
        for row, sample in enumerate(samples):
            labels.add(sample.target, row, 0)
        # The same inputs as those of transformers, which shifts padded labels: only the longest sample loses its last
        # target token.
        longest = max(len(sample.target) for sample in samples)
        decoder_ids = [[self.decoder_start_token_id, *sample.target][:longest] for sample in samples]
        return {
            "input_ids": self._filled([sample.prompt for sample in samples], self.pad_token_id),
            "attention_mask": self._filled([[1] * len(sample.prompt) for sample in samples], 0),
            "decoder_input_ids": self._filled(decoder_ids, self.pad_token_id),
            **labels.tensors(self.multiple),
        }

    def _filled(self, rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        width = _rounded_up(max(len(row) for row in rows), self.multiple)
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)


def arrange(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Distribute samples over rows by first fit, the longest samples first.

    Args:
        lengths: lengths of the samples, in tokens.
        row_tokens: capacity of a row, in tokens; at least the longest sample fits.

    Returns:
        the indices of the samples in each row.
    """
    room = max(*lengths, row_tokens)
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, tokens in enumerate(free) if tokens >= lengths[index]), None)
        if row is None:
            rows.append([])
            free.append(room)
            row = len(rows) - 1
        rows[row].append(index)
        free[row] -= lengths[index]
    return rows


class _Row:
    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.sequences: list[int] = []
        self.virtual: list[int] = []


class _Labels:
    def __init__(self) -> None:
        self._ids: list[int] = []
        self._rows: list[int] = []
        self._columns: list[int] = []

    def add(self, target: Sequence[int], row: int, first_column: int) -> None:
        self._ids += target
        self._rows += [row] * len(target)
        self._columns += range(first_column, first_column + len(target))

    def tensors(self, multiple: int) -> dict[str, torch.Tensor]:
        padding = _rounded_up(len(self._ids), multiple) - len(self._ids)
        named = {
            "labels": [*self._ids, *[IGNORED_LABEL] * padding],
            "label_rows": [*self._rows, *[0] * padding],
            "label_columns": [*self._columns, *[0] * padding],
        }
        return {name: torch.tensor(values, dtype=torch.long) for name, values in named.items()}


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
