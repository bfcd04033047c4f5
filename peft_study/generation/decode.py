"""Batched beam search or sampling: several candidates for each prompt, each with its stop condition."""

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from transformers import PreTrainedTokenizerBase

from peft_study.config.schema import GenerationConfig
from peft_study.data.continuation import STANDALONE, anchor, text_behind
from peft_study.data.prompts import Template
from peft_study.generation.batches import Batch, Needs, plan
from peft_study.generation.beam_search import SearchSettings, beam_search
from peft_study.generation.copied import CopyingDecoder, adds_virtual_tokens
from peft_study.generation.probe import why_not_shared
from peft_study.generation.prompt_reader import PromptReader
from peft_study.generation.sampling import SamplingSettings, sample
from peft_study.generation.stopping import CompleteTexts, Continuation, Sentinel, newline_tokens, token_texts
from peft_study.models.cuda_graphs import is_recordable
from peft_study.models.loading import Model
from peft_study.models.out_of_memory import is_out_of_memory
from peft_study.models.precision import Compute

SEED_FACTOR = 1_000_003
"""Factor between a cell's seed and the seeds of its prompts. It exceeds the number of prompts of every data set, so
that prompts of two cells never share a seed.
"""
SHARED, COPIED = "shared", "copied"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generated:
    """The candidates of a prompt.

    Attributes:
        index: the index of the prompt in the input.
        candidates: texts; beam search puts the most probable first.
    """

    index: int
    candidates: tuple[str, ...]


@dataclass
class Decoding:
    """How candidates were decoded.

    Attributes:
        path: `shared` keeps keys and values of a prompt once; `copied` keeps them for each candidate.
        reason: why they were copied; None if they were shared.
        common_tokens: most tokens that the prompts of a group shared, virtual tokens included. All prompts are one
            group unless some begin otherwise (`groups_by_beginning`).
        largest_batch: most prompts that were decoded at the same time.
        halvings: number of batches that were halved because memory was exhausted.
        cache_bytes: most bytes of keys and values at the same time; 0 if they were copied.
        cuda_graphs: number of CUDA graphs that were recorded.
    """

    path: str = SHARED
    reason: str | None = None
    common_tokens: int = 0
    largest_batch: int = 0
    halvings: int = 0
    cache_bytes: int = 0
    cuda_graphs: int = 0

    def after(self, earlier: Mapping[str, Any]) -> Self:
        """Return how all candidates were decoded, of which an interrupted run wrote the first.

        Args:
            earlier: the record of the interrupted run; empty if it wrote no candidate.
        """
        return replace(
            self,
            common_tokens=max(self.common_tokens, earlier.get("common_tokens", 0)),
            largest_batch=max(self.largest_batch, earlier.get("largest_batch", 0)),
            halvings=self.halvings + earlier.get("halvings", 0),
            cache_bytes=max(self.cache_bytes, earlier.get("cache_bytes", 0)),
            cuda_graphs=self.cuda_graphs + earlier.get("cuda_graphs", 0),
        )


class Decoder:
    """Generates the candidates of a model for many prompts.

    Args:
        model: base or adapter, on its device.
        tokenizer: the model's tokenizer.
        template: decides where a candidate ends.
        settings: beam search or sampling, and the batch size.
        max_new_tokens: length limit of a candidate, in tokens.
        compute: device and number format.
        seed: seed of sampling. It seeds each prompt separately, so that a resumed generation draws the same candidates.
        most_prompts: most prompts of a batch, whatever the settings say; None for no limit.
        cuda_graphs: replay steps from CUDA graphs where `cuda_graphs.is_recordable` allows it.

    Attributes:
        decoding: how the candidates of the last `generate` were decoded.
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
        *,
        most_prompts: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        # Adapters stay unmerged: LoRA merged into 4 or 8 bits is rounded, and peft 0.21 does not merge IA3 into 8 bits.
        self._model = model
        self._tokenizer = tokenizer
        self._template = template
        self._settings = settings
        self._max_new_tokens = max_new_tokens
        self._compute = compute
        self._seed = seed
        self._most_prompts = most_prompts
        self._records = cuda_graphs and is_recordable(model)
        self._pad = int(tokenizer.pad_token_id)
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self._texts = token_texts(tokenizer) if template.stop_at_newline or template.ends_early else {}
        self._sentinel = Sentinel.of(template, tokenizer)
        self._ends = [int(tokenizer.eos_token_id)]
        # As an end token, a newline finishes a beam, which keeps its score among the finished ones.
        if template.stop_at_newline:
            self._ends += newline_tokens(self._texts)
        self.decoding = Decoding()

    def generate(
        self, prompts: Sequence[Sequence[int]], done: Set[int] = frozenset(), share: tuple[int, int] = (0, 1)
    ) -> Iterator[list[Generated]]:
        """Generate candidates batch by batch, the longest prompts first.

        Args:
            prompts: token ids of each prompt, unpadded.
            done: indices of prompts that already have candidates. A batch is skipped if it holds only such prompts.
            share: number of this process, from 0, and number of processes. Each takes every so many batches.

        Yields:
            the candidates of each batch, with the indices of its prompts.
        """
        for batch in self.tokens(prompts, done, share):
            texts = [(index, self._continuation(prompts[index]), rows) for index, rows in batch]
            yield [Generated(index, tuple(map(end.candidate, rows))) for index, end, rows in texts]

    def tokens(
        self, prompts: Sequence[Sequence[int]], done: Set[int] = frozenset(), share: tuple[int, int] = (0, 1)
    ) -> Iterator[list[tuple[int, list[list[int]]]]]:
        """Generate candidates like `generate`, and yield their token ids, filled with the padding id."""
        self._model.eval()
        self.decoding = Decoding()
        if done >= set(range(len(prompts))):
            return
        with torch.no_grad(), self._compute.autocast():
            self.decoding.reason = why_not_shared(self._model, prompts[0], self._pad)
        if self.decoding.reason is not None:
            logger.warning("keys and values are copied for each candidate: %s", self.decoding.reason)
            self.decoding.path = COPIED
        planned = self._plan(prompts)[share[0] :: share[1]]
        group: Sequence[int] | None = None
        reader: PromptReader | CopyingDecoder | None = None
        while planned:
            # Batches are not regrouped: in 16 bits a candidate can depend on the other prompts of its batch.
            batch = planned.pop(0)
            if done >= set(batch.indices):
                continue
            if reader is None or batch.group is not group:
                reader = None  # frees the common part of the group before
                reader, group = self._reader([prompts[index] for index in batch.group]), batch.group
            rows = self._try_write(reader, prompts, batch.indices)
            if rows is None:
                self.decoding.halvings += 1
                planned[:0] = batch.halves()
                continue
            self.decoding.largest_batch = max(self.decoding.largest_batch, len(batch.indices))
            yield list(zip(batch.indices, rows, strict=True))

    def _plan(self, prompts: Sequence[Sequence[int]]) -> list[Batch]:
        is_copied = self.decoding.path == COPIED
        needs = Needs.of(
            self._model.config, self._settings, self._max_new_tokens, self._compute.dtype.itemsize, copies=is_copied
        )
        return plan(
            prompts,
            needs,
            self._settings,
            self._most_prompts,
            shares_beginning=not is_copied and not self._encoder_decoder,
            # peft puts the virtual tokens of prompt tuning before a decoder's left padding, and ignores position ids.
            # Padding would separate a prompt from them, so a batch must hold prompts of equal length.
            equal_lengths=is_copied and adds_virtual_tokens(self._model),
        )

    def _reader(self, prompts: Sequence[Sequence[int]]) -> PromptReader | CopyingDecoder:
        """Return what reads the prompts of a group. A `PromptReader` has read their common part."""
        if self.decoding.path == COPIED:
            return CopyingDecoder(self._model, self._settings, self._max_new_tokens, self._ends, self._pad)
        with torch.no_grad(), self._compute.autocast():
            reader = PromptReader(self._model, prompts, self._pad, records=self._records)
        common = reader.common.tokens + reader.common.virtual
        self.decoding.common_tokens = max(self.decoding.common_tokens, common)
        return reader

    def _try_write(
        self, reader: PromptReader | CopyingDecoder, prompts: Sequence[Sequence[int]], indices: Sequence[int]
    ) -> list[list[list[int]]] | None:
        """The tokens of a batch's candidates; None if memory is exhausted and the batch can be halved."""
        try:
            with torch.no_grad(), self._compute.autocast():
                return self._write(reader, [prompts[index] for index in indices], indices)
        except Exception as error:
            if len(indices) == 1 or not is_out_of_memory(error):
                raise
            logger.warning("memory is exhausted with %d prompts in a batch; the batch is halved", len(indices))
        torch.cuda.empty_cache()
        return None

    def _write(
        self, reader: PromptReader | CopyingDecoder, prompts: Sequence[Sequence[int]], indices: Sequence[int]
    ) -> list[list[list[int]]]:
        complete = None
        if self._template.ends_early:
            complete = CompleteTexts([self._continuation(prompt) for prompt in prompts], self._texts)
        seeds = [self._seed * SEED_FACTOR + index for index in indices]
        if isinstance(reader, CopyingDecoder):
            # The seed depends on the batch only, so that skipped batches change nothing. No other batch starts with
            # the same prompt.
            torch.manual_seed(seeds[0])
            return reader.run(prompts, complete)
        batch = reader.read(prompts, self._settings.sequences, self._max_new_tokens)
        self.decoding.cache_bytes = max(self.decoding.cache_bytes, batch.cache_bytes)
        strategy = self._strategy()
        if isinstance(strategy, SearchSettings):
            written = beam_search(strategy, batch, complete)
        else:
            written = sample(strategy, batch, complete, seeds)
        self.decoding.cuda_graphs += batch.recordings
        return written

    def _strategy(self) -> SearchSettings | SamplingSettings:
        settings, room, ends = self._settings, self._max_new_tokens, tuple(self._ends)
        if settings.temperature is None and settings.num_beams > 1:
            return SearchSettings(
                room=room,
                ends=ends,
                pad=self._pad,
                candidates=settings.num_candidates,
                length_penalty=settings.length_penalty,
                early_stopping=settings.early_stopping,
            )
        return SamplingSettings(
            room=room,
            ends=ends,
            pad=self._pad,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        )

    def _continuation(self, prompt: Sequence[int]) -> Continuation:
        end = STANDALONE if self._encoder_decoder else anchor(prompt, self._tokenizer)
        text = text_behind(STANDALONE, prompt, self._tokenizer)
        return Continuation(self._tokenizer, self._template, end, text, self._sentinel)
