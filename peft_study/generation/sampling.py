"""Sampling with the draws of transformers' `generate`, one prompt at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from peft_study.generation.beam_search import EndRule, fill_holes
from peft_study.generation.shared import PromptBatch


@dataclass(frozen=True)
class SamplingSettings:
    """What decides the draws besides the model.

    Attributes:
        room: number of tokens of a candidate at most.
        ends: ids of the tokens that end a candidate.
        pad: id that fills a candidate behind its end.
        temperature: divides the logits; None takes the most probable token.
        top_k: draw from this number of most probable tokens; 0 is all of them.
        top_p: draw from the smallest set of tokens with this total probability.
        end_rule: which candidates are complete by their text; None if only tokens end them.
    """

    room: int
    ends: tuple[int, ...]
    pad: int
    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    end_rule: EndRule | None = None

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


def sample(settings: SamplingSettings, batch: PromptBatch, seeds: Sequence[int]) -> list[list[list[int]]]:
    """Draw the candidates of the prompts of a batch.

    Args:
        settings: what decides the draws besides the model.
        batch: the prompts; `batch.sequences` is the number of candidates.
        seeds: of each prompt. Its draws depend on no other prompt.

    Returns:
        the tokens of the candidates of each prompt, filled to `settings.room`.
    """
    device = batch.first_logits.device
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    active = list(range(len(seeds)))
    results: list[list[list[int]]] = [[] for _ in active]
    ends = torch.tensor(settings.ends, device=device)
    warpers = settings.warpers()
    written = torch.full((len(active), batch.sequences, settings.room), settings.pad, device=device)
    done = torch.zeros(written.shape[:2], dtype=torch.bool, device=device)
    logits = batch.first_logits[:, None].expand(-1, batch.sequences, -1)
    with batch.writing():
        for length in range(settings.room):
            tokens = _next_tokens(logits.float(), settings, warpers, [generators[prompt] for prompt in active])
            written[..., length] = torch.where(done, settings.pad, tokens)
            done |= torch.isin(tokens, ends)
            if settings.end_rule is not None:
                done |= settings.end_rule(active, written[..., : length + 1])
            gone = [
                place for place, value in enumerate(done.all(dim=1).tolist()) if value or length + 1 == settings.room
            ]
            for place in gone:
                results[active[place]] = written[place].tolist()
            if gone:
                order = fill_holes(len(active), gone)
                active = [active[place] for place in order]
                if not active:
                    break
                index = torch.tensor(order, device=device)
                written, done = written[index], done[index]
                batch.keep(order)
            logits = batch.step(written[..., length])
    return results


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
    return torch.stack(
        [
            torch.multinomial(rows, 1, generator=generator)[:, 0]
            for rows, generator in zip(probabilities, generators, strict=True)
        ]
    )
