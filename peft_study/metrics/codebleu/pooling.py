"""CodeBLEU from counts that add up. One formula scores a corpus, a sample and a resampled corpus."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peft_study.metrics.codebleu.conventions import Convention
from peft_study.metrics.codebleu.flow import Edge
from peft_study.metrics.codebleu.ngrams import ORDERS, match
from peft_study.metrics.scores import Floats

COMPONENTS = ("ngram", "weighted_ngram", "syntax", "dataflow")
_BY_ORDER = ("matched", "in_candidate", "weighted_matched", "weighted_in_reference")
_SINGLE = (
    "candidate_tokens",
    "reference_tokens",
    "weighted_reference_tokens",
    "matched_subtrees",
    "reference_subtrees",
    "matched_edges",
    "reference_edges",
)
COLUMNS = tuple(f"{name}_{order}" for name in _BY_ORDER for order in range(1, ORDERS + 1)) + _SINGLE
"""The columns of a row of counts, in order."""
# Replaces a count of 0 matches of an order: method 1 of Chen and Cherry (2014), with NLTK's value.
_EPSILON = 0.1
_PAIR_LENGTH = 2  # the published evaluators measure the pair of tokens and weights, and not the tokens


@dataclass(frozen=True)
class Program:
    """What is compared of a program: its words, the shapes of its subtrees, and the edges of its data flow."""

    words: Sequence[str]
    subtrees: Counter[int]
    edges: Counter[Edge]


def count(candidate: Program, reference: Program, convention: Convention) -> list[float]:
    """Count the matches of one sample, in the order of COLUMNS."""
    # Counts of 0 leave the sample out of the corpus.
    if not reference.words and not convention.as_evaluators:
        return [0.0] * len(COLUMNS)
    if convention.as_evaluators:
        matched_subtrees = sum(number for shape, number in reference.subtrees.items() if shape in candidate.subtrees)
    else:
        matched_subtrees = (candidate.subtrees & reference.subtrees).total()
    ngrams = match(candidate.words, reference.words, convention.keywords)
    # NLTK's modified precision divides by at least 1, and CodeXGLUE's evaluator contains a copy of it.
    least = 1.0 if convention.as_evaluators else 0.0
    counts = [
        *ngrams.matched,
        *(max(least, number) for number in ngrams.in_candidate),
        *ngrams.weighted_matched,
        *(max(least, number) for number in ngrams.weighted_in_reference),
        len(candidate.words),
        len(reference.words),
        _PAIR_LENGTH if convention.as_evaluators else len(reference.words),
        matched_subtrees,
        reference.subtrees.total(),
        (candidate.edges & reference.edges).total(),
        reference.edges.total(),
    ]
    return list(map(float, counts))


def components(counts: Floats, convention: Convention) -> Floats:
    """Score the four components.

    Args:
        counts: (..., columns), summed over the samples of each corpus.
        convention: by which they were counted.

    Returns:
        (..., 4) in the order of COMPONENTS, from 0 to 1. A component that the references lack is NaN in `strict`, and 0
        in the published evaluators.
    """
    matched, in_candidate, weighted_matched, in_reference = np.split(counts[..., : 4 * ORDERS], 4, axis=-1)
    single = np.moveaxis(counts[..., 4 * ORDERS :], -1, 0)
    candidate, reference, weighted_reference, matched_subtrees, subtrees, matched_edges, edges = single
    present = in_reference > 0
    scores = np.stack(
        [
            _brevity_penalty(candidate, reference) * _geometric_mean(matched, in_candidate, present),
            _brevity_penalty(candidate, weighted_reference) * _geometric_mean(weighted_matched, in_reference, present),
            _share(matched_subtrees, subtrees),
            _share(matched_edges, edges),
        ],
        axis=-1,
    )
    return np.nan_to_num(scores, nan=0.0) if convention.as_evaluators else scores


def total(scores: Floats, convention: Convention) -> Floats:
    """Average the components without those that are NaN.

    Args:
        scores: (..., 4), as returned by `components`.
        convention: by which they were scored.

    Returns:
        (...), from 0 to 1; NaN if no component is defined.
    """
    if convention.no_flow_is_full:
        # The package computes `dataflow or 1`, so a total mismatch counts as a full match, too.
        scores = scores.copy()
        flow = scores[..., COMPONENTS.index("dataflow")]
        flow[flow == 0] = 1.0
    defined = ~np.isnan(scores)
    number = defined.sum(axis=-1)
    summed = np.where(defined, scores, 0.0).sum(axis=-1)
    return np.where(number > 0, summed / np.maximum(number, 1), np.nan)


def _brevity_penalty(candidate: Floats, reference: Floats) -> Floats:
    """The brevity penalty of Papineni et al. 2002, section 2.2.2."""
    short = np.exp(1 - reference / np.maximum(candidate, 1))
    return np.where(candidate > reference, 1.0, np.where(candidate > 0, short, 0.0))


def _geometric_mean(matched: Floats, of: Floats, present: NDArray[np.bool_]) -> Floats:
    """The mean of the shares of each order that is present; 0 without a matching unigram, NaN without any order."""
    # A divisor of 1 for absent orders avoids warnings. The mean leaves these orders out.
    shares = np.where(matched > 0, matched, _EPSILON) / np.maximum(of, np.where(of > 0, of, 1.0))
    number = present.sum(axis=-1)
    logarithms = np.where(present, np.log(shares), 0.0).sum(axis=-1)
    mean = np.where(matched[..., 0] > 0, np.exp(logarithms / np.maximum(number, 1)), 0.0)
    return np.where(number > 0, mean, np.nan)


def _share(matched: Floats, of: Floats) -> Floats:
    return np.where(of > 0, matched / np.maximum(of, 1), np.nan)
