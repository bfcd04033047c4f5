"""Scores of programs by their tests: pass@k, top@k and the average share of tests passed."""

import math
from collections.abc import Sequence

from peft_study.data.samples import LEVELS
from peft_study.metrics.scores import Scores, Values, mean_of


def pass_at_k(num_candidates: int, num_passing: int, k: int) -> float:
    """Estimate the probability that at least one of k candidates, drawn without replacement, passes.

    Source: the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, section 2.1), in the form of their figure 3.

    Args:
        num_candidates: n, the number of candidates sampled for the problem.
        num_passing: c, the number of candidates that pass all tests.
        k: the number of candidates drawn.

    Raises:
        ValueError: k is not between 1 and num_candidates, or num_passing is not between 0 and num_candidates.
    """
    if not 1 <= k <= num_candidates:
        raise ValueError(f"k must be between 1 and {num_candidates} (num_candidates), got {k}")
    if not 0 <= num_passing <= num_candidates:
        raise ValueError(f"num_passing must be between 0 and {num_candidates} (num_candidates), got {num_passing}")
    # This form is numerically stable, unlike the ratio of binomial coefficients in floats.
    return 1.0 - math.prod(1.0 - k / i for i in range(num_candidates - num_passing + 1, num_candidates + 1))


def score_tests(outcomes: Sequence[Sequence[Sequence[bool]]], ks: Sequence[int]) -> Scores:
    """Score problems by the outcomes of their tests.

    Args:
        outcomes: for every problem, for every candidate in the order generated, whether each test passed. All
            candidates of a problem have equally many outcomes, at least one.
        ks: cut-offs, at most the number of candidates of every problem.

    Returns:
        Means over the problems:

        - "pass@k";
        - "top@k": whether one of the first k candidates passes, which depends on their order;
        - "tests_passed_share": the share of tests passed, averaged over a problem's candidates.

    Raises:
        ValueError: a problem has no candidates, fewer than k, or candidates with different numbers of outcomes.
    """
    samples = [_score_problem(problem, ks) for problem in outcomes]
    return Scores(mean_of(samples), samples)


def by_level(samples: Sequence[Values], levels: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Average the problems' scores within each level.

    Args:
        samples: scores of every problem, as returned by `score_tests`.
        levels: the level of every problem.

    Returns:
        For every level that occurs, the mean of each score over its problems: APPS' levels from easy to hard, then
        others by name.
    """
    members: dict[str, list[Values]] = {level: [] for level in (*LEVELS, *sorted(set(levels) - set(LEVELS)))}
    for level, scores in zip(levels, samples, strict=True):
        members[level].append(scores)
    return {level: mean_of(scores) for level, scores in members.items() if scores}


def _score_problem(problem: Sequence[Sequence[bool]], ks: Sequence[int]) -> dict[str, float | None]:
    numbers = {len(outcomes) for outcomes in problem}
    if len(numbers) != 1 or 0 in numbers:
        raise ValueError(
            f"all candidates of a problem must have equally many outcomes, at least one, got {sorted(numbers)}"
        )
    passing = [all(outcomes) for outcomes in problem]
    return {
        **{f"pass@{k}": pass_at_k(len(problem), sum(passing), k) for k in ks},
        **{f"top@{k}": float(any(passing[:k])) for k in ks},
        "tests_passed_share": sum(sum(outcomes) / len(outcomes) for outcomes in problem) / len(problem),
    }
