"""Exact search for the most similar training samples, in blocks whose memory does not grow with the data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Rows: TypeAlias = npt.NDArray[np.intp]
KEYS_AT_ONCE = 32_768
"""Keys of a block: 50 MB with 384 dimensions in float32."""
SIMILARITIES_AT_ONCE = 4_000_000
"""Similarities of a block: 16 MB in float32, and several times that while they are sorted."""


class Vectors(Protocol):
    """A matrix of one vector a text, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Texts and dimensions."""

    def __getitem__(self, part: slice, /) -> Any:
        """The vectors of some texts, in memory."""


@dataclass(frozen=True, slots=True)
class Block:
    """The similarities of some queries with some training samples.

    Attributes:
        first_query: index of the first query.
        rows: indices of the training samples, ascending.
        similarities: of shape queries x rows.
    """

    first_query: int
    rows: Rows
    similarities: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The most similar training samples of one query, in descending order.

    Attributes:
        rows: indices of the training samples; the lower index first for equal similarities.
        similarities: as the retriever measures them.
    """

    rows: tuple[int, ...]
    similarities: tuple[float, ...]


Retriever: TypeAlias = Callable[[Sequence[str]], Iterator[Block]]
"""Compares instructions with those of the training split. The blocks cover every query and every training sample."""


def nearest(
    blocks: Iterable[Block], queries: int, number: int, barred: Sequence[npt.ArrayLike] | None = None
) -> list[Neighbours]:
    """Find the most similar training samples of each query.

    Args:
        blocks: the similarities, as a `Retriever` yields them.
        queries: number of queries.
        number: results for each query.
        barred: for each query the indices of training samples that it must not get; None for none.

    Returns:
        for each query its neighbours; fewer than `number` if there are not as many.
    """
    empty = np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32)
    best = [empty for _ in range(queries)]
    for block in blocks:
        for offset, similarities in enumerate(block.similarities):
            query = block.first_query + offset
            without = None if barred is None else np.asarray(barred[query], dtype=np.intp)
            rows, values = _first(block.rows, _masked(similarities, block.rows, without), number)
            earlier_rows, earlier_values = best[query]
            if len(earlier_rows):
                rows, values = np.concatenate([earlier_rows, rows]), np.concatenate([earlier_values, values])
                order = np.lexsort((rows, -values))[:number]
                rows, values = rows[order], values[order]
            best[query] = rows, values
    return [
        Neighbours(tuple(int(row) for row in rows), tuple(float(value) for value in values)) for rows, values in best
    ]


def compare(queries: Vectors, keys: Vectors, columns: Rows) -> Iterator[Block]:
    """Multiply the vectors of queries with those of training samples, block by block.

    Args:
        queries: vectors of length 1.
        keys: vectors of length 1. Samples that share a text share a key.
        columns: for each training sample the index of its key.

    Yields:
        The cosine similarities.
    """
    # Samples with one instruction share one vector, because a batch or a matrix product may round equal ones apart.
    by_key = np.argsort(columns, kind="stable")
    ascending = columns[by_key]
    for first_key in range(0, keys.shape[0], KEYS_AT_ONCE):
        start, end = np.searchsorted(ascending, [first_key, first_key + KEYS_AT_ONCE])
        rows = np.sort(by_key[start:end])
        if not len(rows):
            continue
        part = keys[first_key : first_key + KEYS_AT_ONCE]
        transposed = part.T.tocsr() if isinstance(part, csr_matrix) else part.T
        queries_at_once = max(1, SIMILARITIES_AT_ONCE // len(rows))
        for first_query in range(0, queries.shape[0], queries_at_once):
            product = queries[first_query : first_query + queries_at_once] @ transposed
            dense = product.toarray() if isinstance(product, csr_matrix) else product
            yield Block(first_query, rows, dense.astype(np.float32, copy=False)[:, columns[rows] - first_key])


def _masked(similarities: npt.NDArray[np.float32], rows: Rows, without: Rows | None) -> npt.NDArray[np.float32]:
    """Give barred rows the lowest similarity."""
    if without is None or not len(without):
        return similarities
    places = np.searchsorted(rows, without)
    inside = places < len(rows)
    places = places[inside][rows[places[inside]] == without[inside]]
    if not len(places):
        return similarities
    masked = similarities.copy()
    masked[places] = -np.inf
    return masked


def _first(rows: Rows, similarities: npt.NDArray[np.float32], number: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    """The rows with the largest similarities in descending order, the lower row first for equal values."""
    distances = -similarities
    last = min(number, len(rows)) - 1
    candidates = np.flatnonzero(distances <= np.partition(distances, last)[last])
    chosen = candidates[np.argsort(distances[candidates], kind="stable")[:number]]
    chosen = chosen[similarities[chosen] > -np.inf]
    return rows[chosen], similarities[chosen]
