"""The training samples before each prompt: the same random ones for all prompts, or the nearest ones for each."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from peft_study.config.schema import ExampleChoice
from peft_study.data.samples import Sample

Vectors: TypeAlias = npt.NDArray[np.float32] | csr_matrix
Embed: TypeAlias = Callable[[Sequence[str]], Vectors]
"""Turns texts into vectors of length 1, of shape texts x dimensions."""
SIMILARITIES_AT_ONCE = 4_000_000
"""Of test samples with training samples: 16 MB in float32, and several times that while they are sorted."""


def choose(
    choice: ExampleChoice, number: int, train: Sequence[Sample], test: Sequence[Sample], seed: int, embed: Embed | None
) -> list[tuple[Sample, ...]]:
    """Choose the examples of each test sample.

    Args:
        choice: none, random (sampled once for all prompts, as in the study's replication package) or nearest (by
            the cosine similarity of the instructions, the nearest first).
        number: examples for each prompt; at most the size of the training split.
        train: the samples to choose from.
        test: the samples to prompt with.
        seed: of the random choice.
        embed: makes the vectors for `nearest`.

    Returns:
        for each test sample its examples.
    """
    if choice is ExampleChoice.none or number == 0:
        return [()] * len(test)
    number = min(number, len(train))
    # The study's package draws once, with seed 42, and the paper has several seeds.
    if choice is ExampleChoice.random:
        sampled = tuple(Random(seed).sample(list(train), number))  # noqa: S311 - a reproducible choice, not a secret
        return [sampled] * len(test)
    assert embed is not None, "the nearest examples need vectors"
    return [tuple(train[index] for index in row) for row in nearest(embed, number, train, test)]


def nearest(embed: Embed, number: int, train: Sequence[Sample], test: Sequence[Sample]) -> list[list[int]]:
    """Find the training samples whose instructions are most similar to each test sample's.

    Args:
        embed: makes the vectors.
        number: results for each test sample; at most the size of the training split.
        train: the samples to search.
        test: the samples to search for.

    Returns:
        for each test sample the indices of training samples by descending similarity, and by index for equal ones.
    """
    # Samples with one instruction share one vector, because a batch or a matrix product may round equal ones apart.
    instructions = list(dict.fromkeys(sample.instruction for sample in train))
    position = {instruction: index for index, instruction in enumerate(instructions)}
    columns = np.array([position[sample.instruction] for sample in train])
    keys, queries = embed(instructions), embed([sample.instruction for sample in test])
    return [
        [int(index) for index in _first(similarities[columns], number)]
        for similarities in _similarities(queries, keys, max(1, SIMILARITIES_AT_ONCE // len(train)))
    ]


def _similarities(queries: Vectors, keys: Vectors, rows_at_once: int) -> Iterator[npt.NDArray[np.float32]]:
    """The cosine similarity of each query with all keys, in parts so that memory does not grow with their product."""
    transposed = keys.T.tocsr() if isinstance(keys, csr_matrix) else keys.T
    for start in range(0, queries.shape[0], rows_at_once):
        product = queries[start : start + rows_at_once] @ transposed
        yield from (product.toarray() if isinstance(product, csr_matrix) else product).astype(np.float32, copy=False)


def _first(similarities: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.intp]:
    """The indices of the largest values in descending order, and by index for equal values."""
    distances = -similarities
    candidates = np.flatnonzero(distances <= np.partition(distances, number - 1)[number - 1])
    return candidates[np.argsort(distances[candidates], kind="stable")[:number]]
