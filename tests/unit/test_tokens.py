"""Token boundaries between prompt and target, and what truncation takes away."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_study.config.schema import PromptForm
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.data.token_counts import Truncation, changed_targets, lengths, truncation
from peft_study.data.tokens import Encoded, Limits, encode, encode_prompt
from peft_study.models.tiny import load_tokenizer
from tests.tokenizer_kinds import DECODERS, FUNCTIONS, t5

TOKENIZER = load_tokenizer()
PLAIN = Template()
COMPLETION = Template(PromptForm.completion)
KINDS = pytest.mark.parametrize("kind", DECODERS)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


def sample(instruction: str = "sort list `xs`", answer: str = "xs.sort()") -> Sample:
    return Sample("test-0", instruction, answer)


@settings(max_examples=200, deadline=None)
@given(instruction=TEXT, answer=TEXT, form=st.sampled_from(PromptForm))
def test_prompt_and_target_decode_to_the_text_and_end_with_the_end_token(
    instruction: str, answer: str, form: PromptForm
) -> None:
    template = Template(form)

    encoded = encode(sample(instruction, answer), template, TOKENIZER, Limits(10_000, 10_000))

    assert TOKENIZER.decode(list(encoded.prompt)) == template.prompt(sample(instruction, answer)).text
    assert TOKENIZER.decode(list(encoded.target[:-1])) == template.target(sample(instruction, answer))
    assert encoded.target[-1] == TOKENIZER.eos_token_id
    assert (encoded.prompt_cut, encoded.target_cut) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(instruction=TEXT, answer=TEXT, limit=st.integers(8, 60))
def test_training_and_generation_read_the_same_prompt(instruction: str, answer: str, limit: int) -> None:
    encoded = encode(sample(instruction, answer), PLAIN, TOKENIZER, Limits(limit, 64))

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

    encoded = encode(long, Template(PromptForm.apps), TOKENIZER, Limits(120, 64))

    text = TOKENIZER.decode(list(encoded.prompt))
    assert len(encoded.prompt) == 120
    assert encoded.prompt_cut > 0
    assert text.endswith("\n[/INST]\n```python\ndef f(xs):")
    assert TOKENIZER.decode(list(encoded.target[:-1])) == "\n    return xs\n```"


@pytest.mark.parametrize(("limit", "ends"), [(4, False), (100, True)])
def test_a_target_cut_short_keeps_no_end_token(limit: int, ends: bool) -> None:
    encoded = encode(sample(answer="sorted(xs, key=lambda x: -x)[:3]"), PLAIN, TOKENIZER, Limits(64, limit))

    assert (encoded.target[-1] == TOKENIZER.eos_token_id) is ends
    assert (encoded.target_cut == 0) is ends
    assert len(encoded.target) <= limit


def test_the_end_token_alone_is_what_a_tight_limit_takes() -> None:
    whole = encode(sample(), PLAIN, TOKENIZER, Limits(64, 64))
    cut = encode(sample(), PLAIN, TOKENIZER, Limits(64, len(whole.target) - 1))

    assert cut.target == whole.target[:-1]
    assert cut.target_cut == 1


LONG, SHORT = "sort the list `xs` " * 9, "xs.sort()"


@pytest.mark.parametrize(
    ("instruction", "answer", "shared", "left_out"),
    [
        pytest.param(LONG, SHORT, False, True, id="a limit of its own"),
        pytest.param(LONG, SHORT, True, False, id="a short answer leaves room"),
        pytest.param(LONG, "xs.sort(); " * 20, True, True, id="a long answer takes its part first"),
        pytest.param("sort", "xs.sort(); " * 20, True, False, id="a short prompt leaves an answer nothing"),
    ],
)
def test_a_prompt_may_take_what_its_target_leaves(instruction: str, answer: str, shared: bool, left_out: bool) -> None:
    target = TOKENIZER(answer)["input_ids"]

    encoded = encode(sample(instruction, answer), PLAIN, TOKENIZER, Limits(64, 64, shared=shared))

    assert (encoded.prompt_cut > 0) is left_out
    assert (encoded.target_cut > 0) is (len(target) + 1 > 64)
    assert len(encoded.prompt) + len(encoded.target) <= 128
    assert len(encoded.target) == min(len(target) + 1, 64)


def test_a_prompt_without_a_limit_is_whole() -> None:
    encoded = encode(sample(LONG * 50), PLAIN, TOKENIZER, Limits(None, 1))

    assert TOKENIZER.decode(list(encoded.prompt)) == PLAIN.prompt(sample(LONG * 50)).text


def test_truncation_is_counted() -> None:
    encoded = [
        encode(sample(), PLAIN, TOKENIZER, Limits(64, 64)),
        encode(sample(instruction="sort " * 200), PLAIN, TOKENIZER, Limits(64, 64)),
        encode(sample(answer="xs.sort() ; " * 50), PLAIN, TOKENIZER, Limits(64, 64)),
    ]

    counted = truncation(encoded)

    assert counted == Truncation(3, 1, 1, encoded[1].prompt_cut + encoded[2].target_cut)


def completed(head: str, body: str) -> Sample:
    return Sample("test-0", head, head + body, starter_code=head)


def plain_ids(tokenizer: object, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return, operator]


@KINDS
@pytest.mark.parametrize(
    ("head", "body"),
    [
        *FUNCTIONS,
        # Of most tokenizers a token spans the boundary.
        ("def last(items):\n", "    return items[-1]"),
        ("def last(items):\n    ret", "urn items[-1]"),
        ("def last(items):\n    return", "  items"),
        ("def last(items):\n  ", "  return items"),
        ("x = '\n", "✓ é'"),
        ("x =", "\n\n\n"),
        ("x =", ""),
        ("print(", "'</s>')"),
    ],
)
def test_a_target_has_its_text_behind_the_prompt_that_generation_sees(kind: str, head: str, body: str) -> None:
    tokenizer = DECODERS[kind]()

    encoded = encode(completed(head, body), COMPLETION, tokenizer, Limits(1000, 1000))

    assert list(encoded.prompt) == encode_prompt(COMPLETION.prompt(completed(head, body)), tokenizer, 1000)[0]
    assert encoded.prompt[-1] != tokenizer.eos_token_id
    assert encoded.target[-1] == tokenizer.eos_token_id
    assert tokenizer.decode([*encoded.prompt, *encoded.target], skip_special_tokens=True) == head + body
    assert not encoded.target_changed


@KINDS
def test_a_target_starts_as_in_running_text(kind: str) -> None:
    tokenizer = DECODERS[kind]()
    shown = sample("sort", "total += n")
    text = PLAIN.prompt(shown).text

    encoded = encode(shown, PLAIN, tokenizer, Limits(1000, 64))

    running = plain_ids(tokenizer, f"{text}total += n")
    assert list(encoded.target[:-1]) == running[len(plain_ids(tokenizer, text)) :]


@KINDS
def test_a_decoder_is_shown_what_its_tokenizer_puts_before_a_text_and_nothing_behind(kind: str) -> None:
    tokenizer = DECODERS[kind]()
    shown = PLAIN.prompt(sample("sort"))

    ids, _ = encode_prompt(shown, tokenizer, 1000)

    around = tokenizer(shown.text)["input_ids"]
    begins = kind in ("appending", "codellama", "llama_legacy")
    assert ids == around[: len(ids)]
    assert ids == [tokenizer.bos_token_id] * begins + plain_ids(tokenizer, shown.text)


def test_a_prompt_without_text_keeps_its_beginning_token_alone() -> None:
    tokenizer = DECODERS["appending"]()

    assert encode_prompt(COMPLETION.prompt(sample("")), tokenizer, 10)[0] == [tokenizer.bos_token_id]


def test_an_encoders_input_ends_with_the_end_token_once() -> None:
    prompt = PLAIN.prompt(sample())

    of_decoder, _ = encode_prompt(prompt, TOKENIZER, 64)
    of_encoder, _ = encode_prompt(prompt, TOKENIZER, 64, for_encoder=True)

    assert of_encoder == [*of_decoder, TOKENIZER.eos_token_id]


def test_an_end_token_that_an_encoders_tokenizer_adds_is_not_doubled_and_never_cut() -> None:
    tokenizer = t5()

    ids, cut = encode_prompt(PLAIN.prompt(sample("double count")), tokenizer, 1, for_encoder=True)

    without = plain_ids(tokenizer, PLAIN.prompt(sample("")).text)
    assert cut > 0
    assert ids == [*without, tokenizer.eos_token_id]


def test_a_target_of_an_encoder_decoder_is_a_text_by_itself() -> None:
    tokenizer = t5()

    encoded = encode(sample(answer="return total"), PLAIN, tokenizer, Limits(100, 100), for_encoder=True)

    assert list(encoded.target) == tokenizer("return total")["input_ids"]
    assert not encoded.target_changed


@pytest.mark.parametrize(
    ("answer", "changed"),
    [
        ("return total", False),
        ("return  total", True),
        ("    return total", True),
        ("total\nreturn", True),
        ("✓", True),
        ("return total ", True),
    ],
)
def test_a_target_that_its_tokenizer_cannot_write_is_known(answer: str, changed: bool) -> None:
    assert encode(sample(answer=answer), PLAIN, t5(), Limits(100, 2), for_encoder=True).target_changed is changed


def test_changed_targets_are_counted_by_split_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = t5()
    encoded = {
        split: [
            encode(sample(answer=answer), PLAIN, tokenizer, Limits(100, 100), for_encoder=True) for answer in answers
        ]
        for split, answers in (("train", ["total", "a\nb"]), ("validation", ["total"]), ("test", ["a\nb", "a\tb"]))
    }

    with caplog.at_level(logging.WARNING):
        counts = changed_targets(encoded)
        nothing = changed_targets({"test": encoded["validation"]})

    assert counts == {"train": 1, "validation": 0, "test": 2}
    assert nothing == {"test": 0}
    assert len(caplog.records) == 1


def test_text_that_spells_out_a_special_token_is_text() -> None:
    end = TOKENIZER.eos_token

    encoded = encode(sample(f"say {end}", f"print('{end}')"), PLAIN, TOKENIZER, Limits(100, 100))

    assert TOKENIZER.eos_token_id not in [*encoded.prompt, *encoded.target[:-1]]
    assert TOKENIZER.decode(list(encoded.target[:-1])) == f"print('{end}')"


def test_lengths_are_those_before_any_cut() -> None:
    samples = [Encoded(tuple(range(10)), (1, 2), 5, 0), Encoded((1,), (1,), 0, 7), Encoded((1, 2), (1,) * 8, 0, 0)]

    assert lengths(samples) == {"bin_tokens": 8, "prompt": {"0": 2, "8": 1}, "target": {"0": 1, "8": 2}}
