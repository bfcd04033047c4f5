"""Batched beam search or sampling: several candidates a prompt, each ended by its own stop condition."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModelForCausalLM
from transformers import Cache, DynamicCache, PretrainedConfig, PreTrainedTokenizerBase, StoppingCriteriaList
from transformers import GenerationConfig as TransformersGenerationConfig

from peft_study.config.schema import GenerationConfig
from peft_study.data.continuation import STANDALONE, anchor, text_behind
from peft_study.data.prompts import Template
from peft_study.generation.stopping import CompleteCandidates, Continuation, Sentinel, newline_tokens, token_texts
from peft_study.models.loading import Model
from peft_study.models.precision import Compute

# More prompts at once gain nothing where a step is bound by compute already.
MAX_BATCH = 32
BATCH_SEEDS = 1_000_003
"""More than a data set has prompts: batches of two seeds then never begin alike."""
WORTH_READING_ONCE = 2
"""Tokens of a prompt from which reading it once, and not once a beam, makes a difference: all but its last are read."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One prompt's candidates.

    Attributes:
        index: the prompt's position in the input.
        candidates: texts; of a beam search the most probable first.
    """

    index: int
    candidates: tuple[str, ...]


class Decoder:
    """Candidates of one model for many prompts.

    Args:
        model: base or adapter, on its device.
        tokenizer: its tokenizer.
        template: says where a candidate ends.
        settings: beams or sampling, and the batch.
        max_new_tokens: longest candidate, in tokens.
        compute: number format of 16-bit generation.
        seed: of sampling. Each batch begins anew from it, so that a resumed generation draws the same candidates.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        settings: GenerationConfig,
        max_new_tokens: int,
        compute: Compute,
        seed: int = 0,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._template = template
        self._settings = settings
        self._max_new_tokens = max_new_tokens
        self._compute = compute
        self._seed = seed
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        # peft puts the virtual tokens of prompt tuning before a decoder's left padding and ignores position ids, so
        # padding would move a prompt away from them.
        self._virtual_tokens = isinstance(model, PeftModelForCausalLM) and model.active_peft_config.is_prompt_learning
        self._texts = token_texts(tokenizer) if template.stop_at_newline or template.ends_early else {}
        self._sentinel = Sentinel.of(template, tokenizer)
        self._generation = self._generation_config()

    def generate(self, prompts: Sequence[Sequence[int]], done: Set[int] = frozenset()) -> Iterator[list[Generated]]:
        """Generate candidates, batch by batch.

        The longest prompts come first: an out-of-memory then shows at once.

        Args:
            prompts: token ids of each prompt, unpadded.
            done: positions of prompts whose candidates are known; a batch of such prompts is passed over. The other
                batches stay as they were, because in 16 bits a result depends on what shares its batch.

        Yields:
            the candidates of each batch, with the prompts' positions.
        """
        self._model.eval()
        for indices in batches([len(prompt) for prompt in prompts], self._size, equal_lengths=self._virtual_tokens):
            if done >= set(indices):
                continue
            # Whatever was drawn before has no say; a batch's longest prompt is in no other batch.
            torch.manual_seed(self._seed * BATCH_SEEDS + indices[0])
            texts = self._batch([prompts[index] for index in indices])
            yield [Generated(index, candidates) for index, candidates in zip(indices, texts, strict=True)]

    def _size(self, longest: int) -> int:
        """Prompts at once where the longest has so many tokens."""
        settings = self._settings
        return settings.batch_size or fitting_batch(
            self._model.config,
            longest + self._max_new_tokens,
            settings.sequences,
            self._compute.dtype.itemsize,
            settings.cache_gb,
        )

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        ids, mask = self._padded(prompts)
        continuations = [self._continuation(prompt) for prompt in prompts]
        width = 0 if self._encoder_decoder else ids.shape[1]
        with self._compute.autocast():
            output = self._model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                generation_config=self._generation,
                stopping_criteria=self._stopping(continuations, width),
                **self._read_once(ids, mask),
            )
        count = self._settings.num_candidates
        rows = output[:, width:].tolist()
        return [
            tuple(continuation.candidate(new) for new in rows[index * count : (index + 1) * count])
            for index, continuation in enumerate(continuations)
        ]

    def _continuation(self, prompt: Sequence[int]) -> Continuation:
        end = STANDALONE if self._encoder_decoder else anchor(prompt, self._tokenizer)
        text = text_behind(STANDALONE, prompt, self._tokenizer)
        return Continuation(self._tokenizer, self._template, end, text, self._sentinel)

    def _stopping(self, continuations: Sequence[Continuation], width: int) -> StoppingCriteriaList:
        if not self._template.ends_early:
            return StoppingCriteriaList()
        return StoppingCriteriaList([CompleteCandidates(continuations, width, self._texts)])

    def _read_once(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Cache]:
        """Read the prompts but for their last token, once each; `generate` by itself reads each once a beam.

        Args:
            ids: token ids, padded before; prompts x tokens.
            mask: 1 where there is a token.

        Returns:
            the key-value cache as an argument of `generate`, repeated for the sequences; nothing where an encoder reads
            the prompt, or virtual tokens stand before it.
        """
        if self._encoder_decoder or self._virtual_tokens or ids.shape[1] < WORTH_READING_ONCE:
            return {}
        cache = DynamicCache(config=self._model.config)
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        self._model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(self._settings.sequences)
        return {"past_key_values": cache}

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), int(self._tokenizer.pad_token_id), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # A decoder writes behind its prompt, so padding goes before it.
            span = slice(0, len(prompt)) if self._encoder_decoder else slice(width - len(prompt), width)
            ids[row, span] = torch.tensor(prompt, dtype=torch.long)
            mask[row, span] = 1
        return ids.to(self._compute.device), mask.to(self._compute.device)

    def _generation_config(self) -> TransformersGenerationConfig:
        ends = [int(self._tokenizer.eos_token_id)]
        if self._template.stop_at_newline:
            ends += newline_tokens(self._texts)
        start = getattr(self._model.config, "decoder_start_token_id", None)
        settings = self._settings
        how: dict[str, Any] = {
            "do_sample": False,
            "length_penalty": settings.length_penalty,
            "early_stopping": settings.early_stopping,
        }
        if settings.temperature is not None:
            # Unless told otherwise, transformers also cuts to the 50 most probable tokens.
            how = {
                "do_sample": True,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            }
        return TransformersGenerationConfig(
            num_beams=settings.num_beams,
            num_return_sequences=settings.num_candidates,
            max_new_tokens=self._max_new_tokens,
            **how,
            eos_token_id=ends,
            pad_token_id=int(self._tokenizer.pad_token_id),
            bos_token_id=self._tokenizer.bos_token_id,
            decoder_start_token_id=start,
        )


def batches(lengths: Sequence[int], size: Callable[[int], int], *, equal_lengths: bool = False) -> list[list[int]]:
    """Group prompts of like length, the longest first.

    Args:
        lengths: of each prompt, in tokens.
        size: prompts a batch at most, by the length of its longest: one long prompt does not make every batch small.
        equal_lengths: no batch mixes lengths, so that none needs padding.

    Returns:
        the prompts' positions, batch by batch.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        last = groups[-1] if groups else None
        if (
            last is None
            or len(last) >= size(lengths[last[0]])
            or (equal_lengths and lengths[last[0]] != lengths[index])
        ):
            groups.append([index])
        else:
            last.append(index)
    return groups


def cache_bytes(config: PretrainedConfig, tokens: int, beams: int, bytes_per_value: int) -> int:
    """Bytes of one prompt's key-value cache.

    Args:
        config: the model's.
        tokens: of the prompt and the candidate together.
        beams: sequences a prompt.
        bytes_per_value: of one cached number.
    """
    layers = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    head_size = head_size or config.hidden_size // config.num_attention_heads
    keys_and_values = 2
    return int(keys_and_values * layers * heads * head_size * tokens * beams * bytes_per_value)


def fitting_batch(config: PretrainedConfig, tokens: int, beams: int, bytes_per_value: int, cache_gb: float) -> int:
    """How many prompts at once keep the key-value cache within a budget, in GB (1e9 bytes).

    Returns:
        at least 1, at most 32.
    """
    return max(1, min(MAX_BATCH, int(cache_gb * 1e9 // cache_bytes(config, tokens, beams, bytes_per_value))))
