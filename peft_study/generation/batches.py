"""Which prompts are decoded at the same time: by what they begin with, their length and the memory that they take."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from transformers import PretrainedConfig

from peft_study.config.schema import GenerationConfig

MAX_BATCH = 32
"""Most prompts in a batch. With more, a step is limited by compute, and the batch gains nothing."""
LEAST_COMMON = 16
"""Tokens that prompts must have in common to keep them apart, because a second part of attention is not free."""
WORTH_SHARING = 2048
"""Number of prompt tokens that a separate group must save at least. Its batches take extra steps, so that a smaller
saving does not pay."""
_SCORE_BYTES = 16
"""Bytes for each token of the vocabulary and candidate in a step: the logits in the model's format, the same in fp32,
their log-probabilities, and the sums with the scores of the beams."""


@dataclass(frozen=True)
class Needs:
    """The memory that decoding takes.

    Attributes:
        token_bytes: of the keys and values of a token in all layers.
        vocabulary: number of tokens that the model scores.
        sequences: number of candidates that are written at the same time for each prompt.
        new_tokens: length limit of a candidate.
        common_tokens: number of tokens that all prompts share, without virtual tokens.
        copies: keep the keys and values of a prompt once for each candidate.
    """

    token_bytes: int
    vocabulary: int
    sequences: int
    new_tokens: int
    common_tokens: int = 0
    copies: bool = False

    @classmethod
    def of(
        cls,
        config: PretrainedConfig,
        settings: GenerationConfig,
        new_tokens: int,
        bytes_per_value: int,
        *,
        copies: bool = False,
    ) -> Self:
        """The needs of a model.

        Args:
            config: the model's config.
            settings: gives the number of candidates.
            new_tokens: length limit of a candidate.
            bytes_per_value: bytes of a number in keys and values.
            copies: see `copies` of this class.
        """
        return cls(
            token_bytes(config, bytes_per_value),
            int(config.vocab_size),
            settings.sequences,
            new_tokens,
            copies=copies,
        )

    def prompt_bytes(self, tokens: int) -> int:
        """Bytes for a prompt of this many tokens, and its candidates."""
        rest = tokens * self.sequences if self.copies else max(0, tokens - self.common_tokens)
        scores = self.sequences * self.vocabulary * _SCORE_BYTES
        return self.token_bytes * (rest + self.sequences * self.new_tokens) + scores

    def fitting(self, tokens: int, budget_bytes: float) -> int:
        """The largest batch within a budget, for a longest prompt of this many tokens: from 1 to `MAX_BATCH`."""
        left = budget_bytes - self.token_bytes * self.common_tokens
        return max(1, min(MAX_BATCH, int(left // self.prompt_bytes(tokens))))


def token_bytes(config: PretrainedConfig, bytes_per_value: int) -> int:
    """Bytes of the keys and values of a token in all layers.

    Args:
        config: the model's config.
        bytes_per_value: bytes of a number.
    """
    # For CodeLlama-7B in 16 bits: 2 x 32 layers x 32 heads x 128 x 2 bytes, 0.52 MB.
    layers = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    head_size = head_size or config.hidden_size // config.num_attention_heads
    keys_and_values = 2
    return int(keys_and_values * layers * heads * head_size * bytes_per_value)


class Batch(NamedTuple):
    """Prompts that are decoded at the same time, by their indices.

    Attributes:
        indices: the prompts, the longest first.
        group: the prompts whose common beginning they share.
    """

    indices: list[int]
    group: list[int]

    def halves(self) -> list["Batch"]:
        """Return the batch in two parts."""
        half = (len(self.indices) + 1) // 2
        return [Batch(self.indices[:half], self.group), Batch(self.indices[half:], self.group)]


def plan(
    prompts: Sequence[Sequence[int]],
    needs: Needs,
    settings: GenerationConfig,
    most_prompts: int | None,
    *,
    shares_beginning: bool,
    equal_lengths: bool,
) -> list[Batch]:
    """Divide prompts into batches.

    Args:
        prompts: token ids of each prompt.
        needs: the memory that decoding takes if the prompts have nothing in common.
        settings: the batch size, or the memory that a batch may take.
        most_prompts: most prompts of a batch, whatever the settings say; None for no limit.
        shares_beginning: keep the tokens that the prompts of a group begin with once.
        equal_lengths: put only prompts of equal length into a batch.

    Returns:
        the batches, those of a group one after another.
    """
    planned: list[Batch] = []
    for group in groups_by_beginning(prompts) if shares_beginning else [list(range(len(prompts)))]:
        members = [prompts[index] for index in group]
        if shares_beginning:
            needs = replace(needs, common_tokens=kept_common(members))
        size = _size(needs, settings, most_prompts)
        lengths = [len(prompt) for prompt in members]
        planned += [
            Batch([group[place] for place in places], group)
            for places in batches(lengths, size, equal_lengths=equal_lengths)
        ]
    return planned


def _size(needs: Needs, settings: GenerationConfig, most_prompts: int | None) -> Callable[[int], int]:
    """From the length of a batch's longest prompt to the most prompts in the batch."""
    # The size depends on the batch, so that one long prompt does not make all batches small.
    most = most_prompts or settings.batch_size or MAX_BATCH
    return lambda longest: min(most, settings.batch_size or needs.fitting(longest, settings.cache_gb * 1e9))


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


def padded_ids(prompts: Sequence[Sequence[int]], pad: int, device: torch.device, *, left: bool) -> torch.Tensor:
    """Token ids of prompts, (prompts, tokens), filled on the left or on the right."""
    width = max(map(len, prompts))
    rows = []
    for prompt in prompts:
        padding = [pad] * (width - len(prompt))
        rows.append([*padding, *prompt] if left else [*prompt, *padding])
    return torch.tensor(rows, dtype=torch.long, device=device)


def visible_tokens(prompts: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> torch.Tensor:
    """Whether `padded_ids` has a token of the prompt and not padding, (prompts, tokens)."""
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    visible = torch.arange(max(map(len, prompts)), device=device) < lengths[:, None]
    return visible.flip(-1) if left else visible


def groups_by_beginning(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group prompts so that those of a group begin with the same tokens.

    A few prompts of a cell have other examples than the rest: a drawn example asks what the prompt asks, or the first
    examples were left out. In a group with them the rest would have nothing in common.

    Args:
        prompts: token ids of each prompt.

    Returns:
        the indices of the prompts of each group, ascending, the group with the longest prompt first. It is a single
        group unless a separate one saves half of the tokens.
    """
    groups: list[list[int]] = []
    rest = list(range(len(prompts)))
    while group := _worth_separating(prompts, rest):
        groups.append(group)
        rest = sorted({*rest} - {*group})
    groups += [rest] if rest else []
    return sorted(groups, key=lambda group: -max(len(prompts[index]) for index in group))


def _worth_separating(prompts: Sequence[Sequence[int]], indices: Sequence[int]) -> list[int]:
    """The prompts whose common beginning saves most tokens beyond that of all; empty if they save too little."""
    order = sorted(indices, key=lambda index: tuple(prompts[index]))
    common = [common_tokens([prompts[first], prompts[second]]) for first, second in pairwise(order)]
    common_to_all = min(common, default=0)
    # In this order, prompts with a common beginning are neighbours: n of them save it n - 1 times.
    saved, start, end = _largest_rectangle([tokens - common_to_all for tokens in common])
    enough = max(WORTH_SHARING, sum(len(prompts[index]) for index in indices) / 2)
    return sorted(order[start : end + 1]) if saved >= enough else []


def kept_common(prompts: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that are kept once for all prompts; 0 if they are too few to keep them apart."""
    common = common_tokens(prompts)
    return common if common >= LEAST_COMMON else 0


def common_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all prompts begin with; at least a token of each prompt follows them."""
    if len(prompts) < 2:
        return 0
    # In lexicographic order, what the first and the last begin with is common to all between them.
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    # Slices are compared in C. The common part of a prompt can have thousands of tokens.
    lengths = range(1, min(len(first), len(last)))
    return bisect_left(lengths, True, key=lambda length: list(first[:length]) != list(last[:length]))


def _largest_rectangle(heights: Sequence[int]) -> tuple[int, int, int]:
    """Area, start and end of the largest rectangle under a histogram."""
    largest = (0, 0, 0)
    rising: list[tuple[int, int]] = []
    for place, height in enumerate([*heights, 0]):
        start = place
        while rising and rising[-1][1] >= height:
            start, lower = rising.pop()
            largest = max(largest, (lower * (place - start), start, place))
        rising.append((start, height))
    return largest
