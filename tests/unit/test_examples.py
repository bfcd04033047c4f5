"""Examples before a prompt: which ones, in what order, and what happens where they do not fit."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

import numpy as np
import pytest
import scipy.stats

from peft_study.config.compose import compose_cell
from peft_study.config.schema import ExampleChoice, ExampleDraw, ExampleLeakage, ExampleOrder, PromptForm
from peft_study.data.examples import ExampleRules, Shown, choose, equal_instructions, leakage_record
from peft_study.data.leakage import leakage
from peft_study.data.nearest import Block, Retriever, compare
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.data.tokens import Limits, encode
from peft_study.errors import UserError
from peft_study.models.tiny import FOLDER, load_tokenizer

TOKENIZER = load_tokenizer()
TRAIN = [
    Sample(f"train-{index}", text, f"answer_{index}")
    for index, text in enumerate(
        ["sort the list xs", "open the file log", "reverse the list ys", "join words with a comma", "close a socket"]
    )
]
TEST = [Sample("test-0", "reverse a list", "r"), Sample("test-1", "open another file", "o")]


def retriever(vectors: Mapping[str, Sequence[float]], train: Sequence[Sample]) -> Retriever:
    """A retriever by vectors that the test states."""
    texts = [sample.instruction for sample in train]
    keys = np.array([vectors[text] for text in texts], dtype=np.float32)

    def retrieve(queries: Sequence[str]) -> Iterator[Block]:
        return compare(np.array([vectors[text] for text in queries], dtype=np.float32), keys, np.arange(len(texts)))

    return retrieve


def numbered(texts: Sequence[str], part: str = "train") -> list[Sample]:
    return [Sample(f"{part}-{index}", text, f"answer_{index}") for index, text in enumerate(texts)]


def rows(shown: Sequence[Shown]) -> list[tuple[int, ...]]:
    return [of_prompt.rows for of_prompt in shown]


MANY = numbered([f"task {index}" for index in range(40)])
ASKED = numbered([f"question {index}" for index in range(12)], "test")


@pytest.mark.parametrize("seed", [0, 7, 42, 1234])
def test_random_examples_of_a_cell_are_those_of_the_studys_package(seed: int) -> None:
    # The package calls `random.sample` on the training rows, once.
    expected = Random(seed).sample(list(MANY), 8)

    shown = choose(ExampleRules(ExampleChoice.random, 8), MANY, ASKED, seed)

    assert [[MANY[row] for row in of_prompt] for of_prompt in rows(shown)] == [expected] * len(ASKED)
    assert all(of_prompt.similarities == () for of_prompt in shown)


@pytest.mark.parametrize("draw", list(ExampleDraw))
def test_seeds_give_other_examples_and_a_seed_the_same(draw: ExampleDraw) -> None:
    rules = ExampleRules(ExampleChoice.random, 4, draw)
    by_seed = [rows(choose(rules, MANY, ASKED, seed)) for seed in (1, 1, 2)]

    assert by_seed[0] == by_seed[1] != by_seed[2]
    assert len(set(by_seed[0])) == (1 if draw is ExampleDraw.cell else len(ASKED))
    assert all(len(set(of_prompt)) == 4 for of_prompt in by_seed[0])


def test_the_draw_of_a_sample_depends_on_no_other_sample() -> None:
    rules = ExampleRules(ExampleChoice.random, 4, ExampleDraw.sample)
    whole = rows(choose(rules, MANY, ASKED, 3))

    # As for a cell that resumes, or has a lower dataset.test_limit.
    assert rows(choose(rules, MANY, ASKED[5:7], 3)) == whole[5:7]
    assert rows(choose(rules, MANY, ASKED[::-1], 3)) == whole[::-1]


def test_random_examples_of_samples_are_uniform() -> None:
    asked = numbered(["q"] * 4000, "test")
    shown = choose(ExampleRules(ExampleChoice.random, 4, ExampleDraw.sample), MANY, asked, 0)

    counts = np.bincount([row for of_prompt in rows(shown) for row in of_prompt], minlength=len(MANY))

    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("choice", "number"), [(ExampleChoice.none, 0), (ExampleChoice.random, 0)])
def test_no_examples(choice: ExampleChoice, number: int) -> None:
    assert choose(ExampleRules(choice, number), TRAIN, TEST, 0) == [Shown(), Shown()]


def test_more_examples_than_there_are_is_all_of_them() -> None:
    assert len(choose(ExampleRules(ExampleChoice.random, 99), TRAIN, TEST, 0)[0].rows) == len(TRAIN)


@pytest.mark.parametrize(
    ("order", "expected"), [(ExampleOrder.nearest_first, (1, 2, 3)), (ExampleOrder.nearest_last, (3, 2, 1))]
)
def test_the_order_of_the_nearest_and_of_equals_the_earlier(order: ExampleOrder, expected: tuple[int, ...]) -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.6, 0.8], "d": [0.0, 1.0], "q": [0.8, 0.6]}
    train = numbered("dcba")

    (shown,) = choose(
        ExampleRules(ExampleChoice.nearest, 3, order=order), train, numbered("q"), 0, retriever(vectors, train)
    )

    assert shown.rows == expected
    by_row = {1: 0.96, 2: 0.96, 3: 0.8}
    assert shown.similarities == pytest.approx([by_row[row] for row in expected])


EQUAL = numbered(["Sort  XS", "open", "sort xs", "close", "\ufb01nd it", "", "join"])
LEAKING = numbered(["sort xs ", "find IT", "other", ""], "test")
EQUAL_ROWS = [{0, 2}, {4}, set(), set()]


def test_equal_instructions_are_those_of_the_leakage_report() -> None:
    assert [set(of_prompt) for of_prompt in equal_instructions(EQUAL, LEAKING)] == EQUAL_ROWS
    assert leakage(LEAKING, EQUAL).same_instruction.count == sum(map(bool, EQUAL_ROWS))


@pytest.mark.parametrize("draw", list(ExampleDraw))
@pytest.mark.parametrize("seed", range(5))
def test_random_examples_leave_out_equal_instructions_and_nothing_else(draw: ExampleDraw, seed: int) -> None:
    allowed, kept = (
        rows(choose(ExampleRules(ExampleChoice.random, 3, draw, leakage=rule), EQUAL, LEAKING, seed))
        for rule in (ExampleLeakage.allow, ExampleLeakage.exclude)
    )

    for before, after, equal in zip(allowed, kept, EQUAL_ROWS, strict=True):
        assert len(set(after)) == 3
        assert not equal & set(after)
        assert all(old == new for old, new in zip(before, after, strict=True) if old not in equal)


def test_the_nearest_leave_out_equal_instructions_unless_they_are_allowed() -> None:
    angles = dict(zip([sample.instruction for sample in (*EQUAL, *LEAKING)], np.linspace(0, 1.5, 11), strict=False))
    vectors = {text: [float(np.cos(angle)), float(np.sin(angle))] for text, angle in angles.items()}
    similarities = (
        np.array([vectors[q.instruction] for q in LEAKING]) @ np.array([vectors[t.instruction] for t in EQUAL]).T
    )
    for rule in ExampleLeakage:
        rules = ExampleRules(ExampleChoice.nearest, 4, leakage=rule)
        shown = choose(rules, EQUAL, LEAKING, 0, retriever(vectors, EQUAL))
        for query, equal in enumerate(EQUAL_ROWS):
            brute_force = sorted(range(len(EQUAL)), key=lambda row: (-round(float(similarities[query, row]), 6), row))
            permitted = [row for row in brute_force if rule is ExampleLeakage.allow or row not in equal]
            assert list(shown[query].rows) == permitted[:4]
        record = leakage_record(rules, EQUAL, LEAKING, shown)
        shows_equal = rule is ExampleLeakage.allow
        assert (record["equal_instructions"], record["leakage"]) == (2, rule)
        assert (record["equal_shown"] > 0) == shows_equal  # type: ignore[operator]


@pytest.mark.parametrize("rule", list(ExampleLeakage))
@pytest.mark.parametrize("choice", [ExampleChoice.random, ExampleChoice.nearest])
def test_a_training_sample_is_no_example_of_itself(choice: ExampleChoice, rule: ExampleLeakage) -> None:
    vectors = {sample.instruction: [1.0, float(index)] for index, sample in enumerate(EQUAL)}
    rules = ExampleRules(choice, 5, leakage=rule)

    shown = choose(rules, EQUAL, EQUAL, 1, retriever(vectors, EQUAL), is_train=True)

    for index, of_prompt in enumerate(rows(shown)):
        assert index not in of_prompt
        # Row 0 and row 2 ask the same.
        assert len(of_prompt) == 5
        if rule is ExampleLeakage.exclude:
            assert not {0, 2} <= {index, *of_prompt} or index not in {0, 2}


def test_fewer_examples_remain_if_the_training_split_has_no_others() -> None:
    train = numbered(["a", "A", "b"])
    for choice in (ExampleChoice.random, ExampleChoice.nearest):
        vectors = {"a": [1.0, 0.0], "A": [1.0, 0.0], "b": [0.0, 1.0]}
        (shown,) = choose(ExampleRules(choice, 3), train, numbered("a", "test"), 0, retriever(vectors, train))
        assert shown.rows == (2,)


def test_examples_stand_before_the_prompt_as_solved_ones() -> None:
    template = Template(preamble="Write code.", prefix="P: ")

    prompt = template.prompt(TEST[0], TRAIN[:2])

    assert prompt.text == (
        "P: Write code.\n"
        "### Instruction:\nsort the list xs\n### Response:\nanswer_0\n\n"
        "### Instruction:\nopen the file log\n### Response:\nanswer_1\n\n"
        "### Instruction:\nreverse a list\n### Response:\n"
    )
    assert prompt.text[prompt.instruction_start : prompt.instruction_end] == "reverse a list"
    assert prompt.text[prompt.start :].startswith("### Instruction:\nreverse")


def test_fenced_examples_are_fenced() -> None:
    text = Template(PromptForm.fenced).prompt(TEST[0], TRAIN[:1]).text

    assert "```python\nanswer_0\n```\n\n### Instruction:\nreverse a list" in text


def test_examples_and_preamble_come_on_top_of_the_prompts_limit() -> None:
    template = Template(preamble="Generate Python code given a natural language instruction.")
    alone, shown = (
        encode(TEST[0], template, TOKENIZER, Limits(24, 8), examples=examples)
        for examples in ((), (TRAIN[0], TRAIN[1]))
    )
    plain = encode(TEST[0], Template(), TOKENIZER, Limits(24, 8))

    assert plain.prompt_cut == alone.prompt_cut == shown.prompt_cut == 0
    assert len(shown.prompt) > 48
    assert shown.prompt[-len(plain.prompt) :] == plain.prompt
    long = Sample("x", "reverse " * 40, "r")
    cut = encode(long, template, TOKENIZER, Limits(24, 8), examples=(TRAIN[0],))
    assert cut.prompt_cut == encode(long, Template(), TOKENIZER, Limits(24, 8)).prompt_cut > 0


def test_examples_that_do_not_fit_are_left_out_from_the_front_and_counted() -> None:
    whole = encode(TEST[0], Template(), TOKENIZER, Limits(64, 8), examples=TRAIN)
    room = len(whole.prompt) - 1

    cut = encode(TEST[0], Template(), TOKENIZER, Limits(64, 8, prompt_positions=room), examples=TRAIN)

    assert (whole.examples_cut, cut.examples_cut) == (0, 1)
    text = str(TOKENIZER.decode(list(cut.prompt)))
    assert "answer_0" not in text
    assert "answer_1" in text
    none = encode(TEST[0], Template(), TOKENIZER, Limits(64, 8, prompt_positions=1), examples=TRAIN)
    assert none.examples_cut == len(TRAIN)
    assert TOKENIZER.decode(list(none.prompt)) == "### Instruction:\n\n### Response:\n"
    assert none.prompt_cut > 0


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_instruction_is_cut_to_the_positions_that_its_preamble_leaves(taken: int) -> None:
    template = Template(preamble="Write code.")
    whole = encode(TEST[0], template, TOKENIZER, Limits(None, 8))

    cut = encode(TEST[0], template, TOKENIZER, Limits(None, 8, prompt_positions=len(whole.prompt) - taken))

    assert (len(cut.prompt), cut.prompt_cut) == (len(whole.prompt) - taken, taken)
    text = str(TOKENIZER.decode(list(cut.prompt)))
    assert text.startswith("Write code.\n### Instruction:\n")
    assert text.endswith("\n### Response:\n")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=zero-shot", "method.num_examples=8"], r"num_examples must be .*, got 8 and method.examples=none"),
        (["method=icl", "method.num_examples=0"], r"num_examples must be .*, got 0 and method.examples=random"),
        (["method=icl", "method.num_examples=-1"], r"num_examples must be .*, got -1"),
        (["method=lora", "method.num_examples=2"], r"num_examples must be .*, got 2 and method.examples=none"),
        (["method=rag", "method.examples=random"], r"method\.examples must be nearest for method=rag, got random"),
        (["method=icl", "method.examples=nearest", "method.retriever=tfidf"], r"method\.examples must be random .*"),
        (["method=zero-shot", "method.examples=random", "method.num_examples=2"], r"method\.examples must be none .*"),
        (["method=rag", "method.retriever=null"], r"method\.retriever must be .*, got null"),
        (["method=rag", "method.draw=sample"], r"method\.draw must be cell .*, got sample"),
        (["method=lora", "method.draw=sample"], r"method\.draw must be cell .*, got sample"),
        (["method=icl", "method.order=nearest_last"], r"method\.order must be nearest_first .*, got nearest_last"),
        (
            ["method=lora", "method.train_with_examples=true"],
            r"train_with_examples must be false .*, got true for lora",
        ),
        (["method=icl", "method.train_with_examples=true"], r"train_with_examples must be false .*, got true for icl"),
    ],
)
def test_examples_that_make_no_sense_are_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_cell(["model=tiny-llama", *overrides])


@pytest.mark.parametrize(("method", "hint"), [("icl", "method=rag"), ("lora", "method.examples=random")])
def test_the_hint_fits_the_method(method: str, hint: str) -> None:
    wrong = "method.num_examples=2" if method == "lora" else "method.num_examples=0"

    with pytest.raises(UserError, match="num_examples") as refused:
        compose_cell(["model=tiny-llama", f"method={method}", wrong])

    assert hint in str(refused.value.hint)


def test_every_tiny_model_retrieves_without_a_download() -> None:
    for folder in FOLDER.glob("*/config.json"):
        method = compose_cell([f"model={folder.parent.name}", "method=rag"]).method
        assert (method.retriever, method.preamble) == ("tfidf", "")
    assert compose_cell(["model=codellama-7b", "method=rag"]).method.retriever == "thenlper/gte-small"
