"""Sampling with the draws of transformers' `generate`, one prompt at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from peft_study.generation.active import ActivePrompts
from peft_study.generation.prompt_batch import PromptBatch
from peft_study.generation.stopping import CompleteTexts, EndSettings


@dataclass(frozen=True, kw_only=True)
class SamplingSettings(EndSettings):
    """What decides the draws besides the model.

    Attributes:
        temperature: divides the logits; None takes the most probable token.
        top_k: draw from this number of most probable tokens; 0 is all of them.
        top_p: draw from the smallest set of tokens with this total probability.
    """

    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0

    def warpers(self) -> LogitsProcessorList:
        """The changes of the logits before a draw, in transformers' order."""
        warpers = LogitsProcessorList()
        if self.temperature is not None and self.temperature != 1.0:
            warpers.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            warpers.append(TopPLogitsWarper(self.top_p))
        return warpers


def sample(
    settings: SamplingSettings, batch: PromptBatch, complete: CompleteTexts | None, seeds: Sequence[int]
) -> list[list[list[int]]]:
    """Draw the candidates of the prompts of a batch.

    Args:
        settings: what decides the draws besides the model.
        batch: the prompts; `batch.sequences` is the number of candidates.
        complete: which candidates are complete by their text; None if only tokens end them.
        seeds: of each prompt. Its draws depend on no other prompt.

    Returns:
        the tokens of the candidates of each prompt, filled to `settings.room`.
    """
    device = batch.first_logits.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    active = ActivePrompts(batch)
    ends = torch.tensor(settings.ends, device=device)
    warpers = settings.warpers()
    written = torch.full((len(seeds), batch.sequences, settings.room), settings.pad, device=device)
    done = torch.zeros(written.shape[:2], dtype=torch.bool, device=device)
    logits = batch.first_logits[:, None].expand(-1, batch.sequences, -1)
    with batch.writing():
        for length in range(1, settings.room + 1):
            active_generators = [generators[prompt] for prompt in active.indices]
            tokens = _next_tokens(logits.float(), settings, warpers, active_generators)
            written[..., length - 1] = torch.where(done, settings.pad, tokens)
            done |= torch.isin(tokens, ends)
            if complete is not None:
                done |= complete(active.indices, written[..., :length])
            places = active.leave(done.all(dim=1) | (length == settings.room), written)
            if places is not None:
                written, done = written[places], done[places]
            if not active.indices:
                break
            logits = batch.step(written[..., length - 1])
    return active.results


def _next_tokens(
    logits: torch.Tensor,
    settings: SamplingSettings,
    warpers: LogitsProcessorList,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """Next token of each candidate, (prompts, candidates), from logits (prompts, candidates, vocabulary)."""
    if settings.temperature is None:
        return logits.argmax(-1)
    # The warpers change rows independently; the ids are for processors that look at what was written.
    scores = warpers(None, logits.flatten(0, 1)).view_as(logits)  # type: ignore[arg-type]
    probabilities = torch.softmax(scores, dim=-1)
    # A generator for each prompt: its draws are those of the prompt alone.
    prompts = zip(probabilities, generators, strict=True)
    return torch.cat([torch.multinomial(rows, 1, generator=generator).T for rows, generator in prompts])
