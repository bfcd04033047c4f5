"""Candidates by transformers' `generate`, one prompt at a time: the outside judge of the project's decoder."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig as TransformersGenerationConfig
from transformers import PreTrainedTokenizerBase, StoppingCriteriaList

from peft_study.config.schema import Device, GenerationConfig, Precision
from peft_study.data.continuation import STANDALONE, anchor, text_behind
from peft_study.data.prompts import Template
from peft_study.generation.decode import SEED_FACTOR, Decoder
from peft_study.generation.stopping import (
    CompleteCandidates,
    CompleteTexts,
    Continuation,
    newline_tokens,
    token_texts,
)
from peft_study.models.loading import Model
from peft_study.models.precision import choose

CPU = choose(Device.cpu, Precision.fp32)


def plainly(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    settings: GenerationConfig,
    new_tokens: int,
    prompts: Sequence[Sequence[int]],
    seed: int = 0,
) -> list[tuple[str, ...]]:
    """Candidates of each prompt alone. Of the project only the end of a candidate's text is used."""
    model.eval()
    ends = [int(tokenizer.eos_token_id)]
    if template.stop_at_newline:
        ends += newline_tokens(token_texts(tokenizer))
    strategy: dict[str, Any] = {
        "num_beams": settings.num_beams,
        "length_penalty": settings.length_penalty,
        "early_stopping": settings.early_stopping,
        "do_sample": False,
    }
    if settings.temperature is not None:
        strategy = {"do_sample": True, "temperature": settings.temperature}
        strategy |= {"top_p": settings.top_p, "top_k": settings.top_k}
    config = TransformersGenerationConfig(
        **strategy,
        num_return_sequences=settings.num_candidates,
        max_new_tokens=new_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
    )
    texts: list[tuple[str, ...]] = []
    encoder_decoder = bool(model.config.is_encoder_decoder)
    for index, prompt in enumerate(prompts):
        ids = torch.tensor([list(prompt)])
        end = STANDALONE if encoder_decoder else anchor(prompt, tokenizer)
        continuation = Continuation(tokenizer, template, end, text_behind(STANDALONE, prompt, tokenizer))
        criteria = StoppingCriteriaList()
        if template.ends_early:
            complete = CompleteTexts([continuation], token_texts(tokenizer))
            criteria.append(CompleteCandidates(complete, 1, 0 if encoder_decoder else len(prompt)))
        torch.manual_seed(seed * SEED_FACTOR + index)
        with torch.inference_mode():
            written = model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                stopping_criteria=criteria,
            )
        texts.append(tuple(map(continuation.candidate, written[:, 0 if encoder_decoder else len(prompt) :].tolist())))
    return texts


def decoded(decoder: Decoder, prompts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """Candidates of each prompt by the project's decoder."""
    by_index = {item.index: item.candidates for batch in decoder.generate(prompts) for item in batch}
    return [by_index[index] for index in range(len(prompts))]
