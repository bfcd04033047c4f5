"""Beam search with the results of transformers' `generate`, in which a finished prompt leaves the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from peft_study.generation.shared import PromptBatch

_EXCLUDED = -1.0e9
"""Added to the score of a candidate that must not be chosen, as in transformers."""


class EndRule(Protocol):
    """Decides which candidates are complete by their text."""

    def __call__(self, prompts: Sequence[int], new: torch.Tensor) -> torch.Tensor:
        """Whether each candidate is complete.

        Args:
            prompts: index of each prompt in the batch.
            new: generated tokens, (prompts, candidates, tokens).

        Returns:
            boolean tensor, (prompts, candidates).
        """


@dataclass(frozen=True)
class SearchSettings:
    """What decides a search besides the model.

    Attributes:
        candidates: number of candidates to return for each prompt.
        room: number of tokens of a candidate at most.
        ends: ids of the tokens that end a candidate.
        pad: id that fills a candidate behind its end.
        length_penalty: exponent of the length by which a score is divided.
        early_stopping: end a prompt once it has as many complete candidates as beams.
        end_rule: which candidates are complete by their text; None if only tokens end them.
    """

    candidates: int
    room: int
    ends: tuple[int, ...]
    pad: int
    length_penalty: float = 1.0
    early_stopping: bool = False
    end_rule: EndRule | None = None


@dataclass
class _Beams:
    """Candidates of each active prompt, (prompts, beams, ...): tokens, scores, and the beams that they continue."""

    tokens: torch.Tensor
    scores: torch.Tensor
    origins: torch.Tensor

    def choose(self, places: torch.Tensor) -> "_Beams":
        """These candidates of each prompt, (prompts, beams)."""
        return _Beams(
            torch.take_along_dim(self.tokens, places[..., None], dim=1),
            torch.take_along_dim(self.scores, places, dim=1),
            torch.take_along_dim(self.origins, places, dim=1),
        )

    def keep(self, prompts: torch.Tensor) -> "_Beams":
        """The candidates of these prompts."""
        return _Beams(self.tokens[prompts], self.scores[prompts], self.origins[prompts])


class _Search:
    """The state of a search. The rules are those of transformers 5.23, `GenerationMixin._beam_search`."""

    def __init__(self, settings: SearchSettings, batch: PromptBatch) -> None:
        self._settings, self._batch = settings, batch
        prompts, self._vocabulary = batch.first_logits.shape
        device = batch.first_logits.device
        self._count = batch.sequences
        self._ends = torch.tensor(settings.ends, device=device)
        self._is_end = torch.zeros(self._vocabulary, dtype=torch.bool, device=device)
        self._is_end[self._ends] = True
        shape = (prompts, self._count)
        pads = torch.full((*shape, settings.room), settings.pad, device=device)
        zeros = torch.zeros(shape, dtype=torch.long, device=device)
        # All beams of a prompt are equal before the first token, so that the search starts with a single one.
        self._running = _Beams(pads[:, :1], torch.zeros((prompts, 1), device=device), zeros[:, :1])
        self._complete = _Beams(pads, torch.full(shape, _EXCLUDED, device=device), zeros)
        self._is_complete = torch.zeros(shape, dtype=torch.bool, device=device)
        self._active = list(range(prompts))
        self._results: list[list[list[int]]] = [[] for _ in range(prompts)]

    def run(self) -> list[list[list[int]]]:
        """Search until every prompt is finished."""
        logits = self._batch.first_logits[:, None]
        for length in range(1, self._settings.room + 1):
            exhausted = self._extend(logits, length)
            self._leave(self._finished(length) | exhausted)
            if not self._active:
                break
            self._batch.reorder(self._running.origins)
            logits = self._batch.step(self._running.tokens[..., length - 1])
        return self._results

    def _extend(self, logits: torch.Tensor, length: int) -> torch.Tensor:
        """Extend the beams by a token. Return for each prompt whether no beam is left to extend."""
        total = torch.log_softmax(logits.float(), dim=-1) + self._running.scores[..., None]
        if length == self._settings.room:
            self._add_complete(self._best(total, self._count, length), None, length)
            return torch.ones(len(total), dtype=torch.bool, device=total.device)
        if self._settings.end_rule is None:
            best = self._best(total, self._count, length)
            self._add_complete(best, self._is_end[best.tokens[..., length - 1]], length)
            # transformers ranks (1 + ends) x beams continuations, because some may end. With hundreds of tokens that
            # hold a line break, that costs more than to rank those that do not end apart. The result is equal.
            total[..., self._ends] = float("-inf")
            self._running = self._best(total, self._count, length)
            return torch.zeros(len(total), dtype=torch.bool, device=total.device)
        best = self._best(total, max(2, 1 + len(self._ends)) * self._count, length)
        ends = self._is_end[best.tokens[..., length - 1]]
        ends |= self._settings.end_rule(self._active, best.tokens[..., :length])
        first = best.choose(torch.arange(self._count, device=total.device).expand(len(total), -1))
        self._add_complete(first, ends[:, : self._count], length)
        best.scores = best.scores + ends * _EXCLUDED
        self._running = best.choose(torch.topk(best.scores, self._count).indices)
        return ends.all(dim=1)

    def _best(self, total: torch.Tensor, count: int, length: int) -> _Beams:
        scores, places = torch.topk(total.flatten(1), min(count, total[0].numel()))
        origins = places // self._vocabulary
        tokens = torch.take_along_dim(self._running.tokens, origins[..., None], dim=1)
        tokens[..., length - 1] = places % self._vocabulary
        return _Beams(tokens, scores, origins)

    def _add_complete(self, best: _Beams, ends: torch.Tensor | None, length: int) -> None:
        """Add the candidates that end to the complete ones, and keep the best. None means that all end."""
        ends = torch.ones_like(best.scores, dtype=torch.bool) if ends is None else ends
        scores = best.scores / length**self._settings.length_penalty + ~ends * _EXCLUDED
        merged = _Beams(
            torch.cat([self._complete.tokens, best.tokens], dim=1),
            torch.cat([self._complete.scores, scores], dim=1),
            torch.cat([self._complete.origins, best.origins], dim=1),
        )
        places = torch.topk(merged.scores, self._count).indices
        self._complete = merged.choose(places)
        self._is_complete = torch.take_along_dim(torch.cat([self._is_complete, ends], dim=1), places, dim=1)

    def _finished(self, length: int) -> torch.Tensor:
        """Whether each prompt has its candidates: as many as beams, and none that a running beam could improve on."""
        full = self._is_complete.all(dim=1)
        if self._settings.early_stopping:
            return full
        attainable = self._running.scores[:, 0] / length**self._settings.length_penalty
        finished: torch.Tensor = full & (attainable <= self._complete.scores.amin(dim=1))
        return finished

    def _leave(self, finished: torch.Tensor) -> None:
        """Take finished prompts out of the batch."""
        gone = [place for place, value in enumerate(finished.tolist()) if value]
        if not gone:
            return
        for place in gone:
            candidates = self._complete.tokens[place, : self._settings.candidates]
            self._results[self._active[place]] = candidates.tolist()
        order = fill_holes(len(self._active), gone)
        self._active = [self._active[place] for place in order]
        if order:
            index = torch.tensor(order, device=finished.device)
            self._running, self._complete = self._running.keep(index), self._complete.keep(index)
            self._is_complete = self._is_complete[index]
            self._batch.keep(order)


def beam_search(settings: SearchSettings, batch: PromptBatch) -> list[list[list[int]]]:
    """Search the most probable candidates of the prompts of a batch.

    Args:
        settings: what decides a search besides the model.
        batch: the prompts; `batch.sequences` is the number of beams.

    Returns:
        the tokens of the candidates of each prompt, the best first, filled to `settings.room`.
    """
    with batch.writing():
        return _Search(settings, batch).run()


def fill_holes(count: int, gone: Sequence[int]) -> list[int]:
    """Order of the places that remain when some are gone: the last ones move into the holes.

    Returns:
        for each new place, the present one, which is never before it.
    """
    left = count - len(gone)
    holes = {place for place in gone if place < left}
    last = iter(sorted(set(range(left, count)) - set(gone)))
    return [next(last) if place in holes else place for place in range(left)]
