"""Batched beam search or sampling: several candidates for each prompt, each with its stop condition."""

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

MAX_BATCH = 32
"""Most prompts in a batch. With more, a step is limited by compute, and the batch gains nothing."""
BATCH_SEEDS = 1_000_003
"""Factor between a cell's seed and the seeds of its batches. It exceeds the number of prompts of every data set, so
that batches of two cells never share a seed.
"""
WORTH_READING_ONCE = 2
"""Least number of tokens for which `_read_once` has work: it reads all tokens of a prompt but the last."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The candidates of a prompt.

    Attributes:
        index: the index of the prompt in the input.
        candidates: texts; beam search puts the most probable first.
    """

    index: int
    candidates: tuple[str, ...]


class Decoder:
    """Generates the candidates of a model for many prompts.

    Args:
        model: base or adapter, on its device.
        tokenizer: the model's tokenizer.
        template: decides where a candidate ends.
        settings: beam search or sampling, and the batch size.
        max_new_tokens: length limit of a candidate, in tokens.
        compute: device and number format.
        seed: seed of sampling. It seeds each batch separately, so that a resumed generation draws the same candidates.
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
        # Adapters stay unmerged: LoRA merged into 4 or 8 bits is rounded, and peft 0.21 does not merge IA3 into 8 bits.
        self._model = model
        self._tokenizer = tokenizer
        self._template = template
        self._settings = settings
        self._max_new_tokens = max_new_tokens
        self._compute = compute
        self._seed = seed
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        # peft puts the virtual tokens of prompt tuning before a decoder's left padding, and ignores position ids.
        # Padding would separate a prompt from them, so a batch must hold prompts of equal length.
        self._virtual_tokens = isinstance(model, PeftModelForCausalLM) and model.active_peft_config.is_prompt_learning
        self._texts = token_texts(tokenizer) if template.stop_at_newline or template.ends_early else {}
        self._sentinel = Sentinel.of(template, tokenizer)
        self._generation = self._generation_config()

    def generate(self, prompts: Sequence[Sequence[int]], done: Set[int] = frozenset()) -> Iterator[list[Generated]]:
        """Generate candidates batch by batch, the longest prompts first.

        Args:
            prompts: token ids of each prompt, unpadded.
            done: indices of prompts that already have candidates. A batch is skipped if it holds only such prompts.

        Yields:
            the candidates of each batch, with the indices of its prompts.
        """
        self._model.eval()
        for indices in batches([len(prompt) for prompt in prompts], self._size, equal_lengths=self._virtual_tokens):
            # Batches are not regrouped: in 16 bits a candidate can depend on the other prompts of its batch.
            if done >= set(indices):
                continue
            # The seed depends on the batch only, so that skipped batches change nothing. No other batch starts with
            # the same prompt.
            torch.manual_seed(self._seed * BATCH_SEEDS + indices[0])
            texts = self._batch([prompts[index] for index in indices])
            yield [Generated(index, candidates) for index, candidates in zip(indices, texts, strict=True)]

    def _size(self, longest: int) -> int:
        """Number of prompts in a batch whose longest prompt has this many tokens."""
        # Each batch has a size of its own, so that one long prompt does not make all batches small.
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
        """Read all tokens of each prompt but the last, and repeat the cache for the prompt's sequences."""
        # `generate` reads a prompt once for each beam: ten times the work with ten beams. With 246 tokens of prompt and
        # 64 new ones on a CPU, reading it once was 1.7 times faster, with equal candidates (benchmarks/prefill.py).
        # `generate` reads an encoder's input once anyway, and only inside `generate` does peft add virtual tokens.
        if self._encoder_decoder or self._virtual_tokens or ids.shape[1] < WORTH_READING_ONCE:
            return {}
        cache = DynamicCache(config=self._model.config)
        # Positions count from the first token after the padding, as in `generate`.
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        self._model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            past_key_values=cache,
            use_cache=True,
            # Nothing reads them. All logits would take prompts x tokens x vocabulary.
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(self._settings.sequences)
        return {"past_key_values": cache}

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), int(self._tokenizer.pad_token_id), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # A decoder continues at the end of the row, so padding goes before the prompt.
            span = slice(0, len(prompt)) if self._encoder_decoder else slice(width - len(prompt), width)
            ids[row, span] = torch.tensor(prompt, dtype=torch.long)
            mask[row, span] = 1
        return ids.to(self._compute.device), mask.to(self._compute.device)

    def _generation_config(self) -> TransformersGenerationConfig:
        ends = [int(self._tokenizer.eos_token_id)]
        # As an end token, a newline finishes a beam, which keeps its score among the finished ones.
        if self._template.stop_at_newline:
            ends += newline_tokens(self._texts)
        settings = self._settings
        strategy: dict[str, Any] = {
            "do_sample": False,
            "length_penalty": settings.length_penalty,
            "early_stopping": settings.early_stopping,
        }
        if settings.temperature is not None:
            # All three are set, because transformers defaults to the 50 most probable tokens, which the study's package
            # used without saying so (docs/differences.md).
            strategy = {
                "do_sample": True,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            }
        return TransformersGenerationConfig(
            num_beams=settings.num_beams,
            num_return_sequences=settings.num_candidates,
            max_new_tokens=self._max_new_tokens,
            **strategy,
            eos_token_id=ends,
            pad_token_id=int(self._tokenizer.pad_token_id),
            bos_token_id=self._tokenizer.bos_token_id,
            decoder_start_token_id=getattr(self._model.config, "decoder_start_token_id", None),
        )


def batches(lengths: Sequence[int], size: Callable[[int], int], *, equal_lengths: bool = False) -> list[list[int]]:
    """Group prompts of similar length, the longest first.

    Args:
        lengths: length of each prompt, in tokens.
        size: from the length of a batch's longest prompt to the most prompts in the batch.
        equal_lengths: put only prompts of equal length into a batch, so that no prompt is padded.

    Returns:
        the indices of the prompts in each batch.
    """
    # Longest first: exhausted memory shows in the first batch. Similar lengths need little padding.
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
    """Bytes of the key-value cache of a prompt.

    Args:
        config: the model's config.
        tokens: length of the prompt and a candidate together.
        beams: number of sequences for the prompt.
        bytes_per_value: bytes of a cached number.
    """
    # For CodeLlama-7B in 16 bits: 2 x 32 layers x 32 heads x 128 x 2 bytes, 0.52 MB for each token and beam.
    layers = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    head_size = head_size or config.hidden_size // config.num_attention_heads
    keys_and_values = 2
    return int(keys_and_values * layers * heads * head_size * tokens * beams * bytes_per_value)


def fitting_batch(config: PretrainedConfig, tokens: int, beams: int, bytes_per_value: int, cache_gb: float) -> int:
    """The largest batch whose key-value cache stays within a budget.

    Args:
        config: the model's config.
        tokens: length of the longest prompt and a candidate together.
        beams: number of sequences for each prompt.
        bytes_per_value: bytes of a cached number.
        cache_gb: the budget in GB (1e9 bytes).

    Returns:
        number of prompts, from 1 to `MAX_BATCH`.
    """
    return max(1, min(MAX_BATCH, int(cache_gb * 1e9 // cache_bytes(config, tokens, beams, bytes_per_value))))
