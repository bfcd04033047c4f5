"""Examples before a prompt: which ones, in what order, and what happens where they do not fit."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import BertConfig, BertModel

from peft_study.config.compose import compose_cell
from peft_study.config.schema import ExampleChoice, PromptForm
from peft_study.data import examples
from peft_study.data.examples import choose, nearest
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.data.tokens import Limits, encode
from peft_study.errors import UserError
from peft_study.models.retrieval import load_retriever
from peft_study.models.tiny import FOLDER, load_tokenizer

TOKENIZER = load_tokenizer()
CPU = torch.device("cpu")
TRAIN = [
    Sample(f"train-{index}", text, f"answer_{index}")
    for index, text in enumerate(
        ["sort the list xs", "open the file log", "reverse the list ys", "join words with a comma", "close a socket"]
    )
]
TEST = [Sample("test-0", "reverse a list", "r"), Sample("test-1", "open another file", "o")]


def ids(chosen: Sequence[Sequence[Sample]]) -> list[list[str]]:
    return [[sample.id for sample in row] for row in chosen]


def test_random_examples_are_drawn_once_for_all_prompts_by_the_seed() -> None:
    one, again, other = (choose(ExampleChoice.random, 3, TRAIN, TEST, seed, None) for seed in (1, 1, 2))

    assert one == again
    assert one[0] == one[1]
    assert len(set(one[0])) == 3
    assert set(one[0]) <= set(TRAIN)
    assert one != other


@pytest.mark.parametrize(("choice", "number"), [(ExampleChoice.none, 0), (ExampleChoice.random, 0)])
def test_no_examples(choice: ExampleChoice, number: int) -> None:
    assert choose(choice, number, TRAIN, TEST, 0, None) == [(), ()]


def test_more_examples_than_there_are_is_all_of_them() -> None:
    assert len(choose(ExampleChoice.random, 99, TRAIN, TEST, 0, None)[0]) == len(TRAIN)


def test_the_nearest_come_first_and_of_equals_the_earlier() -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.6, 0.8], "d": [0.0, 1.0], "q": [0.8, 0.6]}
    train = [Sample(name, name, "") for name in "dcba"]

    chosen = choose(
        ExampleChoice.nearest,
        3,
        train,
        [Sample("q", "q", "")],
        0,
        lambda texts: np.array([vectors[text] for text in texts], dtype=np.float32),
    )

    assert ids(chosen) == [["c", "b", "a"]]


def test_words_alone_find_what_is_alike_without_a_download() -> None:
    embed = load_retriever("tfidf", [sample.instruction for sample in TRAIN], CPU)

    vectors = embed([sample.instruction for sample in TRAIN])
    assert isinstance(vectors, csr_matrix)
    assert np.linalg.norm(vectors.toarray(), axis=1) == pytest.approx(np.ones(len(TRAIN)))
    assert ids(choose(ExampleChoice.nearest, 1, TRAIN, TEST, 0, embed)) == [["train-2"], ["train-1"]]


def random_texts(number: int, words: int, seed: int) -> list[str]:
    """Texts of 1 to 12 words, of which a fifth are repeated and a fifth hold the words of another in reverse."""
    random = Random(seed)
    texts: list[str] = []
    for _ in range(number):
        earlier = random.choice(texts) if texts else "w0"
        fresh = " ".join(f"w{random.randrange(words)}" for _ in range(random.randint(1, 12)))
        texts.append(random.choice([fresh, fresh, fresh, earlier, " ".join(reversed(earlier.split()))]))
    return texts


@pytest.mark.parametrize("words", [20, 1_000, 20_000])
def test_sparse_retrieval_in_parts_is_the_dense_one(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked = random_texts(3_000, words, seed=1), [*random_texts(60, words, seed=2), "none of these"]
    # The plain computation: dense matrices in 32 bits, one product, a stable order.
    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True).fit(texts)
    train_vectors, test_vectors = (vectorizer.transform(part).toarray().astype(np.float32) for part in (texts, asked))
    similarities = test_vectors @ train_vectors.T
    right = np.argsort(-similarities, axis=1, kind="stable")[:, :16]
    train, test = ([Sample(text, text, "") for text in part] for part in (texts, asked))
    monkeypatch.setattr(examples, "SIMILARITIES_AT_ONCE", 20_000)

    chosen = nearest(load_retriever("tfidf", texts, CPU), 16, train, test)

    assert len(chosen) == len(asked)
    assert chosen[-1] == list(range(16))
    assert_same_order(chosen, right.tolist(), similarities)


def assert_same_order(
    chosen: Sequence[Sequence[int]], right: Sequence[Sequence[int]], similarities: npt.NDArray[np.float32]
) -> None:
    """Orders agree, but for neighbours that the dense product's own rounding separates."""
    for row, (first, second) in enumerate(zip(chosen, right, strict=True)):
        if first != second:
            assert similarities[row, first] == pytest.approx(similarities[row, second], rel=3e-7)


def test_samples_with_one_instruction_tie_whatever_the_retriever_rounds() -> None:
    calls = iter(range(10**6))
    train = [Sample(str(index), "abc"[index % 3], "") for index in range(30)]

    def noisy(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors that differ a little at each text, as those of other batches do."""
        angles = [{"a": 0.1, "b": 0.5, "c": 1.0, "q": 0.0}[text] + 1e-4 * (next(calls) % 7) for text in texts]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=np.float32)

    chosen = nearest(noisy, 15, train, [Sample("q", "q", "")])

    assert chosen == [[*range(0, 30, 3), *range(1, 15, 3)]]


@pytest.mark.parametrize("at_once", [1, 250, 10**9])
def test_dense_vectors_in_parts_give_one_order(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    train, test = ([Sample(f"{part}{index}", f"{part}{index}", "") for index in range(100)] for part in "ab")
    vectors = {sample.id: generator.normal(size=8).astype(np.float32) for sample in (*train, *test)}
    similarities = np.array([[vectors[a.id] @ vectors[b.id] for b in train] for a in test])
    monkeypatch.setattr(examples, "SIMILARITIES_AT_ONCE", at_once)

    chosen = nearest(lambda texts: np.array([vectors[text] for text in texts]), 100, train, test)

    assert_same_order(chosen, np.argsort(-similarities, axis=1, kind="stable").tolist(), similarities)


@pytest.mark.slow
def test_many_training_rows_take_little_memory_and_time() -> None:
    code = (
        "import resource, time; from benchmarks.retrieval import measure, sparse;"
        "figures, _ = measure(sparse, 30_000); assert figures['words'] > 50_000, figures;"
        "assert figures['peak_growth_mb'] < 1_000 and figures['seconds'] < 10, figures"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_a_sentence_transformers_model_gives_unit_vectors(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(TOKENIZER), **sizes)).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)

    embed = load_retriever(str(tmp_path), [], CPU)

    vectors = embed(["sort a list", "open a file", "sort a list"])
    assert vectors.shape == (3, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[2])


def test_a_retriever_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_retriever(str(tmp_path / "nothing"), [], CPU)
    assert caught.value.where == "method.retriever"


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
        (
            ["method=lora", "method.num_examples=2", "method.examples=random"],
            r"num_examples must be 0 for lora, .*got 2",
        ),
        (["method=rag", "method.retriever=null"], r"method\.retriever must be .*, got null"),
    ],
)
def test_examples_that_make_no_sense_are_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_cell(["model=tiny-llama", *overrides])


def test_every_tiny_model_retrieves_without_a_download() -> None:
    for folder in FOLDER.glob("*/config.json"):
        method = compose_cell([f"model={folder.parent.name}", "method=rag"]).method
        assert (method.retriever, method.preamble) == ("tfidf", "")
    assert compose_cell(["model=codellama-7b", "method=rag"]).method.retriever == "thenlper/gte-small"
