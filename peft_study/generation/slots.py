"""Which keys each candidate of a prompt sees, while all candidates share one buffer."""

import torch

from peft_study.generation.compat import aligned_zeros


class Slots:
    """Which keys of its prompt each candidate sees. All layers share this object.

    Args:
        visible: whether a prompt's token is read, False for padding, (prompts, tokens).
        sequences: number of candidates that are written at the same time for each prompt.
        room: number of tokens of a candidate at most.
        block: number of steps whose slots are read together, written or not. With more than one, steps within a block
            run the same kernels on the same memory.
    """

    def __init__(self, visible: torch.Tensor, sequences: int, room: int, block: int = 1) -> None:
        self.prompts, self.tokens = visible.shape
        self.sequences = sequences
        self.steps = 0
        self.width = self.tokens + sequences * room
        self.block = block
        self._room = room
        self._visible = visible.new_zeros(self.prompts, sequences, self.width)
        self._visible[..., : self.tokens] = visible[:, None, :]
        self._own_slot = torch.eye(sequences, dtype=torch.bool, device=visible.device)
        self._newest = torch.arange(sequences, device=visible.device) + self.tokens - sequences
        self._bias: torch.Tensor | None = None

    @property
    def used(self) -> int:
        """Number of keys for each prompt."""
        return self.tokens + self.sequences * self.steps

    @property
    def read(self) -> int:
        """Number of keys that attention reads for each prompt: those of the block's later steps too, hidden."""
        steps = min(self._room, -(-self.steps // self.block) * self.block)
        return self.tokens + self.sequences * steps

    @property
    def device(self) -> torch.device:
        """The device of the keys."""
        return self._visible.device

    def add(self, steps: int = 1) -> None:
        """Add a slot for the next token of each candidate, or for several tokens."""
        before = self.used
        self.steps += steps
        self._visible[..., before : self.used] = self._own_slot.repeat(1, steps)
        self._newest += self.sequences * steps
        self._bias = None

    def write(self, buffer: torch.Tensor, values: torch.Tensor) -> None:
        """Write a token of each candidate into the newest slots.

        Args:
            buffer: (prompts, heads, `width`, head size).
            values: (prompts x sequences, heads, 1, head size).
        """
        new = values.view(self.prompts, self.sequences, values.shape[1], -1).transpose(1, 2)
        if self.block > 1:  # a recorded step reads from memory where it writes
            buffer.index_copy_(2, self._newest, new.to(buffer.dtype))
        else:
            buffer[:, :, self.used - self.sequences : self.used] = new

    def reorder(self, origins: torch.Tensor) -> None:
        """Let each candidate continue another one.

        Args:
            origins: for each candidate, the candidate of the same prompt that it continues, (prompts, sequences).
        """
        written = self._visible[..., : self.used]
        index = origins[..., None].expand(-1, -1, self.used)
        written.copy_(torch.gather(written, 1, index))

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
            hidden = ~self._visible[..., : self.read].repeat_interleave(groups, dim=1)[:, None]
            self._bias = aligned_zeros(hidden.shape, dtype, hidden.device).masked_fill_(hidden, float("-inf"))
        return self._bias
