"""Reads each prompt once, and what all prompts of a group begin with once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import torch
from peft import PeftModel, PeftType
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from peft_study.generation.batches import kept_common, padded_ids, visible_tokens
from peft_study.generation.prompt_batch import BLOCK, PromptBatch
from peft_study.generation.shared_cache import EncoderLayer, SharedCache, WritingLayer
from peft_study.generation.slots import Slots
from peft_study.models.adapter import virtual_tokens
from peft_study.models.loading import Model, base_of

Parts = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (prompts, heads, tokens, head size)."""
READ_TOKENS = 2048
"""Most prompt tokens that are read at the same time, which limits the memory of activations."""
_VIRTUAL = frozenset({PeftType.PROMPT_TUNING, PeftType.P_TUNING, PeftType.PREFIX_TUNING})


@dataclass(frozen=True)
class CommonPart:
    """What all prompts of a group begin with.

    Attributes:
        tokens: number of leading tokens of each prompt that are kept apart.
        virtual: number of virtual tokens before them.
        parts: keys and values of both, for each layer; None if there are neither.
    """

    tokens: int = 0
    virtual: int = 0
    parts: Parts | None = None


@dataclass(frozen=True)
class Chunk:
    """Prompts that were read together.

    Attributes:
        parts: keys and values of what follows the common part, for each layer, padded on the left.
        logits: of each prompt's next token, (prompts, vocabulary).
    """

    parts: Parts
    logits: torch.Tensor


class PromptReader:
    """Reads the prompts of a group.

    Args:
        model: base or adapter.
        prompts: token ids of all prompts of a group, which decide the common part.
        pad_token_id: id that fills rows.
        records: let the batches of a decoder replay their steps from CUDA graphs.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Sequence[int]],
        pad_token_id: int,
        *,
        records: bool = False,
    ) -> None:
        self._model, self._pad, self._device, self._records = model, pad_token_id, model.device, records
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self._virtual = isinstance(model, PeftModel) and model.active_peft_config.peft_type in _VIRTUAL
        # With virtual tokens in the common part the base does the rest: peft would add them again.
        self._base = base_of(model)
        self._reading_model: Any = self._base if self._virtual else model
        common = 0 if self._encoder_decoder else kept_common(prompts)
        self.common = self._read_common(prompts[0][:common])

    def _read_common(self, ids: Sequence[int]) -> CommonPart:
        adapter: Any = self._model
        virtual = virtual_tokens(adapter.active_peft_config) if self._virtual else 0
        if not ids and not virtual:
            return CommonPart()
        row = torch.tensor([list(ids)], dtype=torch.long, device=self._device)
        cache = DynamicCache(config=self._model.config)
        prompt = adapter.get_prompt(batch_size=1) if self._virtual else None
        if isinstance(prompt, torch.Tensor):  # virtual tokens as embeddings
            embedded = self._base.get_input_embeddings()(row)
            inputs = torch.cat([prompt.to(embedded.dtype), embedded], dim=1)
            self._base(inputs_embeds=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
            return CommonPart(len(ids), virtual, parts_of(cache))
        for index, layer in enumerate(prompt.layers if prompt else ()):  # virtual tokens as keys and values
            cache.update(layer.keys, layer.values, index)
        if ids:
            self._forward(row, cache)
        return CommonPart(len(ids), virtual, parts_of(cache))

    def read(self, prompts: Sequence[Sequence[int]], sequences: int, room: int) -> PromptBatch:
        """Read prompts, and return the batch that writes their candidates.

        Args:
            prompts: token ids, each with the common part.
            sequences: number of candidates that are written at the same time for each prompt.
            room: number of tokens of a candidate at most.
        """
        if self._encoder_decoder:
            return self._read_encoded(prompts, sequences, room)
        rest = iter(prompts)
        chunks = [self.read_chunk(list(islice(rest, size))) for size in self.chunk_sizes(prompts)]
        return self.join(prompts, chunks, sequences, room)

    def chunk_sizes(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Number of prompts in each chunk: about equal, so that no small chunk is left at the end."""
        width = max(map(len, prompts)) - self.common.tokens
        number = min(len(prompts), math.ceil(len(prompts) * width / READ_TOKENS))
        bounds = [len(prompts) * place // number for place in range(number + 1)]
        return [end - start for start, end in pairwise(bounds)]

    def read_chunk(self, prompts: Sequence[Sequence[int]]) -> Chunk:
        """Read together what follows the common part of these prompts."""
        rest = [prompt[self.common.tokens :] for prompt in prompts]
        common = self.common.tokens + self.common.virtual
        ids = padded_ids(rest, self._pad, self._device, left=True)
        mask = visible_tokens(rest, self._device, left=True).long()
        positions = (mask.cumsum(-1) - 1).clamp(min=0) + common
        mask = torch.cat([mask.new_ones(len(rest), common), mask], dim=-1)
        cache = reading_cache(self._base, self.common.parts)
        logits = self._forward(ids, cache, attention_mask=mask, position_ids=positions)
        return Chunk(parts_of(cache), logits)

    def join(self, prompts: Sequence[Sequence[int]], chunks: list[Chunk], sequences: int, room: int) -> PromptBatch:
        """Put the chunks of a batch together. Their keys and values are freed.

        Args:
            prompts: token ids, each with the common part.
            chunks: the prompts that were read, in order.
            sequences: see `read`.
            room: see `read`.
        """
        common = self.common
        visible = visible_tokens([prompt[common.tokens :] for prompt in prompts], self._device, left=True)
        slots = Slots(visible, sequences, room, block=BLOCK if self._records else 1)
        layers: list[Any] = []
        for index in range(len(chunks[0].parts)):
            parts = [chunk.parts[index] for chunk in chunks]
            layers.append(WritingLayer(common.parts[index] if common.parts else None, parts, slots))
            for chunk in chunks:
                chunk.parts[index] = (torch.empty(0), torch.empty(0))
        cache = reading_cache(self._base, None)
        cache.layers = layers
        logits = torch.cat([chunk.logits for chunk in chunks])
        positions = visible.sum(-1) + common.tokens + common.virtual
        return PromptBatch(self._reading_model, SharedCache(slots, cache), logits, positions, records=self._records)

    def _read_encoded(self, prompts: Sequence[Sequence[int]], sequences: int, room: int) -> PromptBatch:
        ids = padded_ids(prompts, self._pad, self._device, left=False)
        visible = visible_tokens(prompts, self._device, left=False)
        cache = EncoderDecoderCache(DynamicCache(config=self._model.config), DynamicCache(config=self._model.config))
        encoded = self._base.get_encoder()(input_ids=ids, attention_mask=visible.long(), return_dict=True)
        start = torch.full((len(prompts), 1), self._base.config.decoder_start_token_id, device=self._device)
        logits = self._model(
            encoder_outputs=encoded,
            attention_mask=visible.long(),
            decoder_input_ids=start,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        slots = Slots(visible.new_ones(len(prompts), 1), sequences, room)
        encoder_slots = Slots(visible, sequences, 0)
        decoder_parts, encoder_parts = parts_of(cache.self_attention_cache), parts_of(cache.cross_attention_cache)
        cache.self_attention_cache.layers = [WritingLayer(None, [part], slots) for part in decoder_parts]
        cache.cross_attention_cache.layers = [EncoderLayer(*part, encoder_slots) for part in encoder_parts]
        # The decoder reads the encoder's keys from the cache; this only has to have the right shape.
        return PromptBatch(
            self._model, SharedCache(slots, cache, encoder_slots), logits.float(), encoded=encoded.last_hidden_state
        )

    def _forward(self, ids: torch.Tensor, cache: DynamicCache, **inputs: torch.Tensor) -> torch.Tensor:
        # Only the last logits are read. All of them would take prompts x tokens x vocabulary.
        output = self._reading_model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **inputs)
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


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
