"""Find the 8 nearest of many training instructions: the seconds, and the memory in addition to the data.

    OMP_NUM_THREADS=1 python -m benchmarks.retrieval

- `tfidf`: the products of sparse vectors, block by block, against `tfidf_dense`: dense matrices and a single product.
  The dense arm takes only the first rows, because all rows would take 19 GB.
- `bm25`: the library bm25s.
- `dense`: the search among embeddings with 384 dimensions in a file of the cache, against `dense_in_memory`: all
  embeddings in memory and a single product. The embeddings are random, so that no model counts.

Each arm runs in a separate process, so that the growth of its peak memory is measured separately. Writes
benchmarks/results/retrieval.json.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks import record
from peft_study.data.nearest import compare, nearest
from peft_study.models.retrieval.embeddings import cached_embeddings
from peft_study.models.retrieval.retrievers import TOKENS, load_retriever

NEAREST = 8
QUERIES = 300
DIMENSIONS = 384
RUNS = (
    *(("tfidf_dense", 5_000), ("tfidf", 5_000), ("tfidf", 30_000), ("tfidf", 100_000)),
    *(("bm25", 5_000), ("bm25", 30_000), ("bm25", 100_000)),
    *(("dense_in_memory", 2_000), ("dense", 2_000), ("dense_in_memory", 100_000), ("dense", 100_000)),
    ("dense", 1_000_000),
)
"""Arms and training rows."""
COMMON_WORDS, RARE_WORDS = 1_000, 58_500
DUPLICATE_SHARE = 0.1

Indices = list[list[int]]
Embeddings = npt.NDArray[np.float32]


def instructions(rows: int) -> list[str]:
    """Texts of 5 common and up to 8 rare words, some of them twice; the first rows do not depend on the number."""
    generator = np.random.default_rng(0)
    texts: list[str] = []
    for _ in range(rows):
        if texts and generator.random() < DUPLICATE_SHARE:
            texts.append(texts[int(generator.integers(len(texts)))])
            continue
        common = np.minimum(generator.zipf(1.3, 5), COMMON_WORDS)
        rare = generator.integers(RARE_WORDS, size=int(generator.integers(1, 9)))
        texts.append(" ".join([*(f"common{word}" for word in common), *(f"rare{word}" for word in rare)]))
    return texts


def by_words(name: str, corpus: Sequence[str], queries: Sequence[str]) -> Indices:
    """An arm of this project: what a cell does."""
    blocks = load_retriever(name, corpus, torch.device("cpu"))(queries)
    return [list(neighbours.rows) for neighbours in nearest(blocks, len(queries), NEAREST)]


def tfidf_dense(corpus: Sequence[str], queries: Sequence[str]) -> Indices:
    """The other arm: the same vectors as dense matrices, and a single product."""
    vectorizer = TfidfVectorizer(token_pattern=TOKENS, sublinear_tf=True).fit(corpus)
    train, asked = (
        np.asarray(csr_matrix(vectorizer.transform(part)).toarray(), dtype=np.float32) for part in (corpus, queries)
    )
    return _in_order(asked @ train.T)


def random_embeddings(texts: Sequence[str]) -> Embeddings:
    """Embeddings that stand for those of a model: a block by the seed of its first text."""
    vectors = np.random.default_rng(int(texts[0])).standard_normal((len(texts), DIMENSIONS), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def dense(corpus: Sequence[str], queries: Sequence[str]) -> Indices:
    """The arm of this project: embeddings are written to a file of the cache and read block by block."""
    keys = cached_embeddings(corpus, "random", random_embeddings)
    asked = cached_embeddings(queries, "random", random_embeddings)[:]
    neighbours = nearest(compare(asked, keys, np.arange(len(corpus))), len(queries), NEAREST)
    return [list(of_query.rows) for of_query in neighbours]


def dense_in_memory(corpus: Sequence[str], queries: Sequence[str]) -> Indices:
    """The other arm: all embeddings in memory, and a single product."""
    keys, asked = (np.asarray(cached_embeddings(part, "random", random_embeddings)[:]) for part in (corpus, queries))
    return _in_order(asked @ keys.T)


def _in_order(similarities: Embeddings) -> Indices:
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :NEAREST]
    return [[int(index) for index in row] for row in order]


ARMS: dict[str, Callable[[Sequence[str], Sequence[str]], Indices]] = {
    "tfidf_dense": tfidf_dense,
    "tfidf": lambda corpus, queries: by_words("tfidf", corpus, queries),
    "bm25": lambda corpus, queries: by_words("bm25", corpus, queries),
    "dense_in_memory": dense_in_memory,
    "dense": dense,
}


def measure(name: str, rows: int) -> tuple[dict[str, Any], Indices]:
    """Run an arm. Its memory is the growth of the process's peak, without the texts.

    Args:
        name: of an arm.
        rows: training rows.
    """
    of_vectors = name.startswith("dense")
    texts = list(map(str, range(rows + QUERIES))) if of_vectors else instructions(rows + QUERIES)
    corpus, queries = texts[:rows], texts[rows:]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        ARMS[name](corpus[:100], queries[:1])  # imports
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        indices = ARMS[name](corpus, queries)
        seconds = time.perf_counter() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = (
        {"vector_bytes": rows * DIMENSIONS * np.dtype(np.float32).itemsize}
        if of_vectors
        else {"words": len({word for text in corpus for word in text.split()})}
    )
    figures = {"rows": rows, **size, "seconds": round(seconds, 2), "peak_growth_mb": round(grown * 1024 / 1e6)}
    return figures, indices


def main() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        results = {(name, rows): processes.submit(measure, name, rows).result() for name, rows in RUNS}
    comparisons = {}
    for arm, other, rows in (
        ("tfidf", "tfidf_dense", 5_000),
        ("dense", "dense_in_memory", 2_000),
        ("dense", "dense_in_memory", 100_000),
    ):
        (figures, indices), (other_figures, other_indices) = results[arm, rows], results[other, rows]
        comparisons[f"{other}_by_{arm}_{rows}"] = {
            "seconds": round(other_figures["seconds"] / max(figures["seconds"], 0.01), 1),
            "peak_growth_mb": round(other_figures["peak_growth_mb"] / max(figures["peak_growth_mb"], 1), 1),
            "queries_in_the_same_order": sum(a == b for a, b in zip(indices, other_indices, strict=True)),
        }
    record.write(
        "retrieval",
        {
            "queries": QUERIES,
            "nearest": NEAREST,
            "dimensions": DIMENSIONS,
            "arms": {f"{name}_{rows}": figures for (name, rows), (figures, _) in results.items()},
            "comparisons": comparisons,
        },
        ("numpy", "scipy", "scikit-learn", "bm25s"),
    )


if __name__ == "__main__":
    main()
