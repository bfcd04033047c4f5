"""From samples to token ids: prompts cut to their limits, and targets encoded behind them, with an exact boundary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from peft_study.data.continuation import STANDALONE, Anchor, anchor, text_behind
from peft_study.data.prompts import Prompt, Template
from peft_study.data.samples import Sample

IGNORED_LABEL = -100  # what torch's cross_entropy leaves out


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


def encode(
    sample: Sample,
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
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
    whole_target, changed = _target(sample, template, tokenizer, for_encoder=for_encoder)
    # A cut target has no end token. The study's package keeps it, and a model learns to stop in the middle.
    target = whole_target[: limits.target]
    max_tokens, max_positions = limits.prompt, limits.prompt_positions
    if max_tokens is not None and limits.shared:
        max_tokens += limits.target - len(target)
    shown = list(examples)
    while True:
        prompt = template.prompt(sample, shown)
        ids, cut = encode_prompt(prompt, tokenizer, max_tokens, for_encoder=for_encoder)
        fits = max_positions is None or len(ids) <= max_positions
        if fits or not shown:
            break
        del shown[0]  # and encode again, because a token may span two examples
    if not fits:
        ids, cut = encode_prompt(prompt, tokenizer, max_tokens, max_positions, for_encoder=for_encoder)
    return Encoded(
        tuple(ids),
        tuple(target),
        cut,
        len(whole_target) - len(target),
        examples_cut=len(examples) - len(shown),
        target_changed=changed,
    )


def _target(
    sample: Sample, template: Template, tokenizer: PreTrainedTokenizerBase, *, for_encoder: bool
) -> tuple[list[int], bool]:
    """Token ids of a whole target with its end-of-sequence token, and whether the tokenizer changes its text."""
    text = template.target(sample)
    if for_encoder:
        # The decoder starts with what the tokenizer puts before a text, as in pretraining (CodeT5+: <s>).
        encoded = tokenizer(text, return_special_tokens_mask=True, split_special_tokens=True)
        ids, end = _without_end(encoded, tokenizer.eos_token_id), STANDALONE
    else:
        prompt = template.prompt(sample)
        end = anchor(encode_prompt(prompt, tokenizer)[0], tokenizer)
        ids = _target_ids(prompt, text, end, tokenizer)
    return [*ids, tokenizer.eos_token_id], text_behind(end, ids, tokenizer) != text


def encode_prompt(
    prompt: Prompt,
    tokenizer: PreTrainedTokenizerBase,
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
    # A sample that contains the text of a special token means its characters, not the token.
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, split_special_tokens=True)
    # An end token behind a decoder's prompt tells it to stop (tests/unit/test_by_heart.py).
    ids = _without_end(encoded, tokenizer.eos_token_id)
    offsets = encoded["offset_mapping"][: len(ids)]
    ids += sentinel + [tokenizer.eos_token_id] * for_encoder
    of_instruction = [
        position
        for position, (start, end) in enumerate(offsets)
        if prompt.instruction_start <= start < end <= prompt.instruction_end
    ]
    of_examples = sum(0 < end <= prompt.start for _, end in offsets)
    excess = 0
    if max_tokens is not None:
        excess = max(excess, len(ids) - of_examples - max_tokens)
    if max_positions is not None:
        excess = max(excess, len(ids) - max_positions)
    cut = min(excess, len(of_instruction))
    left_out = set(of_instruction[len(of_instruction) - cut :])
    return [token for position, token in enumerate(ids) if position not in left_out], cut


def _sentinel(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], str]:
    """The ids of a prompt's sentinel, and the prompt's text as it stands before it."""
    if not prompt.sentinel:
        return [], prompt.text
    index = tokenizer.convert_tokens_to_ids(prompt.sentinel)
    assert isinstance(index, int), "a token has a single id"
    # Some tokenizers drop white space before their sentinels, so that a model never saw any there.
    strips = tokenizer.added_tokens_decoder[index].lstrip
    return [index], prompt.text.rstrip() if strips else prompt.text


def _without_end(encoded: Mapping[str, Any], end: int) -> list[int]:
    """The ids of a text without those that the tokenizer added behind it."""
    ids: list[int] = encoded["input_ids"]
    # The mask, because a text may contain the end token itself. It is 1 for an added token.
    added: list[int] = encoded["special_tokens_mask"]
    if 0 in added:
        return ids[: len(added) - added[::-1].index(0)]
    return [token for token in ids if token != end]


def _target_ids(prompt: Prompt, target: str, end: Anchor, tokenizer: PreTrainedTokenizerBase) -> list[int]:
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


def count_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the tokens of texts, encoded without special tokens."""
    return sum(len(_text_ids(text, tokenizer)) for text in texts)


def _text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids
