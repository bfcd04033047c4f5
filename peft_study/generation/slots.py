"""Which keys each candidate of a prompt sees, while all candidates share one buffer."""

import torch

from peft_study.generation.compat import aligned_zeros


class Slots:
    """Which keys of its prompt each candidate sees. All layers share this object.

    Args:
        visible: whether a prompt's token is read, False for padding, (prompts, tokens).
        sequences: number of candidates that are written at the same time for each prompt.
        room: number of tokens of a candidate at most.
    """

    def __init__(self, visible: torch.Tensor, sequences: int, room: int) -> None:
        self.prompts, self.tokens = visible.shape
        self.sequences = sequences
        self.steps = 0
        self.width = self.tokens + sequences * room
        self._visible = visible[:, None, :].expand(-1, sequences, -1)
        self._own_slot = torch.eye(sequences, dtype=torch.bool, device=visible.device)
        self._bias: torch.Tensor | None = None

    @property
    def used(self) -> int:
        """Number of keys for each prompt."""
        return self.tokens + self.sequences * self.steps

    @property
    def device(self) -> torch.device:
        """The device of the keys."""
        return self._visible.device

    def add(self, steps: int = 1) -> None:
        """Add a slot for the next token of each candidate, or for several tokens."""
        new = self._own_slot.repeat(1, steps).expand(self.prompts, -1, -1)
        self._visible = torch.cat([self._visible, new], dim=-1)
        self.steps += steps
        self._bias = None

    def reorder(self, origins: torch.Tensor) -> None:
        """Let each candidate continue another one.

        Args:
            origins: for each candidate, the candidate of the same prompt that it continues, (prompts, sequences).
        """
        index = origins[..., None].expand(-1, -1, self._visible.shape[-1])
        self._visible = torch.gather(self._visible, 1, index)

    def keep(self, order: torch.Tensor) -> None:
        """Keep these prompts only."""
        self._visible = self._visible[order]
        self.prompts = len(order)
        self._bias = None

    def bias(self, groups: int, dtype: torch.dtype) -> torch.Tensor:
        """What is added to attention scores: 0 or minus infinity, (prompts, 1, sequences x groups, keys).

        Args:
            groups: number of query heads for each key head.
            dtype: number format of the scores.
        """
        if self._bias is None:
            hidden = ~self._visible.repeat_interleave(groups, dim=1)[:, None]
            self._bias = aligned_zeros(hidden.shape, dtype, hidden.device).masked_fill_(hidden, float("-inf"))
        return self._bias
