"""The text of tokens that follow a prompt: they are decoded with the end of it, whose text is then cut off."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # SentencePiece's name of a byte
_BROKEN_CHARACTER = "\ufffd"  # what decoders write for a part of a character


class Decoding(Protocol):
    """The part of a Hugging Face tokenizer that this module uses."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = ..., **options: Any) -> str | list[str]:
        """Decode token ids."""

    def convert_ids_to_tokens(self, ids: list[int]) -> str | list[str]:
        """The entries of the vocabulary."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of a prompt.

    Attributes:
        ids: the prompt's last tokens.
        text: their decoded text.
    """

    ids: tuple[int, ...]
    text: str


STANDALONE = Anchor((), "")
"""The anchor of tokens that follow no prompt: those that the decoder of an encoder-decoder writes."""


def anchor(prompt: Sequence[int], tokenizer: Decoding) -> Anchor:
    """Find the shortest end of a prompt behind which new tokens have the same text as behind the whole prompt.

    It begins with a token that decodes to whole characters. Decoders treat what precedes such a token separately.
    Tokens of single bytes are decoded in runs, so they never start it.

    Args:
        prompt: token ids.
        tokenizer: it made the ids.
    """
    # The end alone, because a prompt of thousands of tokens would be decoded for every candidate.
    start = next((index for index in reversed(range(len(prompt))) if _is_whole(prompt[index], tokenizer)), 0)
    ids = tuple(prompt[start:])
    return Anchor(ids, _decoded(ids, tokenizer))


def text_behind(end: Anchor, new: Sequence[int], tokenizer: Decoding) -> str:
    """The text of new tokens behind a prompt, without special tokens.

    Args:
        end: the end of the prompt.
        new: token ids.
        tokenizer: it made the prompt.

    Returns:
        the text. If the first new token completes a character that the prompt begins, the character is part of it.
    """
    # Decoded alone, CodeLlama's tokens lose their leading space: HumanEval fell from 100 % to 0 % for a model that knew
    # the answers by heart (tests/unit/test_by_heart.py).
    joint = _decoded((*end.ids, *new), tokenizer)
    if joint.startswith(end.text):
        return joint[len(end.text) :]
    pairs = enumerate(zip(end.text, joint, strict=False))
    return joint[next(index for index, (before, after) in pairs if before != after) :]


def _is_whole(token: int, tokenizer: Decoding) -> bool:
    text = _decoded((token,), tokenizer)
    by_itself = bool(text) and _BROKEN_CHARACTER not in text
    return by_itself and not _BYTE_TOKEN.fullmatch(tokenizer.convert_ids_to_tokens([token])[0])


def _decoded(ids: Sequence[int], tokenizer: Decoding) -> str:
    # transformers' clean-up, once its default, removes spaces before punctuation: `print (x , y)` would change.
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
