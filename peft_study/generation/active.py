"""The prompts of a batch whose candidates are still being written."""

from collections.abc import Sequence

import torch

from peft_study.generation.prompt_batch import PromptBatch


class ActivePrompts:
    """Takes finished prompts out of a batch, and keeps their candidates.

    Args:
        batch: all prompts are active at first.

    Attributes:
        indices: index in the batch as it was read, for each prompt that is still in the batch.
        results: tokens of the candidates of each prompt; empty while it is active.
    """

    def __init__(self, batch: PromptBatch) -> None:
        self._batch = batch
        self.indices = list(range(len(batch.first_logits)))
        self.results: list[list[list[int]]] = [[] for _ in self.indices]
        self._finished: set[int] = set()

    def leave(self, finished: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor | None:
        """Keep the candidates of finished prompts, and take the prompts out, some of them later: see `least_active`.

        Args:
            finished: whether each prompt in the batch is finished, (prompts,). Those that were finished before and are
                still in the batch count as finished, whatever this says.
            candidates: tokens of the candidates of each prompt in the batch, (prompts, candidates, tokens).

        Returns:
            the present places of the prompts that stay, in their new order; None if all stay where they are.
        """
        gone = {place for place, is_finished in enumerate(finished.tolist()) if is_finished} - self._finished
        for place in gone:
            self.results[self.indices[place]] = candidates[place].tolist()
        self._finished |= gone
        active = len(self.indices) - len(self._finished)
        if not self._finished or active > self._batch.least_active * len(self.indices):
            return None
        order = fill_holes(len(self.indices), sorted(self._finished))
        self._finished = set()
        self.indices = [self.indices[place] for place in order]
        if order:
            self._batch.keep(order)
        return torch.tensor(order, dtype=torch.long, device=finished.device)


def fill_holes(count: int, gone: Sequence[int]) -> list[int]:
    """Order of the places that remain when some are gone: the last ones move into the holes.

    Returns:
        for each new place, the present one, which is never before it.
    """
    left = count - len(gone)
    holes = {place for place in gone if place < left}
    last = iter(sorted(set(range(left, count)) - set(gone)))
    return [next(last) if place in holes else place for place in range(left)]
