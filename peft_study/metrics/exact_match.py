"""EM@k: the share of samples whose reference is among the first k candidates, under three comparisons."""

from collections.abc import Sequence

from peft_study.data.line_ends import with_line_feeds
from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.scores import Scores

MAX_K = 10


def normalise(code: str) -> str:
    """The form in which candidate and reference are compared: line ends and tabs are spaces, outer white space is gone.

    That is what the study's authors do before they compare (arXiv 2308.10462, replication package); nothing else is
    evened out, so other quotes or spacing are a miss. A carriage return counts as the line end that it is.
    """
    return with_line_feeds(code).replace("\n", " ").replace("\t", " ").strip()


def matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """Which candidates equal the reference once both are normalised; none where there is no reference to equal."""
    wanted = normalise(reference)
    return [bool(wanted) and normalise(candidate) == wanted for candidate in candidates]


def raw_matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """Which candidates are the reference, character by character; none where there is no reference to equal."""
    return [bool(normalise(reference)) and candidate == reference for candidate in candidates]


def package_matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """As `matches`, of candidates cut as the study's replication package cut them."""
    return matches([cut_at_angle_brackets(candidate) for candidate in candidates], reference)


def em_at_k(
    matched: Sequence[Sequence[bool]], ks: Sequence[int] = range(1, MAX_K + 1), name: str = "em"
) -> dict[str, float]:
    """EM@k for every k that all samples have candidates for.

    Args:
        matched: for every sample, which of its candidates match, best first.
        ks: cut-offs.
        name: what the scores are called.

    Returns:
        "em@1" and so on, each a share from 0 to 1.

    Raises:
        ValueError: there is no sample.
    """
    if not matched:
        raise ValueError("EM@k of no sample is undefined")
    fewest = min(len(row) for row in matched)
    return {f"{name}@{k}": sum(any(row[:k]) for row in matched) / len(matched) for k in ks if k <= fewest}


def score_exact_match(
    candidates: Sequence[Sequence[str]], references: Sequence[str], ks: Sequence[int] = range(1, MAX_K + 1)
) -> Scores:
    """Score every sample's candidates, best first.

    Args:
        candidates: of every sample.
        references: one a sample.
        ks: cut-offs; those that a sample has too few candidates for are left out.

    Returns:
        "em@1" and so on; "raw_em@1" and so on, which compare without normalisation; "em_package@1" and so on, which
        compare what the study's replication package kept of a candidate. A sample's value is 1 or 0.

    Raises:
        ValueError: there is no sample, or the numbers differ.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} lists of candidates for {len(references)} references")
    pairs = list(zip(candidates, references, strict=True))
    ways = {
        "em": [matches(*pair) for pair in pairs],
        "raw_em": [raw_matches(*pair) for pair in pairs],
        "em_package": [package_matches(*pair) for pair in pairs],
    }
    metrics: dict[str, float | None] = {}
    samples: list[dict[str, float | None]] = [{} for _ in pairs]
    for name, matched in ways.items():
        metrics |= em_at_k(matched, ks, name)
        for sample, row in zip(samples, matched, strict=True):
            sample |= {f"{name}@{k}": float(any(row[:k])) for k in ks if f"{name}@{k}" in metrics}
    return Scores(metrics, samples)
