"""A batch of prompts that were read, and the candidates that are written behind them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from peft_study.generation.shared_cache import SharedCache, shared_attention
from peft_study.models.loading import base_of


class PromptBatch:
    """Prompts that were read, and the candidates written behind them so far.

    Args:
        model: takes the tokens of a step.
        cache: keys and values.
        logits: of the first token of each prompt's candidates, (prompts, vocabulary).
        positions: position of that token for each prompt; None for an encoder-decoder.
        encoded: the encoder's output; None for a decoder.
    """

    def __init__(
        self,
        model: Any,
        cache: SharedCache,
        logits: torch.Tensor,
        positions: torch.Tensor | None = None,
        encoded: torch.Tensor | None = None,
    ) -> None:
        self._model, self._cache = model, cache
        self._positions, self._encoded = positions, encoded
        self.first_logits = logits

    @property
    def sequences(self) -> int:
        """Number of candidates of each prompt."""
        return self._cache.slots.sequences

    @property
    def cache_bytes(self) -> int:
        """Bytes of all keys and values, those of the common part included."""
        return sum(layer.bytes for layer in self._cache.layers)

    def writing(self) -> AbstractContextManager[None]:
        """Let the model write behind these prompts."""
        return shared_attention(base_of(self._model))

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token to each candidate.

        Args:
            tokens: ids, (prompts, sequences).

        Returns:
            logits of the next token, (prompts, sequences, vocabulary), in the model's number format.
        """
        slots = self._cache.slots
        slots.add()
        ids = tokens.reshape(-1, 1)
        if self._encoded is not None:
            output = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._encoded),
                decoder_input_ids=ids,
                past_key_values=self._cache.cache,
                use_cache=True,
            )
        else:
            assert self._positions is not None
            positions = (self._positions + slots.steps - 1).repeat_interleave(slots.sequences)[:, None]
            output = self._model(
                input_ids=ids, position_ids=positions, past_key_values=self._cache.cache, use_cache=True
            )
        logits: torch.Tensor = output.logits[:, -1].view(*tokens.shape, -1)
        return logits

    def lengthen(self, tokens: int) -> None:
        """Lengthen each candidate by tokens of unknown content, for a count of memory."""
        self._cache.slots.add(tokens)

    def reorder(self, origins: torch.Tensor) -> None:
        """Let each candidate continue another one of its prompt, (prompts, sequences)."""
        self._cache.slots.reorder(origins)

    def keep(self, order: Sequence[int]) -> None:
        """Keep these prompts only, in this order. A prompt's place is never after its present one."""
        self._cache.keep(order)
        index = torch.tensor(order, device=self.first_logits.device)
        if self._positions is not None:
            self._positions = self._positions[index]
        if self._encoded is not None:
            self._encoded = self._encoded[index]
