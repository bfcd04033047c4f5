"""The loss of a micro-batch: logits where there is a label, in chunks, whatever the model and the adapter.

The base model's own forward runs, so that everything an adapter does around it stays. Only its head is exchanged for
the time of a call: the head receives the last hidden states, takes those that predict a label, and returns the loss.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from peft import PeftModel, PeftType, PromptLearningConfig
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from peft_study.config.schema import DatasetConfig, MemoryPolicy, TrainingConfig
from peft_study.data.tokens import IGNORED_LABEL
from peft_study.models.loading import Model
from peft_study.training.collate import Collator, Layout

CHUNK_LOGITS = 2**23
"""Logits that live at once, 34 MB in fp32. A batch with fewer is one chunk, of which nothing is computed twice."""
_OWN_LOSS = {PeftType.SHADOW, PeftType.CPT, PeftType.XLORA}
"""Adapters that compute logits or a loss beside those of the base model."""
_WHOLE_ROWS = {PeftType.ADAPTION_PROMPT, PeftType.POLY}
"""Adapters that read a row as a whole: an attention of their own, or a task for each row."""


def layout_for(model: Model, *, encoder_decoder: bool) -> Layout:
    """The layout with the least padding that gives a model the gradients of padded rows.

    Args:
        model: base or adapter.
        encoder_decoder: whether an encoder reads the prompt.
    """
    adapter: Any = model.active_peft_config if isinstance(model, PeftModel) else None
    # An activated LoRA looks for its tokens within each row.
    if adapter is not None and (adapter.peft_type in _OWN_LOSS or getattr(adapter, "alora_invocation_tokens", None)):
        return Layout.full
    # Virtual tokens stand in front of each row.
    rows = isinstance(adapter, PromptLearningConfig) or (adapter is not None and adapter.peft_type in _WHOLE_ROWS)
    return Layout.padded if encoder_decoder or rows else Layout.packed


def collator_for(
    model: Model, pad_token_id: int, training: TrainingConfig, dataset: DatasetConfig, *, encoder_decoder: bool
) -> Collator:
    """The collator of a cell.

    Args:
        model: base or adapter.
        pad_token_id: see `Collator`.
        training: `memory=paper` pads each sample to the data set's limits and computes all logits, as the study did.
        dataset: the limits, in tokens.
        encoder_decoder: whether an encoder reads the prompt.
    """
    if training.memory is not MemoryPolicy.paper:
        return Collator(pad_token_id, encoder_decoder, layout_for(model, encoder_decoder=encoder_decoder))
    prompt, target = dataset.max_prompt_tokens, dataset.max_target_tokens
    width = prompt if encoder_decoder else prompt + target
    return Collator(pad_token_id, encoder_decoder, Layout.full, input_width=width, label_width=target)


def training_loss(
    model: Model, inputs: Mapping[str, torch.Tensor], *, target_count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The cross-entropy of a micro-batch, as its part of the mean over all targets of an optimizer step.

    The layout of the batch decides how it is computed. No shape depends on the values of a tensor, so that a step can
    also run on fake tensors.

    Args:
        model: base or adapter, on the device of the inputs.
        inputs: a batch of `training.collate.Collator`.
        target_count: targets of the whole optimizer step; None takes those of this batch.

    Returns:
        a scalar in nats: the sum over this batch's targets, divided by `target_count`. A loss that an adapter adds,
        such as AdaLoRA's, has the weight of this batch's share of the targets.
    """
    if "label_positions" in inputs:
        base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        with _loss_at_labels(base, inputs["label_positions"], inputs["targets"], inputs["labels"].shape[1]):
            loss: torch.Tensor = model(**_model_inputs(base, inputs)).loss
        count: torch.Tensor | int = inputs["targets"].shape[0]
    else:
        loss = model(**inputs).loss
        count = (inputs["labels"] != IGNORED_LABEL).sum()
    return loss if target_count is None else loss * count / target_count


def _model_inputs(base: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    if "segment_ids" not in inputs:
        return {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
    attention = base.config._attn_implementation
    # Flash attention reads where samples begin from their positions.
    mask = None if "flash" in attention else _block_mask(inputs["segment_ids"])
    if mask is not None and attention == "eager":
        dtype = base.get_input_embeddings().weight.dtype
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
    return {
        "input_ids": inputs["input_ids"],
        "position_ids": inputs["position_ids"],
        "attention_mask": mask,
        "labels": inputs["labels"],
        "use_cache": False,
    }


def _block_mask(segments: torch.Tensor) -> torch.Tensor:
    """Which token attends to which: to itself and those before it in its own sample.

    Args:
        segments: (rows, width), the sample of each token within its row.

    Returns:
        bool, (rows, 1, width, width), queries before keys.
    """
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()[:, None]


@contextmanager
def _loss_at_labels(base: Any, positions: torch.Tensor, targets: torch.Tensor, width: int) -> Iterator[None]:
    """Let a base model's forward return the mean loss over targets, without logits anywhere else.

    Args:
        base: a transformers model with a head.
        positions: (targets,), flat index of the hidden state that predicts each target in (rows, width).
        targets: (targets,).
        width: of the labels; hidden states of virtual tokens come before it.
    """
    head = base.get_output_embeddings()
    to_logits = head.forward
    to_outputs = base.forward

    def mean_loss(hidden: torch.Tensor, **options: Any) -> torch.Tensor:
        rows = hidden[:, hidden.shape[1] - width :].flatten(0, 1).index_select(0, positions)
        return _chunked_sum(lambda chunk: to_logits(chunk, **options), rows, targets, base.config.vocab_size) / len(
            targets
        )

    @wraps(to_outputs)
    def outputs_with_loss(*values: Any, labels: torch.Tensor, **named: Any) -> Any:
        if base.config.is_encoder_decoder and named.get("decoder_input_ids") is None:
            named["decoder_input_ids"] = base.prepare_decoder_input_ids_from_labels(labels)
        outputs = to_outputs(*values, **named)
        outputs.loss, outputs.logits = outputs.logits, None
        return outputs

    with _forward_of(head, mean_loss), _forward_of(base, outputs_with_loss):
        yield


@contextmanager
def _forward_of(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    replaced = module.__dict__.get("forward")  # accelerate and peft also put theirs on the instance
    module.forward = forward
    try:
        yield
    finally:
        if replaced is None:
            del module.forward
        else:
            module.forward = replaced


def _chunked_sum(
    to_logits: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor, targets: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """The summed cross-entropy in fp32; all chunks but an only one compute their logits again in the backward pass."""

    def loss(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(to_logits(rows).float(), labels, reduction="sum")

    size = max(1, CHUNK_LOGITS // vocabulary)
    if len(targets) <= size:
        return loss(hidden, targets)
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    losses = [checkpoint(loss, rows, labels, use_reentrant=False) for rows, labels in chunks]
    return torch.stack(losses).sum()
