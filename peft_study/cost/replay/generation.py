"""Replay the prefill and the last steps of a beam search, when the key-value cache is longest."""

from typing import Any

import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedModel

from peft_study.models.precision import Compute

LAST_STEPS = 2
"""The second step starts from a cache that the first has reordered, as every step but the first does."""


def write(
    model: PreTrainedModel,
    prompts: int,
    prompt_tokens: int,
    new_tokens: int,
    sequences: int,
    read_once: bool,
    compute: Compute,
) -> None:
    """Read the prompts and run the last steps of their candidates, like `generate` under `generation.decode`.

    Args:
        model: the base, with the layers of an adapter, on fake tensors.
        prompts: number of prompts in the batch.
        prompt_tokens: length of each prompt, virtual tokens included.
        new_tokens: length of each candidate.
        sequences: number of sequences for each prompt.
        read_once: whether a prompt is read once, instead of once for each sequence.
        compute: the number format.
    """
    rows = prompts * sequences
    with torch.no_grad(), compute.autocast():
        if model.config.is_encoder_decoder:
            _write_behind_encoder(model, prompts, prompt_tokens, new_tokens, sequences)
            return
        cache = DynamicCache(config=model.config)
        ids = torch.zeros(prompts if read_once else rows, prompt_tokens - 1, dtype=torch.long)
        model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.zeros_like(ids),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if read_once:
            cache.batch_repeat_interleave(sequences)
        del ids
        _lengthen(cache, new_tokens - LAST_STEPS)
        scores: torch.Tensor | None = None
        for _ in range(LAST_STEPS):
            length = int(cache.get_seq_length()) + 1
            output = model(
                input_ids=torch.zeros(rows, 1, dtype=torch.long),
                attention_mask=torch.ones(rows, length, dtype=torch.long),
                position_ids=torch.zeros(rows, 1, dtype=torch.long),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            scores = _best(output, prompts, sequences, scores)
            cache.reorder_cache(torch.zeros(rows, dtype=torch.long))  # type: ignore[arg-type]


def _write_behind_encoder(model: Any, prompts: int, prompt_tokens: int, new_tokens: int, sequences: int) -> None:
    # The least exact part of a prediction: up to 26 % off for CodeT5+ 770M on an H100 (docs/performance-log.md).
    rows = prompts * sequences
    ids = torch.zeros(prompts, prompt_tokens, dtype=torch.long)
    encoded = model.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True)
    encoded["last_hidden_state"] = encoded.last_hidden_state.repeat_interleave(sequences, dim=0)
    mask = torch.ones(rows, prompt_tokens, dtype=torch.long)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    scores: torch.Tensor | None = None
    for step in range(1 + LAST_STEPS):
        output = model(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=torch.zeros(rows, 1, dtype=torch.long),
            past_key_values=cache,
            use_cache=True,
        )
        scores = _best(output, prompts, sequences, scores)
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long))  # type: ignore[arg-type]
        if step == 0:
            _lengthen(cache.self_attention_cache, new_tokens - 1 - LAST_STEPS)


def _lengthen(cache: Cache, tokens: int) -> None:
    """Lengthen a cache as if this many more tokens had been generated."""
    layers: list[Any] = cache.layers
    for index, layer in enumerate(layers):
        keys, values = layer.keys, layer.values
        shape = (*keys.shape[:2], max(0, tokens), keys.shape[3])
        cache.update(keys.new_empty(shape), values.new_empty(shape), index)


def _best(output: Any, prompts: int, sequences: int, scores: torch.Tensor | None) -> torch.Tensor:
    """The scores of the best continuations, with as many copies of the scores as transformers' beam search makes."""
    logits = output.logits[:, -1, :].to(copy=True, dtype=torch.float32)
    logged = torch.log_softmax(logits, dim=-1)
    if scores is not None:
        logged = logged + scores.view(-1, 1)
    best = torch.topk(logged.view(prompts, -1), min(2 * sequences, logged.shape[-1]))
    return best.values[:, :sequences].reshape(-1)
