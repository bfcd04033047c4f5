"""Which training samples stand before each prompt: the same ones drawn at random, or the nearest ones."""

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
"""Turns texts into vectors of length 1; texts x dimensions."""
SIMILARITIES_AT_ONCE = 4_000_000
"""Of test samples with training samples: 16 MB in float32, and some times that while they are computed and ordered."""


def choose(
    choice: ExampleChoice, number: int, train: Sequence[Sample], test: Sequence[Sample], seed: int, embed: Embed | None
) -> list[tuple[Sample, ...]]:
    """Choose the examples of each test sample.

    Args:
        choice: none, random (drawn once for all, as in the study's replication package) or nearest (by the cosine of
            the instructions' vectors, the nearest first; of equally near ones the earlier).
        number: how many; at most the training split.
        train: what they are taken from.
        test: the samples to prompt with.
        seed: of the draw.
        embed: for `nearest`.
    """
    if choice is ExampleChoice.none or number == 0:
        return [()] * len(test)
    number = min(number, len(train))
    if choice is ExampleChoice.random:
        drawn = tuple(Random(seed).sample(list(train), number))  # noqa: S311 - a reproducible draw, no secret
        return [drawn] * len(test)
    assert embed is not None, "the nearest examples need vectors"
    return [tuple(train[index] for index in row) for row in nearest(embed, number, train, test)]


def nearest(embed: Embed, number: int, train: Sequence[Sample], test: Sequence[Sample]) -> list[list[int]]:
    """Find the training samples whose instructions are most similar to each test sample's.

    Args:
        embed: makes the vectors.
        number: how many; at most the training split.
        train: what is searched.
        test: what is searched for.

    Returns:
        for each test sample the indices of training samples, by descending similarity; of equally similar ones the
        earlier first.
    """
    # Samples with one instruction share one vector, because a batch or a matrix product may round equal ones apart.
    instructions = list(dict.fromkeys(sample.instruction for sample in train))
    position = {instruction: index for index, instruction in enumerate(instructions)}
    columns = np.array([position[sample.instruction] for sample in train])
    known, asked = embed(instructions), embed([sample.instruction for sample in test])
    return [
        [int(index) for index in _first(similarities[columns], number)]
        for similarities in _similarities(asked, known, max(1, SIMILARITIES_AT_ONCE // len(train)))
    ]


def _similarities(asked: Vectors, known: Vectors, rows_at_once: int) -> Iterator[npt.NDArray[np.float32]]:
    """The cosine of each asked vector with all known ones, in parts so that memory does not grow with their product."""
    transposed = known.T.tocsr() if isinstance(known, csr_matrix) else known.T
    for start in range(0, asked.shape[0], rows_at_once):
        product = asked[start : start + rows_at_once] @ transposed
        yield from (product.toarray() if isinstance(product, csr_matrix) else product).astype(np.float32, copy=False)


def _first(similarities: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.intp]:
    """The indices of the largest values in descending order, of equal ones the earlier first."""
    distances = -similarities
    candidates = np.flatnonzero(distances <= np.partition(distances, number - 1)[number - 1])
    return candidates[np.argsort(distances[candidates], kind="stable")[:number]]
