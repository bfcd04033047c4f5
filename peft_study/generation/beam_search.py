"""Beam search with the results of transformers' `generate`, in which a finished prompt leaves the batch."""

from dataclasses import dataclass

import torch

from peft_study.generation.active import ActivePrompts
from peft_study.generation.prompt_batch import PromptBatch
from peft_study.generation.stopping import CompleteTexts, EndSettings

_EXCLUDED = -1.0e9
"""Added to the score of a candidate that must not be chosen, as in transformers."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings(EndSettings):
    """What decides a search besides the model.

    Attributes:
        candidates: number of candidates to return for each prompt.
        length_penalty: exponent of the length by which a score is divided.
        early_stopping: end a prompt once it has as many finished candidates as beams.
    """

    candidates: int
    length_penalty: float = 1.0
    early_stopping: bool = False


@dataclass
class _Beams:
    """Candidates of each active prompt.

    Attributes:
        tokens: (prompts, beams, room).
        scores: sums of log-probabilities, (prompts, beams).
        origins: the beams of the step before that they continue, (prompts, beams).
    """

    tokens: torch.Tensor
    scores: torch.Tensor
    origins: torch.Tensor


class _Search:
    """The state of a search. The rules are those of transformers 5.23, `GenerationMixin._beam_search`."""

    def __init__(self, settings: SearchSettings, batch: PromptBatch, complete: CompleteTexts | None) -> None:
        self._settings, self._batch, self._complete = settings, batch, complete
        self._active = ActivePrompts(batch)
        prompts, self._vocabulary = batch.first_logits.shape
        device = batch.first_logits.device
        self._count = batch.sequences
        self._ends = torch.tensor(settings.ends, device=device)
        self._is_end = torch.zeros(self._vocabulary, dtype=torch.bool, device=device)
        self._is_end[self._ends] = True
        pads = torch.full((prompts, self._count, settings.room), settings.pad, device=device)
        # All beams of a prompt are equal before the first token, so that the search starts with a single one.
        first = torch.zeros((prompts, 1), device=device)
        self._running = _Beams(pads[:, :1], first, first.long())
        self._finished = pads
        self._finished_scores = torch.full(pads.shape[:2], _EXCLUDED, device=device)

    def run(self) -> list[list[list[int]]]:
        """Search until every prompt is finished."""
        logits = self._batch.first_logits[:, None]
        for length in range(1, self._settings.room + 1):
            exhausted = self._extend(logits, length)
            self._leave(self._has_finished(length) | exhausted)
            if not self._active.indices:
                break
            self._batch.reorder(self._running.origins)
            logits = self._batch.step(self._running.tokens[..., length - 1])
        return self._active.results

    def _extend(self, logits: torch.Tensor, length: int) -> torch.Tensor:
        """Extend the beams by a token. Return for each prompt whether no beam is left to extend."""
        total = torch.log_softmax(logits.float(), dim=-1) + self._running.scores[..., None]
        is_last = length == self._settings.room
        if is_last or self._complete is None:
            best = self._best(total, self._count, length)
            ends = self._is_end[best.tokens[..., length - 1]] | is_last
            self._add_finished(best, ends, length)
            if not is_last:
                # transformers ranks (1 + ends) x beams continuations, because some may end. With hundreds of tokens
                # that hold a line break, it costs less to rank those that do not end apart. The result is equal.
                total[..., self._ends] = float("-inf")
                self._running = self._best(total, self._count, length)
            return ends.new_full((len(ends),), is_last)
        best = self._best(total, max(2, 1 + len(self._ends)) * self._count, length)
        ends = self._is_end[best.tokens[..., length - 1]]
        ends |= self._complete(self._active.indices, best.tokens[..., :length])
        count = self._count
        first = _Beams(best.tokens[:, :count], best.scores[:, :count], best.origins[:, :count])
        self._add_finished(first, ends[:, :count], length)
        scores, places = torch.topk(best.scores + ends * _EXCLUDED, count)
        self._running = _Beams(_of_beams(best.tokens, places), scores, _of_beams(best.origins, places))
        return ends.all(dim=1)

    def _best(self, total: torch.Tensor, count: int, length: int) -> _Beams:
        """The continuations with the best scores, from the scores of all, (prompts, beams, vocabulary)."""
        scores, places = torch.topk(total.flatten(1), min(count, total[0].numel()))
        origins = places // self._vocabulary
        tokens = _of_beams(self._running.tokens, origins)
        tokens[..., length - 1] = places % self._vocabulary
        return _Beams(tokens, scores, origins)

    def _add_finished(self, best: _Beams, ends: torch.Tensor, length: int) -> None:
        """Add the candidates that end to the finished ones, and keep the best."""
        scores = best.scores / length**self._settings.length_penalty + ~ends * _EXCLUDED
        self._finished_scores, places = torch.topk(torch.cat([self._finished_scores, scores], dim=1), self._count)
        self._finished = _of_beams(torch.cat([self._finished, best.tokens], dim=1), places)

    def _has_finished(self, length: int) -> torch.Tensor:
        """Whether each prompt has its candidates: as many as beams, and none that a running beam could improve on."""
        worst = self._finished_scores.amin(dim=1)
        # No sum of log-probabilities is as low as what an excluded candidate gets.
        full = worst > _EXCLUDED / 2
        if self._settings.early_stopping:
            return full
        attainable = self._running.scores[:, 0] / length**self._settings.length_penalty
        finished: torch.Tensor = full & (attainable <= worst)
        return finished

    def _leave(self, finished: torch.Tensor) -> None:
        """Take finished prompts out of the batch."""
        places = self._active.leave(finished, self._finished[:, : self._settings.candidates])
        if places is not None:
            running = self._running
            self._running = _Beams(running.tokens[places], running.scores[places], running.origins[places])
            self._finished, self._finished_scores = self._finished[places], self._finished_scores[places]


def _of_beams(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The values of these beams of each prompt, (prompts, beams, ...)."""
    index = places if values.ndim == places.ndim else places[..., None]
    return torch.take_along_dim(values, index, dim=1)


def beam_search(settings: SearchSettings, batch: PromptBatch, complete: CompleteTexts | None) -> list[list[list[int]]]:
    """Search the most probable candidates of the prompts of a batch.

    Args:
        settings: what decides a search besides the model.
        batch: the prompts; `batch.sequences` is the number of beams.
        complete: which candidates are complete by their text; None if only tokens end them.

    Returns:
        the tokens of the candidates of each prompt, the best first, filled to `settings.room`.
    """
    with batch.writing():
        return _Search(settings, batch, complete).run()
