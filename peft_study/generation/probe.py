"""Finds out whether a model writes behind shared keys and values what it writes alone."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel

from peft_study.generation.batches import LEAST_COMMON
from peft_study.generation.prompt_reader import PromptReader
from peft_study.models.loading import Model, base_of
from peft_study.models.out_of_memory import is_out_of_memory

EXACT = 1e-3
"""Largest relative error of logits in fp32. Rounding gives 1e-6, and up to 1e-4 with random weights."""
ROUNDED = 5e-2
"""The same for formats that round: 16 bits, and 8-bit layers, whose rounding depends on the rows of the batch."""
ROUNDED_SHARE = 0.25
"""The same in multiples of what another token changes in the logits. Random weights of a 7B model differ by 6 % in bf16
(docs/performance-log.md). The larger limit holds."""
_TAILS = ((3, 2), (6, 1))
"""Tokens of each prompt of the probe behind the common part, and the step between those tokens in the source."""


def why_not_shared(model: Model, prompt: Sequence[int], pad_token_id: int) -> str | None:
    """Compare two steps of two short prompts with the same texts read alone.

    Args:
        model: base or adapter, in evaluation mode.
        prompt: token ids of any prompt; its tokens make up the probe.
        pad_token_id: id that fills rows.

    Returns:
        None if the logits agree, else the reason to copy keys and values for each candidate.
    """
    adapter = model.active_peft_config if isinstance(model, PeftModel) else None
    if adapter is not None and adapter.is_prompt_learning and model.config.is_encoder_decoder:
        return "virtual tokens of an encoder-decoder"
    try:
        error, change = _relative_error(model, _prompts(prompt), pad_token_id)
    except Exception as failure:  # an adapter of any kind may fail in any way
        if is_out_of_memory(failure):
            raise
        return f"{type(failure).__name__} in the model: {str(failure).splitlines()[0] if str(failure) else ''}"
    limit = max(ROUNDED, ROUNDED_SHARE * change) if _rounds(model) else EXACT
    return None if error <= limit else f"logits differ by {error:.1e}, more than {limit:.0e}"


def _prompts(prompt: Sequence[int]) -> list[list[int]]:
    # A common part, then tails of different lengths: padding, a common part and a prompt's own tokens all occur.
    source = list(prompt) * (1 + 2 * LEAST_COMMON // len(prompt))
    head = source[:LEAST_COMMON]
    return [head + source[-count * step :: step][:count] for count, step in _TAILS]


def _relative_error(model: Model, prompts: Sequence[Sequence[int]], pad: int) -> tuple[float, float]:
    """The relative error of the logits, and the relative difference between two texts with other tokens at the end."""
    reader = PromptReader(model, prompts, pad)
    batch = reader.read(prompts, sequences=2, room=2)
    first = torch.topk(batch.first_logits, 2).indices
    second = first.flip(1)
    origins = torch.tensor([[1, 0], [0, 0]], device=first.device)
    with batch.writing():
        batch.step(first)
        batch.reorder(origins)
        shared = batch.step(second).float()
    texts = torch.stack([first.gather(1, origins), second], dim=-1).tolist()
    rows = [
        _logits_alone(model, prompt, written)
        for prompt, candidates in zip(prompts, texts, strict=True)
        for written in candidates
    ]
    alone = torch.stack(rows).view_as(shared)
    changes = (alone[:, 0] - alone[:, 1]).norm(dim=-1) / alone.norm(dim=(1, 2))
    return float((shared - alone).norm() / alone.norm()), float(changes.min())


def _logits_alone(model: Model, prompt: Sequence[int], written: Sequence[int]) -> torch.Tensor:
    ids = {"input_ids": [*prompt, *written]}
    if model.config.is_encoder_decoder:
        ids = {"input_ids": [*prompt], "decoder_input_ids": [int(model.config.decoder_start_token_id), *written]}
    inputs: dict[str, Any] = {name: torch.tensor([row], device=model.device) for name, row in ids.items()}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, -1].float()
    return logits


def _rounds(model: Model) -> bool:
    base = base_of(model)
    is_8bit = bool(getattr(base, "is_loaded_in_8bit", False))
    return is_8bit or base.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
