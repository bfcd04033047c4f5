"""The cache of embeddings: by content and model, safe for several writers, and never trusted when damaged."""

import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import torch

from peft_study.models.retrieval import embeddings
from peft_study.models.retrieval.embeddings import EmbeddingFile, cached_embeddings
from peft_study.models.retrieval.retrievers import load_retriever
from peft_study.results.cache import cache_folder
from tests.unit.test_retrieval import save_model

Embeddings = npt.NDArray[np.float32]


class Encoder:
    """Embeds a text as its length and its first character, and counts the texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Embeddings:
        self.texts += texts
        return plain(texts)


def plain(texts: Sequence[str]) -> Embeddings:
    return np.array([[len(text), ord(text[:1] or " ")] for text in texts], dtype=np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache_folder("embeddings")
    assert path is not None
    return path


def read(texts: Sequence[str], model: str, encode: Encoder) -> Embeddings:
    return np.asarray(cached_embeddings(texts, model, encode)[:])


TEXTS = ["sort", "open a file", "", "ﬁn", "half \ud83d a pair", "sort"]


def test_the_second_call_computes_nothing(folder: Path) -> None:
    encode = Encoder()
    first, second = (read(TEXTS, "m", encode) for _ in range(2))

    assert encode.texts == TEXTS
    assert np.array_equal(first, plain(TEXTS))
    assert np.array_equal(second, first)
    (file,) = folder.iterdir()
    # numpy reads the file as well, without pickle.
    assert np.array_equal(np.load(file, allow_pickle=False), first)


@pytest.mark.parametrize(
    ("texts", "model"),
    [
        ([*TEXTS[:-1], "sort "], "m"),
        (TEXTS[::-1], "m"),
        (TEXTS[:-1], "m"),
        (["sortopen a file", *TEXTS[2:]], "m"),
        (TEXTS, "other"),
    ],
    ids=["a changed text", "another order", "fewer texts", "joined texts", "another model"],
)
def test_other_texts_and_models_are_a_miss(texts: list[str], model: str, folder: Path) -> None:
    read(TEXTS, "m", Encoder())
    encode = Encoder()

    assert np.array_equal(read(texts, model, encode), plain(texts))
    assert encode.texts == texts
    assert len(list(folder.iterdir())) == 2


def damage(file: Path, kind: str) -> None:
    data = bytearray(file.read_bytes())
    if kind == "a changed bit":
        data[-40] ^= 1
    elif kind == "a changed digest":
        data[-1] ^= 1
    elif kind == "a cut end":
        del data[-5:]
    elif kind == "more at the end":
        data += b"x"
    elif kind == "no content":
        data.clear()
    elif kind == "a pickle":
        data = bytearray(pickle.dumps([1.0]))
    elif kind == "an array of objects":
        with file.open("wb") as out:
            np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        return
    file.write_bytes(data)


@pytest.mark.parametrize(
    "kind",
    [
        *("a changed bit", "a changed digest", "a cut end", "more at the end", "no content", "a pickle"),
        "an array of objects",
    ],
)
def test_a_damaged_file_is_computed_again(kind: str, folder: Path) -> None:
    read(TEXTS, "m", Encoder())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    damage(file, kind)
    encode = Encoder()

    assert np.array_equal(read(TEXTS, "m", encode), plain(TEXTS))

    assert encode.texts == TEXTS
    assert file.read_bytes() == whole
    assert np.array_equal(EmbeddingFile(file)[1:3], plain(TEXTS[1:3]))


def test_blocks_of_a_file_are_those_of_the_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "TEXTS_AT_ONCE", 7)
    texts = [f"{'x' * (index % 13)}{index}" for index in range(100)]
    stored = cached_embeddings(texts, "m", Encoder())

    assert isinstance(stored, EmbeddingFile)
    assert stored.shape == (100, 2)
    random = Random(0)
    for start, stop in [
        (0, 0),
        (0, 1000),
        (99, 100),
        *((random.randrange(100), random.randrange(120)) for _ in range(20)),
    ]:
        assert np.array_equal(stored[start:stop], plain(texts)[start:stop])


def test_a_cache_that_cannot_be_written_costs_only_time(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")
    for _ in range(2):
        encode = Encoder()
        assert np.array_equal(read(TEXTS, "m", encode), plain(TEXTS))
        assert encode.texts == TEXTS


def _write_and_read(number: int) -> float:
    texts = [f"text {index}" for index in range(2_000)]
    for _ in range(5):
        stored = cached_embeddings(texts, "m", plain)
        assert np.array_equal(stored[:], plain(texts))
        for file in cache_folder("embeddings").glob("*.npy") if number == 0 else ():  # type: ignore[union-attr]
            file.unlink(missing_ok=True)
    return 1.0


def test_several_processes_may_write_the_same_embeddings(folder: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as processes:
        assert sum(processes.map(_write_and_read, range(8))) == 8

    assert all(not file.name.startswith(".") for file in folder.iterdir())


def test_a_changed_model_is_a_miss_and_an_equal_copy_a_hit(tmp_path: Path, folder: Path) -> None:
    corpus, queries = ["sort a list", "open a file"], ["sort"]
    similarities = []
    for name, seed in (("first", 0), ("copy", 0), ("other", 1)):
        retrieve = load_retriever(str(save_model(tmp_path / name, seed)), corpus, torch.device("cpu"))
        similarities.append([block.similarities.tolist() for block in retrieve(queries)])
        # A file for the corpus, and one for the queries.
        assert len(list(folder.iterdir())) == (2 if name != "other" else 4)
    assert similarities[0] == similarities[1] != similarities[2]


def test_a_retriever_below_the_home_folder_is_found(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_model(tmp_path / "model", 0)
    corpus, queries = ["sort a list", "open a file"], ["sort"]

    below_home, absolute = (
        load_retriever(source, corpus, torch.device("cpu")) for source in ("~/model", str(tmp_path / "model"))
    )

    assert [block.similarities.tolist() for block in below_home(queries)] == [
        block.similarities.tolist() for block in absolute(queries)
    ]
