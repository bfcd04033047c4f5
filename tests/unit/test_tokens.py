"""Token boundaries between prompt and target, and what truncation takes away."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_study.config.schema import PromptForm
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.data.tokens import Encoded, Truncation, encode, encode_prompt, lengths, truncation
from peft_study.models.tiny import load_tokenizer

TOKENIZER = load_tokenizer()
PLAIN = Template()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


def sample(instruction: str = "sort list `xs`", answer: str = "xs.sort()") -> Sample:
    return Sample("test-0", instruction, answer)


@settings(max_examples=200, deadline=None)
@given(instruction=TEXT, answer=TEXT, form=st.sampled_from(PromptForm))
def test_prompt_and_target_decode_to_the_text_and_end_with_the_end_token(
    instruction: str, answer: str, form: PromptForm
) -> None:
    template = Template(form)

    encoded = encode(sample(instruction, answer), template, TOKENIZER, 10_000, 10_000)

    assert TOKENIZER.decode(list(encoded.prompt)) == template.prompt(sample(instruction, answer)).text
    assert TOKENIZER.decode(list(encoded.target[:-1])) == template.target(sample(instruction, answer))
    assert encoded.target[-1] == TOKENIZER.eos_token_id
    assert (encoded.prompt_cut, encoded.target_cut) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(instruction=TEXT, answer=TEXT, limit=st.integers(8, 60))
def test_training_and_generation_read_the_same_prompt(instruction: str, answer: str, limit: int) -> None:
    encoded = encode(sample(instruction, answer), PLAIN, TOKENIZER, limit, 64)

    assert list(encoded.prompt) == encode_prompt(PLAIN.prompt(sample(instruction)), TOKENIZER, limit)[0]


def test_a_long_instruction_loses_its_end_and_keeps_the_markers() -> None:
    instruction = "sort the list `xs` " * 50
    ids, cut = encode_prompt(PLAIN.prompt(sample(instruction)), TOKENIZER, 40)

    text = TOKENIZER.decode(ids)
    assert len(ids) == 40
    assert cut > 0
    assert text.startswith("### Instruction:\nsort the list `xs`")
    assert text.endswith("\n### Response:\n")


def test_the_markers_stay_where_the_limit_is_below_their_length() -> None:
    ids, _ = encode_prompt(PLAIN.prompt(sample()), TOKENIZER, 1)

    assert TOKENIZER.decode(ids) == "### Instruction:\n\n### Response:\n"


def test_a_long_question_loses_its_end_and_keeps_the_starter_code() -> None:
    long = Sample("test-0", "sort the list `xs` " * 50, "def f(xs):\n    return xs", starter_code="def f(xs):\n    ")

    encoded = encode(long, Template(PromptForm.apps), TOKENIZER, 120, 64)

    text = TOKENIZER.decode(list(encoded.prompt))
    assert len(encoded.prompt) == 120
    assert encoded.prompt_cut > 0
    assert text.endswith("\n[/INST]\n```python\ndef f(xs):")
    assert TOKENIZER.decode(list(encoded.target[:-1])) == "\n    return xs\n```"


@pytest.mark.parametrize(("limit", "ends"), [(4, False), (100, True)])
def test_a_target_cut_short_keeps_no_end_token(limit: int, ends: bool) -> None:
    encoded = encode(sample(answer="sorted(xs, key=lambda x: -x)[:3]"), PLAIN, TOKENIZER, 64, limit)

    assert (encoded.target[-1] == TOKENIZER.eos_token_id) is ends
    assert (encoded.target_cut == 0) is ends
    assert len(encoded.target) <= limit


def test_the_end_token_alone_is_what_a_tight_limit_takes() -> None:
    whole = encode(sample(), PLAIN, TOKENIZER, 64, 64)
    cut = encode(sample(), PLAIN, TOKENIZER, 64, len(whole.target) - 1)

    assert cut.target == whole.target[:-1]
    assert cut.target_cut == 1


def test_truncation_is_counted() -> None:
    encoded = [
        encode(sample(), PLAIN, TOKENIZER, 64, 64),
        encode(sample(instruction="sort " * 200), PLAIN, TOKENIZER, 64, 64),
        encode(sample(answer="xs.sort() ; " * 50), PLAIN, TOKENIZER, 64, 64),
    ]

    counted = truncation(encoded)

    assert counted == Truncation(3, 1, 1, encoded[1].prompt_cut + encoded[2].target_cut)


class JoiningTokenizer:
    """One in which a line feed and the x behind it are one token, and text encoded alone gets a space before it."""

    eos_token_id = 0
    vocabulary = ("", "\nx", "▁")

    def __call__(self, text: str, **options: object) -> dict[str, list[int] | list[tuple[int, int]]]:
        ids, offsets, position = [], [], 0
        if not text.startswith("#"):
            ids.append(2)
            offsets.append((0, 0))
        while position < len(text):
            width = 2 if text[position : position + 2] == "\nx" else 1
            ids.append(1 if width == 2 else 100 + ord(text[position]))
            offsets.append((position, position + width))
            position += width
        return {"input_ids": ids, "offset_mapping": offsets}


def test_a_token_across_the_boundary_leaves_the_prompt_as_generation_sees_it() -> None:
    tokenizer = JoiningTokenizer()

    encoded = encode(sample(answer="xs"), PLAIN, tokenizer, 1000, 64)

    assert encoded.prompt[-1] == 100 + ord("\n")
    assert encoded.target == (2, 100 + ord("x"), 100 + ord("s"), 0)


def test_a_target_starts_as_in_running_text() -> None:
    encoded = encode(sample(answer="ys"), PLAIN, JoiningTokenizer(), 1000, 64)

    assert encoded.target == (100 + ord("y"), 100 + ord("s"), 0)


def test_an_encoders_input_ends_with_the_end_token_once() -> None:
    prompt = PLAIN.prompt(sample())

    of_decoder, _ = encode_prompt(prompt, TOKENIZER, 64)
    of_encoder, _ = encode_prompt(prompt, TOKENIZER, 64, for_encoder=True)

    assert of_encoder == [*of_decoder, TOKENIZER.eos_token_id]


class ClosingTokenizer(JoiningTokenizer):
    """One that adds the end token by itself, as those of encoder-decoders do."""

    def __call__(self, text: str, **options: object) -> dict[str, list[int] | list[tuple[int, int]]]:
        encoded = super().__call__(text, **options)
        return {"input_ids": [*encoded["input_ids"], 0], "offset_mapping": [*encoded["offset_mapping"], (0, 0)]}  # type: ignore[list-item]


def test_an_end_token_that_the_tokenizer_adds_is_not_doubled_and_never_cut() -> None:
    ids, cut = encode_prompt(PLAIN.prompt(sample("sort list")), ClosingTokenizer(), 20, for_encoder=True)

    assert cut == len("sort list")
    assert ids[-2:] == [100 + ord("\n"), 0]


def test_text_that_spells_out_a_special_token_is_text() -> None:
    end = TOKENIZER.eos_token

    encoded = encode(sample(f"say {end}", f"print('{end}')"), PLAIN, TOKENIZER, 100, 100)

    assert TOKENIZER.eos_token_id not in [*encoded.prompt, *encoded.target[:-1]]
    assert TOKENIZER.decode(list(encoded.target[:-1])) == f"print('{end}')"


def test_lengths_are_those_before_any_cut() -> None:
    samples = [Encoded(tuple(range(10)), (1, 2), 5, 0), Encoded((1,), (1,), 0, 7), Encoded((1, 2), (1,) * 8, 0, 0)]

    assert lengths(samples) == {"bin_tokens": 8, "prompt": {"0": 2, "8": 1}, "target": {"0": 1, "8": 2}}
