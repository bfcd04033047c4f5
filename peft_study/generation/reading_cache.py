"""The cache with which prompts are read behind the part that they have in common."""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

Parts = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (prompts, heads, tokens, head size)."""


class ReadingLayer(DynamicLayer):
    """A cache layer that keeps the tokens of the prompts, and returns them behind those of the common part.

    Args:
        common: keys and values, (1, heads, tokens, head size); None if the prompts have no common part.
    """

    def __init__(self, common: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._common = common

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Keep new keys and values, and return them with the common ones before them."""
        states = super().update(key_states, value_states)
        if self._common is None:
            return states
        return tuple(
            torch.cat([common.expand(len(new), -1, -1, -1), new], dim=-2)
            for common, new in zip(self._common, states, strict=True)
        )

    def get_seq_length(self) -> int:
        """Number of tokens before the next one."""
        return super().get_seq_length() + (0 if self._common is None else self._common[0].shape[-2])


def reading_cache(model: PreTrainedModel, common: Parts | None) -> DynamicCache:
    """A cache for reading prompts behind their common part."""
    cache = DynamicCache(config=model.config)
    cache.layers = [ReadingLayer(common[index] if common else None) for index in range(len(cache.layers))]
    return cache


def parts_of(cache: Any) -> Parts:
    """Keys and values of each layer of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]
