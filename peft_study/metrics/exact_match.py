"""EM@k: the share of samples whose reference is among the first k candidates, by three comparisons."""

from collections.abc import Sequence

from peft_study.data.line_ends import with_line_feeds
from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.scores import Scores, check_lengths, mean_of

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


def score_exact_match(candidates: Sequence[Sequence[str]], references: Sequence[str]) -> Scores:
    """Score every sample's candidates, best first.

    Args:
        candidates: of every sample.
        references: the reference of each sample.

    Returns:
        Three scores for every k up to the smallest number of candidates and to MAX_K, with 1 or 0 for each sample:

        - "em@k": candidates and references are normalised;
        - "raw_em@k": they are compared unchanged;
        - "em_package@k": candidates are cut as in the study's replication package and normalised.

    Raises:
        ValueError: the inputs are empty, or there are not as many references as lists of candidates.
    """
    check_lengths(candidates, references)
    # At a larger k, samples would have different numbers of attempts.
    ks = range(1, min(MAX_K, *map(len, candidates)) + 1)
    samples: list[dict[str, float | None]] = [{} for _ in references]
    # The package's cut makes references with `<` unreachable, and the paper's table 3 has it (docs/differences.md).
    for name, compare in (("em", matches), ("raw_em", raw_matches), ("em_package", package_matches)):
        for sample, texts, reference in zip(samples, candidates, references, strict=True):
            matched = compare(texts, reference)
            sample |= {f"{name}@{k}": float(any(matched[:k])) for k in ks}
    return Scores(mean_of(samples), samples)
