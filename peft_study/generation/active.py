"""The prompts of a batch whose candidates are still being written."""

from collections.abc import Sequence

import torch

from peft_study.generation.prompt_batch import PromptBatch


class ActivePrompts:
    """Takes finished prompts out of a batch, and keeps their candidates.

    Args:
        batch: all prompts are active at first.

    Attributes:
        indices: index in the batch as it was read, for each active prompt.
        results: tokens of the candidates of each prompt; empty while it is active.
    """

    def __init__(self, batch: PromptBatch) -> None:
        self._batch = batch
        self.indices = list(range(len(batch.first_logits)))
        self.results: list[list[list[int]]] = [[] for _ in self.indices]

    def leave(self, finished: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor | None:
        """Take out the finished prompts.

        Args:
            finished: whether each active prompt is finished, (prompts,).
            candidates: tokens of the candidates of each active prompt, (prompts, candidates, tokens).

        Returns:
            the present places of the prompts that stay, in their new order; None if all stay where they are.
        """
        gone = [place for place, is_finished in enumerate(finished.tolist()) if is_finished]
        if not gone:
            return None
        for place in gone:
            self.results[self.indices[place]] = candidates[place].tolist()
        order = fill_holes(len(self.indices), gone)
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
