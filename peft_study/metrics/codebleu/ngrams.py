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
        in_reference: n-grams of the reference.
        weighted_matched: as `matched`, with weighted unigrams.
        weighted_in_reference: as `in_reference`, with weighted unigrams.
    """

    matched: tuple[float, ...]
    in_candidate: tuple[float, ...]
    in_reference: tuple[float, ...]
    weighted_matched: tuple[float, ...]
    weighted_in_reference: tuple[float, ...]


def match(candidate: Sequence[str], reference: Sequence[str], keywords: Collection[str]) -> Matches:
    """Count the n-grams of two token sequences."""
    matched = []
    weighted_matched = weighted_reference = 0.0
    for order in range(1, ORDERS + 1):
        wanted = _counts(reference, order)
        common = _counts(candidate, order) & wanted
        matched.append(float(common.total()))
        if order == 1:
            weighted_matched, weighted_reference = _weigh(common, keywords), _weigh(wanted, keywords)
    in_reference = tuple(float(max(0, len(reference) - order)) for order in range(ORDERS))
    return Matches(
        matched=tuple(matched),
        in_candidate=tuple(float(max(0, len(candidate) - order)) for order in range(ORDERS)),
        in_reference=in_reference,
        weighted_matched=(weighted_matched, *matched[1:]),
        weighted_in_reference=(weighted_reference, *in_reference[1:]),
    )


def _counts(tokens: Sequence[str], order: int) -> Counter[Any]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _weigh(unigrams: Counter[Any], keywords: Collection[str]) -> float:
    keyword = sum(count for (token,), count in unigrams.items() if token in keywords)
    return KEYWORD_WEIGHT * keyword + OTHER_WEIGHT * (unigrams.total() - keyword)
