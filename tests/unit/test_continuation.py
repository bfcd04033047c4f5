"""The text that new tokens have behind their prompt, by every kind of tokenizer."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peft_study.data.continuation import STANDALONE, anchor, text_behind
from tests.tokenizer_kinds import DECODERS, FUNCTIONS, t5

TOKENIZERS = {name: build() for name, build in DECODERS.items()}
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
# Spaces, line breaks, characters of one to four bytes, and what a byte token is written as.
PIECES = st.sampled_from(
    ["    ", "  ", " ", "\n", "\n\n", "def ", "return", "x", ")", "é", "✓", "𝄞", "▁", "<0x41>", "</s>"]
)
TEXT = st.lists(PIECES, min_size=1, max_size=12).map("".join)


def ids_of(kind: str, text: str) -> list[int]:
    return TOKENIZERS[kind](text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def whole_text(kind: str, ids: list[int]) -> str:
    return TOKENIZERS[kind].decode(ids, skip_special_tokens=True)


@KINDS
@settings(max_examples=60, deadline=None)
@given(text=TEXT, data=st.data())
def test_the_end_of_a_prompt_gives_the_text_that_the_whole_prompt_gives(
    kind: str, text: str, data: st.DataObject
) -> None:
    ids = ids_of(kind, text)
    boundary = data.draw(st.integers(0, len(ids)))
    prompt, new = ids[:boundary], ids[boundary:]
    before, whole = whole_text(kind, prompt), whole_text(kind, ids)
    # Where a prompt breaks off inside a character, its text is not the beginning of the whole.
    assume(whole.startswith(before))

    assert text_behind(anchor(prompt, TOKENIZERS[kind]), new, TOKENIZERS[kind]) == whole[len(before) :]


@KINDS
@pytest.mark.parametrize("head", [head for head, _ in FUNCTIONS])
def test_the_end_of_a_prompt_is_short(kind: str, head: str) -> None:
    assert len(anchor(ids_of(kind, head), TOKENIZERS[kind]).ids) <= 2


@pytest.mark.parametrize("kind", ["byte_level", "codellama"])
def test_a_character_that_the_prompt_begins_belongs_to_what_completes_it(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = ids_of(kind, "n✓n")
    middle = len(ids_of(kind, "n")) + 1

    assert text_behind(anchor(ids[:middle], tokenizer), ids[middle:], tokenizer) == "✓n"


@KINDS
def test_special_tokens_have_no_text(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    prompt = ids_of(kind, "return")
    new = ids_of(kind, "return  x")[len(prompt) :]
    end = tokenizer.eos_token_id

    assert text_behind(anchor(prompt, tokenizer), [*new, end, end], tokenizer) == "  x"
    assert text_behind(anchor([*prompt, end], tokenizer), new, tokenizer) == "  x"
    assert text_behind(anchor([], tokenizer), [], tokenizer) == ""


def test_the_decoder_of_an_encoder_decoder_writes_a_text_of_its_own() -> None:
    tokenizer = t5()
    new = [tokenizer.pad_token_id, *tokenizer("return n")["input_ids"], tokenizer.pad_token_id]

    assert text_behind(STANDALONE, new, tokenizer) == "return n"
