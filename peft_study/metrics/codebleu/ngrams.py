"""Counts of matching n-grams of tokens, which can be summed over samples."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

ORDERS = 4
KEYWORD_WEIGHT, OTHER_WEIGHT = 1.0, 0.2
"""Weights of a unigram in the keyword-weighted match, as in CodeXGLUE's evaluator. Only their ratio, 5, matters."""


@dataclass(frozen=True)
class Matches:
    """The matching n-grams of a candidate and its reference, by order from 1 to 4.

    Attributes:
        matched: n-grams in both, each counted as often as in the text that has fewer.
        in_candidate: n-grams of the candidate.
        weighted_matched: as `matched`, with weighted unigrams.
        weighted_in_reference: n-grams of the reference, with weighted unigrams.
    """

    matched: tuple[float, ...]
    in_candidate: tuple[float, ...]
    weighted_matched: tuple[float, ...]
    weighted_in_reference: tuple[float, ...]


def match(candidate: Sequence[str], reference: Sequence[str], keywords: Collection[str]) -> Matches:
    """Count the n-grams of two token sequences."""
    orders = range(1, ORDERS + 1)
    in_candidate = [_counts(candidate, order) for order in orders]
    in_reference = [_counts(reference, order) for order in orders]
    in_both = [first & second for first, second in zip(in_candidate, in_reference, strict=True)]
    return Matches(
        matched=_totals(in_both),
        in_candidate=_totals(in_candidate),
        weighted_matched=(_weigh(in_both[0], keywords), *_totals(in_both[1:])),
        weighted_in_reference=(_weigh(in_reference[0], keywords), *_totals(in_reference[1:])),
    )


def _counts(tokens: Sequence[str], order: int) -> Counter[Any]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _totals(counts: Sequence[Counter[Any]]) -> tuple[float, ...]:
    return tuple(float(count.total()) for count in counts)


def _weigh(unigrams: Counter[Any], keywords: Collection[str]) -> float:
    keyword = sum(count for (token,), count in unigrams.items() if token in keywords)
    return KEYWORD_WEIGHT * keyword + OTHER_WEIGHT * (unigrams.total() - keyword)
