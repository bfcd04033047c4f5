"""The loss of a micro-batch, with logits only at the positions that predict a label."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.utils import PeftType
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from peft_study.data.tokens import IGNORED_LABEL
from peft_study.models.adapter import virtual_tokens
from peft_study.models.compat import attention_kernel
from peft_study.models.loading import base_of

LOGITS_AT_ONCE = 1 << 25
"""Number of logits in memory at a time: 134 MB in fp32. More labels are split into chunks, and the backward pass
recomputes the logits of each chunk."""


def training_loss(
    model: Any, inputs: Mapping[str, torch.Tensor], target_count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy of the target tokens of a micro-batch.

    Args:
        model: base or adapter, see `models.loading.Model`.
        inputs: a batch of `packing.Packer`; or of `collate.Collator`, with input_ids, attention_mask and labels of
            shape (samples, tokens), for which the model computes every logit.
        target_count: divisor of the sum over the tokens: the number of target tokens in all micro-batches of a step.
            None counts the target tokens of this micro-batch.

    Returns:
        a scalar, in nats.
    """
    labels = inputs["labels"]
    if labels.ndim > 1:
        # transformers' T5 ignores the number of target tokens that the Trainer passes on, so it is applied to the mean.
        mean: torch.Tensor = model(**inputs).loss
        return mean if target_count is None else mean * _count(labels) / target_count
    base = base_of(model)
    head = base.get_output_embeddings()
    with _label_positions_in_place_of_head(base, inputs) as positions:
        _forward(model, base, inputs)
    total = _cross_entropy(head, positions.hidden_states, labels, int(base.config.vocab_size))
    return total / (_count(labels) if target_count is None else target_count)


def labels_at_once(vocabulary: int) -> int:
    """Number of labels whose logits are computed together. More of them are split into chunks, see `LOGITS_AT_ONCE`."""
    return max(1, LOGITS_AT_ONCE // vocabulary)


def _count(labels: torch.Tensor) -> torch.Tensor:
    return (labels != IGNORED_LABEL).sum()


class _LabelPositions(nn.Module):
    """Replaces the output head, and keeps the hidden states that predict a label: (labels, hidden size)."""

    hidden_states: torch.Tensor

    def __init__(self, inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._rows, self._columns = inputs["label_rows"], inputs["label_columns"]
        self._width = inputs["decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"].shape[1]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        # peft puts virtual tokens before padded samples, which shifts the columns of all other tokens.
        columns = self._columns + (hidden_states.shape[1] - self._width)
        self.hidden_states = hidden_states[self._rows, columns]
        return self.hidden_states


@contextmanager
def _label_positions_in_place_of_head(base: Any, inputs: Mapping[str, torch.Tensor]) -> Iterator[_LabelPositions]:
    """Replace the output head while the context is active."""
    # A head computes logits for every position: 32,000 to 51,200 numbers each, most of them for prompt and padding.
    # Every architecture of the study calls its head `lm_head` and returns its output unchanged. Calling only the layers
    # below the head would not do: an adapter works in the model's own forward pass.
    head = base.lm_head
    positions = _LabelPositions(inputs)
    base.lm_head = positions
    try:
        yield positions
    finally:
        base.lm_head = head


def _forward(model: Any, base: Any, inputs: Mapping[str, torch.Tensor]) -> None:
    adapter = model.active_peft_config if isinstance(model, PeftModel) else None
    # Prefix tuning learns the keys and values of a cache, which the model ignores with use_cache=False.
    prefix = adapter is not None and adapter.peft_type is PeftType.PREFIX_TUNING
    if "sequence_ids" not in inputs:
        label_inputs = ("labels", "label_rows", "label_columns")
        model(**{name: values for name, values in inputs.items() if name not in label_inputs}, use_cache=prefix)
        return
    input_ids = inputs["input_ids"]
    mask = _mask(base, inputs["sequence_ids"], cached=virtual_tokens(adapter) if prefix else 0)
    packed = {"attention_mask": mask, "position_ids": inputs["position_ids"]}
    # peft builds masks and virtual tokens for rows that hold a single sample. Packed rows hold several, so that the
    # branches for virtual tokens call the base model directly.
    if adapter is None or not adapter.is_prompt_learning:
        model(input_ids=input_ids, **packed, use_cache=False)
    elif prefix:
        base(input_ids=input_ids, **packed, past_key_values=model.get_prompt(batch_size=input_ids.shape[0]))
    else:
        embeddings = _with_virtual_tokens(model, input_ids, inputs["virtual_ids"])
        base(inputs_embeds=embeddings, **packed, use_cache=False)


def _with_virtual_tokens(model: Any, input_ids: torch.Tensor, virtual_ids: torch.Tensor) -> torch.Tensor:
    """Embeddings of a row, with the learned vectors at the positions of virtual tokens."""
    embeddings: torch.Tensor = model.word_embeddings(input_ids)
    virtual = model.get_prompt(batch_size=1)[0].to(embeddings.dtype)
    return torch.where(virtual_ids[..., None] > 0, virtual[(virtual_ids - 1).clamp_min(0)], embeddings)


def _mask(base: Any, sequence_ids: torch.Tensor, cached: int) -> torch.Tensor:
    """The mask of packed rows, (rows, 1, tokens, cached + tokens): causal within each sequence, full to cached keys."""
    # Padding has the sequence id 0, so that it attends to padding: the softmax of a fully masked row would be NaN.
    tokens = sequence_ids.shape[1]
    device = sequence_ids.device
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
    allowed = (sequence_ids[:, :, None] == sequence_ids[:, None, :]) & causal
    if cached:
        allowed = torch.cat([allowed.new_ones(*sequence_ids.shape, cached), allowed], dim=-1)
    # `sdpa` reads True as allowed. Eager attention adds the mask to the scores instead.
    allowed = allowed[:, None]
    if attention_kernel(base.config) == "sdpa":
        return allowed
    scores = torch.zeros(allowed.shape, dtype=base.dtype, device=device)
    return scores.masked_fill(~allowed, torch.finfo(base.dtype).min)


def _cross_entropy(head: nn.Module, hidden_states: torch.Tensor, labels: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """The sum of the cross-entropy over the labels, in nats, from hidden states of shape (labels, hidden size)."""
    chunk = labels_at_once(vocabulary)
    if labels.shape[0] <= chunk:
        return _chunk_loss(head, hidden_states, labels)
    total = hidden_states.new_zeros((), dtype=torch.float32)
    for states, targets in zip(hidden_states.split(chunk), labels.split(chunk), strict=True):
        if torch.is_grad_enabled():
            total = total + checkpoint(_chunk_loss, head, states, targets, use_reentrant=False)
        else:
            total = total + _chunk_loss(head, states, targets)
    return total


def _chunk_loss(head: nn.Module, hidden_states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    # In 16 bits the exponentials of a large vocabulary lose too much precision.
    return functional.cross_entropy(head(hidden_states).float(), labels, reduction="sum")
