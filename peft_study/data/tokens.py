"""From samples to token ids. Prompt and target are encoded apart, so the boundary between them is exact."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peft_study.data.continuation import STANDALONE, Anchor, Decoding, anchor, text_behind
from peft_study.data.prompts import Prompt, Template
from peft_study.data.samples import Sample

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100  # what torch's cross_entropy leaves out
BIN_TOKENS = 8
_AS_TEXT = {"add_special_tokens": False, "split_special_tokens": True}
"""A sample that contains the text of a special token means its characters, not the token."""


class Tokenizer(Decoding, Protocol):
    """The part of a fast Hugging Face tokenizer that this module uses."""

    eos_token_id: int

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Tokens beyond the vocabulary, by id."""

    def convert_tokens_to_ids(self, tokens: str) -> int | list[int]:
        """The id of a token."""

    def __call__(self, text: str, **options: object) -> dict[str, list[int] | list[tuple[int, int]]]:
        """Encode a text."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one sample.

    Attributes:
        prompt: ids of the prompt, special tokens included.
        target: ids of the target; they end with the end-of-sequence token unless the target was cut.
        prompt_cut: number of instruction tokens that were left out.
        target_cut: number of target tokens that were left out.
        examples_cut: number of examples that were left out because the model has no more positions.
        target_changed: whether the tokenizer cannot represent the target: its tokens, before any cut, decode to another
            text.
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    prompt_cut: int
    target_cut: int
    examples_cut: int = 0
    target_changed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum length of a sample in tokens; None means unlimited.

    Attributes:
        prompt: limit of the prompt without its examples. The instruction is cut at its end until the prompt fits; the
            markers around it stay.
        target: limit of the target with its end-of-sequence token. A cut target has no such token, so that the model
            never learns to end in the middle.
        shared: whether the prompt may also use what the target leaves of its limit.
        prompt_positions: limit of prompt and examples together. The first examples are left out until they fit, and
            then the instruction is cut.
    """

    prompt: int | None
    target: int
    shared: bool = False
    prompt_positions: int | None = None


@dataclass(frozen=True, slots=True)
class Truncation:
    """How much the length limits removed.

    Attributes:
        samples: number of samples.
        prompts_cut: samples whose instruction was cut.
        targets_cut: samples whose target was cut.
        tokens_cut: tokens left out in total.
        examples_cut: examples left out in total.
    """

    samples: int
    prompts_cut: int
    targets_cut: int
    tokens_cut: int
    examples_cut: int = 0


def encode(
    sample: Sample,
    template: Template,
    tokenizer: Tokenizer,
    limits: Limits,
    *,
    for_encoder: bool = False,
    examples: Sequence[Sample] = (),
) -> Encoded:
    """Encode one sample. Within the limits, training and generation see the same prompt.

    Args:
        sample: the sample.
        template: the prompt form.
        tokenizer: a fast tokenizer (character offsets are needed).
        limits: maximum lengths.
        for_encoder: whether an encoder reads the prompt, and the target is a separate text.
        examples: solved samples before the prompt.
    """
    # The target first, because a prompt may use what its target leaves of the shared budget.
    target, changed = _target(sample, template, tokenizer, for_encoder=for_encoder)
    # A cut target has no end token. The study's package keeps it, and a model learns to stop in the middle.
    kept = target[: limits.target]
    most = limits.prompt
    if most is not None and limits.shared:
        most += limits.target - len(kept)
    kept_examples = list(examples)
    while True:
        prompt = template.prompt(sample, kept_examples)
        ids, cut = encode_prompt(prompt, tokenizer, most, for_encoder=for_encoder)
        if not kept_examples or limits.prompt_positions is None or len(ids) <= limits.prompt_positions:
            break
        del kept_examples[0]  # and encode again, because a token may span two examples
    if limits.prompt_positions is not None and len(ids) > limits.prompt_positions:
        ids, cut = encode_prompt(prompt, tokenizer, most, limits.prompt_positions, for_encoder=for_encoder)
    return Encoded(
        tuple(ids),
        tuple(kept),
        cut,
        len(target) - len(kept),
        examples_cut=len(examples) - len(kept_examples),
        target_changed=changed,
    )


def _target(sample: Sample, template: Template, tokenizer: Tokenizer, *, for_encoder: bool) -> tuple[list[int], bool]:
    """Token ids of a whole target with its end-of-sequence token, and whether the tokenizer changes its text."""
    text = template.target(sample)
    if for_encoder:
        # The decoder starts with what the tokenizer puts before a text, as in pretraining (CodeT5+: <s>).
        encoded = tokenizer(text, return_special_tokens_mask=True, split_special_tokens=True)
        ids = _ids(encoded["input_ids"])
        end, ids = STANDALONE, _without_end(ids, _ids(encoded["special_tokens_mask"]), tokenizer.eos_token_id)
    else:
        prompt = template.prompt(sample)
        end = anchor(encode_prompt(prompt, tokenizer)[0], tokenizer)
        ids = _target_ids(prompt, text, end, tokenizer)
    return [*ids, tokenizer.eos_token_id], text_behind(end, ids, tokenizer) != text


def encode_prompt(
    prompt: Prompt,
    tokenizer: Tokenizer,
    max_tokens: int | None = None,
    max_positions: int | None = None,
    *,
    for_encoder: bool = False,
) -> tuple[list[int], int]:
    """Encode a prompt and cut its instruction to fit the limits; None means unlimited.

    Args:
        prompt: the rendered prompt.
        tokenizer: a fast tokenizer.
        max_tokens: limit of the prompt without its examples. The markers are never cut, so a limit below their length
            is exceeded.
        max_positions: limit of the prompt with its examples; the same holds for it.
        for_encoder: whether the ids are an encoder's input, which ends with the end-of-sequence token. A decoder's
            prompt keeps what the tokenizer puts before it, and nothing behind its text.

    Returns:
        the token ids, and the number of instruction tokens that were cut.
    """
    sentinel, text = _sentinel(prompt, tokenizer)
    encoded = tokenizer(
        text,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        split_special_tokens=_AS_TEXT["split_special_tokens"],
    )
    # An end token behind a decoder's prompt tells it to stop (tests/unit/test_by_heart.py).
    ids = _without_end(_ids(encoded["input_ids"]), _ids(encoded["special_tokens_mask"]), tokenizer.eos_token_id)
    behind = sentinel + [tokenizer.eos_token_id] * for_encoder
    offsets = [*list(encoded["offset_mapping"])[: len(ids)], *[(0, 0)] * len(behind)]
    ids += behind
    inside = [
        position
        for position, span in enumerate(offsets)
        if isinstance(span, tuple) and prompt.instruction_start <= span[0] < span[1] <= prompt.instruction_end
    ]
    of_examples = sum(isinstance(span, tuple) and 0 < span[1] <= prompt.start for span in offsets)
    over = [
        len(ids) - of_examples - max_tokens if max_tokens is not None else 0,
        len(ids) - max_positions if max_positions is not None else 0,
    ]
    cut = min(max(*over, 0), len(inside))
    left_out = set(inside[len(inside) - cut :])
    return [token for position, token in enumerate(ids) if position not in left_out], cut


def _sentinel(prompt: Prompt, tokenizer: Tokenizer) -> tuple[list[int], str]:
    """The ids of a prompt's sentinel, and the prompt's text as it stands before it."""
    if not prompt.sentinel:
        return [], prompt.text
    index = tokenizer.convert_tokens_to_ids(prompt.sentinel)
    assert isinstance(index, int), "a token has a single id"
    # Some tokenizers drop white space before their sentinels, so that a model never saw any there.
    strips = tokenizer.added_tokens_decoder[index].lstrip
    return [index], prompt.text.rstrip() if strips else prompt.text


def not_longer_than(longest: int | None, samples: Sequence[Encoded]) -> list[Encoded]:
    """Samples with at most `longest` tokens in prompt and target before any cut; all if `longest` is None."""
    # The package's revision leaves out samples of APPS above 1,024 tokens.
    return [sample for sample in samples if longest is None or _uncut(sample) <= longest]


def _uncut(sample: Encoded) -> int:
    return len(sample.prompt) + sample.prompt_cut + len(sample.target) + sample.target_cut


def truncation(encoded: Iterable[Encoded]) -> Truncation:
    """Count what the limits removed."""
    samples = list(encoded)
    return Truncation(
        samples=len(samples),
        prompts_cut=sum(sample.prompt_cut > 0 for sample in samples),
        targets_cut=sum(sample.target_cut > 0 for sample in samples),
        tokens_cut=sum(sample.prompt_cut + sample.target_cut for sample in samples),
        examples_cut=sum(sample.examples_cut for sample in samples),
    )


def lengths(encoded: Iterable[Encoded]) -> dict[str, Any]:
    """Count samples by their length before any limit, in tokens, as figure 2 of the study does.

    Returns:
        "bin_tokens", the width of a bin, and for "prompt" and "target" the number of samples by the lower edge of their
        bin, as text for JSON.
    """
    samples = list(encoded)
    histograms = {
        "prompt": Counter(_edge(len(sample.prompt) + sample.prompt_cut) for sample in samples),
        "target": Counter(_edge(len(sample.target) + sample.target_cut) for sample in samples),
    }
    return {"bin_tokens": BIN_TOKENS} | {
        part: {str(edge): counts[edge] for edge in sorted(counts)} for part, counts in histograms.items()
    }


def changed_targets(encoded: Mapping[str, Iterable[Encoded]]) -> dict[str, int]:
    """Count the targets that the tokenizer cannot represent, by split, and warn about them."""
    # Some tokenizers drop line breaks or indentation.
    counts = {split: sum(sample.target_changed for sample in samples) for split, samples in encoded.items()}
    if any(counts.values()):
        logger.warning(
            "the tokenizer changes targets when it encodes and decodes them (%s): no candidate can equal them",
            ", ".join(f"{split}: {number}" for split, number in counts.items()),
        )
    return counts


def _edge(length: int) -> int:
    return length // BIN_TOKENS * BIN_TOKENS


def _without_end(ids: list[int], added: Sequence[int], end: int) -> list[int]:
    """A prompt's ids without those that the tokenizer added behind its text; `added` is 1 for an added id."""
    # The mask, because a text may contain the end token itself.
    if 0 in added:
        return ids[: len(added) - list(added)[::-1].index(0)]
    return [token for token in ids if token != end]


def _target_ids(prompt: Prompt, target: str, end: Anchor, tokenizer: Tokenizer) -> list[int]:
    # Encoded together with its prompt, a target starts as it does in running text.
    alone = _text_ids(prompt.text, tokenizer)
    joint = _text_ids(prompt.text + target, tokenizer)
    if joint[: len(alone)] == alone:
        return joint[len(alone) :]
    # If a token spans the boundary, the prompt must stay as generation sees it. A SentencePiece tokenizer puts a
    # space before text encoded alone; a line break before the text takes its place.
    standalone = _text_ids(target, tokenizer)
    if text_behind(end, standalone, tokenizer) == target:
        return standalone
    line_break, joint = _text_ids("\n", tokenizer), _text_ids(f"\n{target}", tokenizer)
    return joint[len(line_break) :] if joint[: len(line_break)] == line_break else standalone


def count_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> int:
    """Count the tokens of texts, encoded without special tokens."""
    return sum(len(_text_ids(text, tokenizer)) for text in texts)


def _text_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    return _ids(tokenizer(text, **_AS_TEXT)["input_ids"])


def _ids(values: list[int] | list[tuple[int, int]]) -> list[int]:
    return [value for value in values if isinstance(value, int)]
