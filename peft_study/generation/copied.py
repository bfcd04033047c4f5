"""Decoding by transformers' `generate`, with a copy of a prompt's keys and values for each candidate."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModelForCausalLM
from transformers import Cache, DynamicCache, StoppingCriteriaList
from transformers import GenerationConfig as TransformersGenerationConfig

from peft_study.config.schema import GenerationConfig
from peft_study.generation.batches import padded_ids, visible_tokens
from peft_study.generation.stopping import CompleteCandidates, CompleteTexts
from peft_study.models.loading import Model


class CopyingDecoder:
    """Decodes batches of prompts for models that cannot share keys and values (`generation.probe`).

    Args:
        model: base or adapter, on its device.
        settings: beam search or sampling.
        max_new_tokens: length limit of a candidate, in tokens.
        ends: ids of the tokens that end a candidate.
        pad: id that fills rows.
    """

    def __init__(
        self, model: Model, settings: GenerationConfig, max_new_tokens: int, ends: Sequence[int], pad: int
    ) -> None:
        self._model, self._settings, self._pad = model, settings, pad
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self._config = _transformers_config(model, settings, max_new_tokens, ends, pad)

    def run(self, prompts: Sequence[Sequence[int]], complete: CompleteTexts | None) -> list[list[list[int]]]:
        """Return the tokens of the candidates of each prompt, the best first."""
        device, left = self._model.device, not self._encoder_decoder
        # A decoder continues at the end of the row, so padding goes before the prompt.
        ids = padded_ids(prompts, self._pad, device, left=left)
        mask = visible_tokens(prompts, device, left=left).long()
        width = 0 if self._encoder_decoder else ids.shape[1]
        criteria = [CompleteCandidates(complete, len(prompts), width)] if complete else []
        output = self._model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            generation_config=self._config,
            stopping_criteria=StoppingCriteriaList(criteria),
            **self._read_once(ids, mask),
        )
        rows: list[list[int]] = output[:, width:].tolist()
        count = self._settings.num_candidates
        return [rows[start : start + count] for start in range(0, len(rows), count)]

    def _read_once(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Cache]:
        """Read all tokens of each prompt but the last, and repeat the cache for the prompt's sequences."""
        # `generate` reads a prompt once for each beam. It reads an encoder's input once anyway, and only inside
        # `generate` does peft add virtual tokens.
        if self._encoder_decoder or adds_virtual_tokens(self._model) or ids.shape[1] == 1:
            return {}
        cache = DynamicCache(config=self._model.config)
        # Positions count from the first token after the padding, as in `generate`.
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        self._model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            past_key_values=cache,
            use_cache=True,
            # Nothing reads them. All logits would take prompts x tokens x vocabulary.
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(self._settings.sequences)
        return {"past_key_values": cache}


def adds_virtual_tokens(model: Model) -> bool:
    """Whether peft adds virtual tokens to a decoder's prompt inside `generate`."""
    return isinstance(model, PeftModelForCausalLM) and model.active_peft_config.is_prompt_learning


def _transformers_config(
    model: Model, settings: GenerationConfig, max_new_tokens: int, ends: Sequence[int], pad: int
) -> TransformersGenerationConfig:
    strategy: dict[str, Any] = {
        "do_sample": False,
        "length_penalty": settings.length_penalty,
        "early_stopping": settings.early_stopping,
    }
    if settings.temperature is not None:
        # All three are set, because transformers defaults to the 50 most probable tokens, which the study's package
        # used without saying so (docs/differences.md).
        strategy = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k,
        }
    return TransformersGenerationConfig(
        num_beams=settings.num_beams,
        num_return_sequences=settings.num_candidates,
        max_new_tokens=max_new_tokens,
        **strategy,
        eos_token_id=list(ends),
        pad_token_id=pad,
        bos_token_id=getattr(model.config, "bos_token_id", None),
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
    )
