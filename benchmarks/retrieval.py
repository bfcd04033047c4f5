"""Find the 8 nearest of many training instructions by TF-IDF: several sparse products against a dense product.

    OMP_NUM_THREADS=1 python -m benchmarks.retrieval

Each arm runs in a separate process, so that the growth of its peak memory is measured separately. The dense arm
takes only the first rows, because all rows would take 19 GB. Writes benchmarks/results/retrieval.json.
"""

import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from benchmarks import record
from peft_study.data.examples import nearest
from peft_study.data.samples import Sample
from peft_study.models.retrieval import load_retriever

NEAREST = 8
QUERIES = 500
ROWS = {"few": 5_000, "many": 30_000}
COMMON_WORDS, RARE_WORDS = 1_000, 58_500
DUPLICATE_SHARE = 0.1

Indices = list[list[int]]


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


def sparse(train: Sequence[Sample], test: Sequence[Sample]) -> Indices:
    """The arm of this project: what a cell does."""
    embed = load_retriever("tfidf", [sample.instruction for sample in train], torch.device("cpu"))
    return nearest(embed, NEAREST, train, test)


def dense(train: Sequence[Sample], test: Sequence[Sample]) -> Indices:
    """The other arm: the same vectors as dense matrices, and a single product."""
    embed = load_retriever("tfidf", [sample.instruction for sample in train], torch.device("cpu"))
    train_vectors, test_vectors = (
        np.asarray(csr_matrix(embed([sample.instruction for sample in samples])).toarray(), dtype=np.float32)
        for samples in (train, test)
    )
    order = np.argsort(-(test_vectors @ train_vectors.T), axis=1, kind="stable")[:, :NEAREST]
    return [[int(index) for index in row] for row in order]


def measure(arm: Callable[[Sequence[Sample], Sequence[Sample]], Indices], rows: int) -> tuple[dict[str, Any], Indices]:
    texts = instructions(rows)
    train = [Sample(str(index), text, "") for index, text in enumerate(texts)]
    test = [Sample(str(index), text, "") for index, text in enumerate(instructions(rows + QUERIES)[rows:])]
    sparse(train[:100], test[:1])  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    indices = arm(train, test)
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    words = len({word for text in texts for word in text.split()})
    figures = {"rows": rows, "words": words, "seconds": round(seconds, 2), "peak_growth_mb": round(grown * 1024 / 1e6)}
    return figures, indices


def main() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        arms = {
            f"{arm.__name__}_{size}": processes.submit(measure, arm, ROWS[size]).result()
            for arm, size in ((dense, "few"), (sparse, "few"), (sparse, "many"))
        }
    figures = {name: result[0] for name, result in arms.items()}
    few_dense, few_sparse = figures["dense_few"], figures["sparse_few"]
    ratios = {name: round(few_dense[name] / few_sparse[name], 1) for name in ("seconds", "peak_growth_mb")}
    same = sum(first == second for first, second in zip(arms["dense_few"][1], arms["sparse_few"][1], strict=True))
    record.write(
        "retrieval",
        {
            "queries": QUERIES,
            "nearest": NEAREST,
            "arms": figures,
            "dense_by_sparse": ratios,
            "queries_in_the_same_order": same,
        },
        ("numpy", "scipy", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
