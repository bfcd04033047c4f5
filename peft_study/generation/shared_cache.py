"""Keys and values that several candidates share, kept once, and the attention that reads them without copies.

A cell's prompts can begin with the same tokens, and all candidates of a prompt continue the same prompt. Each layer
therefore keeps two parts:

- the common part: keys and values of the tokens that all prompts begin with, for the whole cell;
- the part of a batch: for each prompt its remaining tokens, then a slot for each token of each candidate. Which slots
  a candidate sees is a mask, so that a reordering of beams moves no keys.

Attention reads each part with all queries that see it, and joins the two by their log-sum-exp, which is exact.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, Cache, EncoderDecoderCache
from transformers.cache_utils import CacheLayerMixin

from peft_study.generation.compat import attention_with_log_sum
from peft_study.generation.slots import Slots

KERNEL = "peft_study_shared"
"""Name under which transformers calls `attend`. transformers builds no mask for a name that has no mask function."""


class _SharedLayer(CacheLayerMixin):
    """A cache layer that `update` returns, and transformers gives to `attend`, in place of keys and values."""

    is_sliding = False
    _keys: torch.Tensor
    _values: torch.Tensor

    @property
    def keys(self) -> "_SharedLayer":  # type: ignore[override]
        """The layer itself, for architectures that read `layer.keys`."""
        return self

    @property
    def values(self) -> "_SharedLayer":  # type: ignore[override]
        """The layer itself."""
        return self

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing is left to initialize."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of tokens that a mask would cover, and the position of the first."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """-1, which means no limit to transformers."""
        return -1

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values."""
        return self._keys.nbytes + self._values.nbytes

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape that the keys would have, as architectures read it."""

    @abstractmethod
    def keep(self, order: Sequence[int]) -> None:
        """Keep these prompts only, in this order. A prompt's place is never after its present one."""

    @abstractmethod
    def attend(self, query: torch.Tensor, scaling: float, position_bias: torch.Tensor | None) -> torch.Tensor:
        """Attention of one token of each candidate over all that it sees.

        Args:
            query: (prompts x sequences, query heads, 1, head size).
            scaling: factor of the scores.
            position_bias: added to the scores, (1, query heads, 1, tokens of a candidate); None adds nothing.

        Returns:
            (prompts x sequences, query heads, 1, head size).
        """


class WritingLayer(_SharedLayer):
    """Keys and values of one layer while candidates are written.

    Args:
        common: keys and values of the common part, (1, heads, tokens, head size); None without one.
        prompts: keys and values of the prompts' remaining tokens, in chunks of prompts, padded on the left.
        slots: which keys a candidate sees.
    """

    def __init__(
        self,
        common: tuple[torch.Tensor, torch.Tensor] | None,
        prompts: Sequence[tuple[torch.Tensor, torch.Tensor]],
        slots: Slots,
    ) -> None:
        self._common = common
        self._slots = slots
        self._steps = 0
        keys, values = prompts[0]
        shape = (slots.prompts, keys.shape[1], slots.width, keys.shape[3])
        # Attention may read slots that nothing was written to. They are hidden, but must hold numbers.
        new = torch.Tensor.new_zeros if slots.block > 1 else torch.Tensor.new_empty
        self._keys, self._values = new(keys, shape), new(values, shape)
        start = 0
        for keys, values in prompts:
            rows = slice(start, start + len(keys))
            # Padding of a shorter chunk is masked, but a value that is not a number would stay so times zero.
            padding = slots.tokens - keys.shape[-2]
            self._keys[rows, :, :padding] = self._values[rows, :, :padding] = 0
            self._keys[rows, :, padding : slots.tokens] = keys
            self._values[rows, :, padding : slots.tokens] = values
            start += len(keys)

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values, those of the common part included."""
        return super().bytes + sum(part.nbytes for part in self._common or ())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the keys with a copy for each candidate."""
        return (
            self._slots.prompts * self._slots.sequences,
            self._keys.shape[1],
            self.get_seq_length(),
            self._keys.shape[3],
        )

    def get_seq_length(self) -> int:
        """Number of tokens of a candidate so far, its prompt included."""
        common = 0 if self._common is None else self._common[0].shape[-2]
        return common + self._slots.tokens + self._steps

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Write a token of each candidate, (prompts x sequences, heads, 1, head size), into the newest slots."""
        self._slots.write(self._keys, key_states)
        self._slots.write(self._values, value_states)
        # The layer's own count: T5 asks for the length before it adds a token.
        self._steps = self._slots.steps
        return self, self

    def keep(self, order: Sequence[int]) -> None:
        """Move the last prompts into the places of those that leave, without a second buffer."""
        for place, prompt in enumerate(order):
            if place != prompt:
                self._keys[place], self._values[place] = self._keys[prompt], self._values[prompt]
        self._keys, self._values = self._keys[: len(order)], self._values[: len(order)]

    def attend(self, query: torch.Tensor, scaling: float, position_bias: torch.Tensor | None) -> torch.Tensor:
        """Read a prompt's keys and slots with its candidates, the common part with all candidates; join the two."""
        slots, query = self._slots, query.to(self._keys.dtype)
        heads, size = self._keys.shape[1], self._keys.shape[3]
        groups = query.shape[1] // heads
        # Query heads that share a key head become further queries of it.
        folded = query.view(slots.prompts, slots.sequences, heads, groups, size).transpose(1, 2)
        folded = folded.reshape(slots.prompts, heads, slots.sequences * groups, size)
        bias = slots.bias(groups, folded.dtype)
        if position_bias is not None:
            bias = bias + self._by_slot(position_bias)
        keys, values = self._keys[:, :, : slots.read], self._values[:, :, : slots.read]
        output, log_sum = attention_with_log_sum(folded, keys, values, bias, scaling)
        if self._common is not None:
            # All queries of the batch read the common part as the queries of a single sequence.
            flat = folded.transpose(0, 1).reshape(1, heads, -1, size)
            common, common_log_sum = attention_with_log_sum(flat, *self._common, None, scaling)
            shape = (heads, slots.prompts, slots.sequences * groups)
            common = common.view(*shape, size).transpose(0, 1)
            share = torch.sigmoid(common_log_sum.view(*shape).transpose(0, 1) - log_sum)[..., None]
            output = torch.lerp(output, common, share.to(output.dtype))
        unfolded = output.view(slots.prompts, heads, slots.sequences, groups, size).transpose(1, 2)
        return unfolded.reshape(query.shape)

    def _by_slot(self, position_bias: torch.Tensor) -> torch.Tensor:
        """The bias of each slot: that of the position which its token has in a candidate."""
        tokens = self._slots.tokens
        written = position_bias[..., tokens:].repeat_interleave(self._slots.sequences, dim=-1)
        return torch.cat([position_bias[..., :tokens], written], dim=-1)


class EncoderLayer(_SharedLayer):
    """Keys and values of an encoder's output for one layer of the decoder, once for each prompt.

    Args:
        keys: (prompts, heads, tokens, head size).
        values: like `keys`.
        slots: which tokens are padding; its candidates share the keys.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, slots: Slots) -> None:
        self._keys, self._values, self._slots = keys, values, slots

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the keys."""
        return self._keys.shape

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """The keys of an encoder are complete, so that nothing calls this."""
        raise NotImplementedError

    def get_seq_length(self) -> int:
        """Number of tokens of the encoder."""
        return int(self._keys.shape[-2])

    def keep(self, order: Sequence[int]) -> None:
        """Keep these prompts only."""
        index = torch.tensor(order, device=self._keys.device)
        self._keys, self._values = self._keys[index], self._values[index]

    def attend(self, query: torch.Tensor, scaling: float, position_bias: torch.Tensor | None) -> torch.Tensor:
        """Read a prompt's keys with its candidates. Positions of an encoder have no bias here."""
        slots, query = self._slots, query.to(self._keys.dtype)
        folded = query.view(slots.prompts, slots.sequences, *query.shape[1:2], -1).transpose(1, 2)
        bias = slots.bias(1, folded.dtype)
        output, _log_sum = attention_with_log_sum(folded, self._keys, self._values, bias, scaling)
        return output.transpose(1, 2).reshape(query.shape)


@dataclass
class SharedCache:
    """The cache of a batch of prompts while candidates are written.

    Attributes:
        slots: which keys a candidate sees.
        cache: what transformers' models take as `past_key_values`.
        encoder: which tokens of the encoder are padding; None for a decoder.
    """

    slots: Slots
    cache: Cache
    encoder: Slots | None = None

    def keep(self, order: Sequence[int]) -> None:
        """Keep these prompts only, in this order. A prompt's place is never after its present one."""
        index = torch.tensor(order, device=self.slots.device)
        for slots in (self.slots, self.encoder):
            if slots is not None:
                slots.keep(index)
        for layer in self.layers:
            layer.keep(order)

    @property
    def layers(self) -> list[Any]:
        """The layers of all caches."""
        if isinstance(self.cache, EncoderDecoderCache):
            return [*self.cache.self_attention_cache.layers, *self.cache.cross_attention_cache.layers]
        return self.cache.layers


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: Any, value: Any, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention in transformers' interface: the layer of the cache stands in place of keys and values."""
    output = key.attend(query, kwargs["scaling"], kwargs.get("position_bias"))
    return output.transpose(1, 2), None


AttentionInterface.register(KERNEL, attend)
