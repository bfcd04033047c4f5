"""A batch of prompts that were read, and the candidates that are written behind them a token at a time."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from peft_study.generation.compat import replaced_attention
from peft_study.generation.shared_cache import KERNEL, SharedCache
from peft_study.models.cuda_graphs import Recorder, Recording, memory_room
from peft_study.models.loading import base_of

BLOCK = 64
"""Steps for which slots are read at a time, written or not, so that a recording serves as many steps."""
LEAST_ACTIVE = 0.75
"""Share of a batch's prompts that are unfinished, at which the finished ones leave: each new number of prompts needs
another recording, which takes as long as two steps."""
ROOM_IN_LOGITS = 8
"""Memory that a recording takes at most, in multiples of the logits' bytes, besides `ROOM_BYTES`."""
ROOM_BYTES = 1 << 28


class PromptBatch:
    """Prompts that were read, and the candidates written behind them so far.

    Args:
        model: takes the tokens of a step.
        cache: keys and values.
        logits: of the first token of each prompt's candidates, (prompts, vocabulary).
        positions: position of that token for each prompt; None for an encoder-decoder.
        encoded: the encoder's output; None for a decoder.
        records: replay the steps of a decoder from CUDA graphs.
    """

    def __init__(
        self,
        model: Any,
        cache: SharedCache,
        logits: torch.Tensor,
        positions: torch.Tensor | None = None,
        encoded: torch.Tensor | None = None,
        *,
        records: bool = False,
    ) -> None:
        self._model, self._cache = model, cache
        self._positions, self._encoded = positions, encoded
        self._recorded = RecordedStep() if records else None
        self.first_logits = logits

    @property
    def sequences(self) -> int:
        """Number of candidates of each prompt."""
        return self._cache.slots.sequences

    @property
    def least_active(self) -> float:
        """Share of unfinished prompts at which finished ones should leave; 1 is at once."""
        return 1.0 if self._recorded is None else LEAST_ACTIVE

    @property
    def recordings(self) -> int:
        """Number of CUDA graphs so far."""
        return 0 if self._recorded is None else self._recorded.count

    @property
    def cache_bytes(self) -> int:
        """Bytes of all keys and values, those of the common part included."""
        return sum(layer.bytes for layer in self._cache.layers)

    def writing(self) -> AbstractContextManager[None]:
        """Let the model write behind these prompts."""
        return replaced_attention(base_of(self._model), KERNEL)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token to each candidate.

        Args:
            tokens: ids, (prompts, sequences).

        Returns:
            logits of the next token, (prompts, sequences, vocabulary), in the model's number format.
        """
        slots = self._cache.slots
        slots.add()
        inputs = {"ids": tokens.reshape(-1, 1)}
        if self._positions is not None:
            inputs["positions"] = (self._positions + slots.steps - 1).repeat_interleave(slots.sequences)[:, None]
        if self._recorded is None:
            logits = self._compute(inputs)
        else:
            logits = self._recorded.logits(self._compute, inputs, (slots.prompts, slots.read))
        return logits.view(*tokens.shape, -1)

    def _compute(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the next token of each candidate, (prompts x sequences, vocabulary)."""
        cache = {"past_key_values": self._cache.cache, "use_cache": True}
        if self._encoded is None:
            output = self._model(input_ids=inputs["ids"], position_ids=inputs["positions"], **cache)
        else:
            encoded = BaseModelOutput(last_hidden_state=self._encoded)
            output = self._model(encoder_outputs=encoded, decoder_input_ids=inputs["ids"], **cache)
        logits: torch.Tensor = output.logits[:, -1]
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


class RecordedStep:
    """Computes the logits of a batch's steps, replayed from a CUDA graph while their shape stays the same.

    Attributes:
        count: number of recordings.
    """

    def __init__(self) -> None:
        self._recording: Recording[torch.Tensor] | None = None
        self._shape: Hashable = None
        self._needed_bytes = 0
        self.count = 0

    def logits(
        self,
        compute: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
        inputs: Mapping[str, torch.Tensor],
        shape: Hashable,
    ) -> torch.Tensor:
        """Compute the logits of a step.

        Args:
            compute: computes them from the inputs. It is not kept: it holds the batch, whose memory a cycle of
                references would keep until Python collects garbage.
            inputs: on the GPU.
            shape: what decides the kernels. The first step of a shape chooses them, and the second is recorded.

        Returns:
            the logits, which the next step overwrites.
        """
        if shape != self._shape:
            self._shape, self._recording = shape, None
            logits = compute(inputs)
            self._needed_bytes = ROOM_IN_LOGITS * logits.nbytes + ROOM_BYTES
            return logits
        if self._recording is None:
            if memory_room(next(iter(inputs.values())).device) < self._needed_bytes:
                return compute(inputs)
            # The previous recording and its memory were freed above, so no recorder is left to share memory with.
            self._recording = Recorder().record(compute, inputs)
            self.count += 1
        return self._recording.replay(inputs)
