"""EM@k: the share of samples whose reference is among the first k candidates, by three comparisons."""

from collections.abc import Sequence

from peft_study.data.line_ends import with_line_feeds
from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.scores import Scores

MAX_K = 10  # the largest cut-off in the paper's tables


def normalise(code: str) -> str:
    """Replace line ends and tabs by spaces and strip the text, as before every comparison.

    The study's authors do the same (arXiv 2308.10462, replication package). Nothing else is normalised, so a candidate
    with other quotes or other spacing does not match. A carriage return counts as a line end.
    """
    return with_line_feeds(code).replace("\n", " ").replace("\t", " ").strip()


def matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """Return which candidates equal the reference after normalisation. An empty reference matches nothing."""
    # An empty reference would count every empty candidate as a hit.
    normalised = normalise(reference)
    return [bool(normalised) and normalise(candidate) == normalised for candidate in candidates]


def raw_matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """Return which candidates equal the reference, character by character. A blank reference matches nothing."""
    return [bool(normalise(reference)) and candidate == reference for candidate in candidates]


def package_matches(candidates: Sequence[str], reference: str) -> list[bool]:
    """Return the same as `matches` for candidates cut as in the study's replication package."""
    return matches([cut_at_angle_brackets(candidate) for candidate in candidates], reference)


def em_at_k(
    matched: Sequence[Sequence[bool]], ks: Sequence[int] = range(1, MAX_K + 1), name: str = "em"
) -> dict[str, float]:
    """Return EM@k for every k for which all samples have enough candidates.

    Args:
        matched: for every sample, which of its candidates match, best first.
        ks: cut-offs.
        name: prefix of the scores' names.

    Returns:
        "em@1" and so on, each a share from 0 to 1.

    Raises:
        ValueError: matched is empty.
    """
    if not matched:
        raise ValueError("matched must hold at least one sample, got an empty sequence")
    # At a larger k, samples would have different numbers of attempts.
    fewest = min(len(row) for row in matched)
    return {f"{name}@{k}": sum(any(row[:k]) for row in matched) / len(matched) for k in ks if k <= fewest}


def score_exact_match(
    candidates: Sequence[Sequence[str]], references: Sequence[str], ks: Sequence[int] = range(1, MAX_K + 1)
) -> Scores:
    """Score every sample's candidates, best first.

    Args:
        candidates: of every sample.
        references: the reference of each sample.
        ks: cut-offs; a cut-off is left out if a sample has too few candidates.

    Returns:
        Three scores for every k, with a value of 1 or 0 for each sample:

        - "em@k": candidates and references are normalised;
        - "raw_em@k": they are compared unchanged;
        - "em_package@k": candidates are cut as in the study's replication package and normalised.

    Raises:
        ValueError: there are no samples, or the numbers of candidates and references differ.
    """
    if len(candidates) != len(references):
        raise ValueError(
            f"candidates and references must have the same length, got {len(candidates)} and {len(references)}"
        )
    metrics: dict[str, float | None] = {}
    samples: list[dict[str, float | None]] = [{} for _ in references]
    # The package's cut makes references with `<` unreachable, and the paper's table 3 has it (docs/differences.md).
    for name, compare in (("em", matches), ("raw_em", raw_matches), ("em_package", package_matches)):
        matched = list(map(compare, candidates, references))
        metrics |= em_at_k(matched, ks, name)
        for sample, row in zip(samples, matched, strict=True):
            sample |= {f"{name}@{k}": float(any(row[:k])) for k in ks if f"{name}@{k}" in metrics}
    return Scores(metrics, samples)
