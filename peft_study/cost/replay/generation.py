"""Replay the reading of prompts and the last steps of a beam search, when keys and values take most memory."""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from peft_study.cost.replay.cuda_rules import replaced
from peft_study.generation import shared_cache
from peft_study.generation.compat import efficient_attention_with_log_sum
from peft_study.generation.prompt_batch import PromptBatch
from peft_study.generation.prompt_reader import Chunk, PromptReader
from peft_study.models.precision import Compute

LAST_STEPS = 2
"""The second step follows a reordering of the beams, as every step but the first does."""


def write(
    model: PreTrainedModel,
    begin: Callable[[str], None],
    prompts: int,
    prompt_tokens: int,
    new_tokens: int,
    sequences: int,
    compute: Compute,
) -> None:
    """Read prompts that have nothing in common, and run the last steps of their candidates.

    Args:
        model: the base, with the layers of an adapter, on fake tensors.
        begin: called with the name of each segment before it begins. Within a segment, bytes are linear in the number
            of layers.
        prompts: number of prompts in the batch.
        prompt_tokens: length of each prompt, virtual tokens included.
        new_tokens: length of each candidate.
        sequences: number of sequences for each prompt.
        compute: the number format.
    """
    with (
        torch.no_grad(),
        compute.autocast(),
        replaced(shared_cache, "attention_with_log_sum", efficient_attention_with_log_sum),
    ):
        ids = [[0] * prompt_tokens] * prompts
        begin("read")
        # With the others, the prompts would share what they begin with: they are equal.
        reader = PromptReader(model, ids[:1], pad_token_id=0)
        if model.config.is_encoder_decoder:
            batch = reader.read(ids, sequences, new_tokens)
        else:
            chunks = _read(reader, ids)
            begin("join")
            batch = reader.join(ids, chunks, sequences, new_tokens)
        batch.lengthen(max(0, new_tokens - LAST_STEPS))
        begin("write")
        with batch.writing():
            _search(batch, prompts, sequences, min(LAST_STEPS, new_tokens))


def _read(reader: PromptReader, ids: list[list[int]]) -> list[Chunk]:
    """Read the last chunk, with the keys and values of the others in memory, which need not be computed."""
    *others, last = reader.chunk_sizes(ids)
    if not others:
        return [reader.read_chunk(ids)]
    example = reader.read_chunk(ids[:last])
    chunks = [
        Chunk(
            [tuple(part.new_empty(size, *part.shape[1:]) for part in layer) for layer in example.parts],  # type: ignore[misc]
            example.logits.new_empty(size, example.logits.shape[1]),
        )
        for size in others
    ]
    del example
    return [*chunks, reader.read_chunk(ids[:last])]


def _search(batch: PromptBatch, prompts: int, sequences: int, steps: int) -> None:
    """Choose the best continuations, with as many copies of the scores as `generation.beam_search` makes."""
    scores = torch.zeros(prompts, sequences)
    tokens = torch.zeros(prompts, sequences, dtype=torch.long)
    for _ in range(steps):
        logits = batch.step(tokens)
        total = torch.log_softmax(logits.float(), dim=-1) + scores[..., None]
        scores, places = torch.topk(total.flatten(1), sequences)
        tokens = places % total.shape[-1]
        batch.reorder(places // total.shape[-1])
