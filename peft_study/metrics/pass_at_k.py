"""Scores of programs by their tests: pass@k, top@k and the average share of tests passed."""

import math
from collections.abc import Sequence

from peft_study.errors import UserError
from peft_study.metrics.scores import Scores, Values, mean_of

KS = (1, 2, 5)
"""The cut-offs in the study's table 4."""
LEVELS = ("introductory", "interview", "competition")
"""The levels of APPS, from easy to hard."""


def pass_at_k(num_candidates: int, num_passing: int, k: int) -> float:
    """Estimate the probability that at least one of k candidates, drawn without replacement, passes.

    Source: the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, section 2.1), in the form of their figure 3.

    Args:
        num_candidates: n, the number of candidates sampled for the problem.
        num_passing: c, the number of candidates that pass all tests.
        k: the number of candidates drawn.

    Raises:
        UserError: num_candidates is less than k.
        ValueError: k is less than 1, or num_passing is not between 0 and num_candidates.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not 0 <= num_passing <= num_candidates:
        raise ValueError(f"num_passing must be between 0 and {num_candidates} (num_candidates), got {num_passing}")
    if num_candidates < k:
        raise UserError(
            f"pass@{k} needs at least {k} candidates per problem, got {num_candidates}",
            where="generation.num_candidates",
            hint=f"generate at least {k} candidates, or score pass@{num_candidates or 1}",
        )
    # This form is numerically stable, unlike the ratio of binomial coefficients in floats.
    return 1.0 - math.prod(1.0 - k / i for i in range(num_candidates - num_passing + 1, num_candidates + 1))


def score_tests(outcomes: Sequence[Sequence[Sequence[bool]]], ks: Sequence[int] = KS) -> Scores:
    """Score problems by the outcomes of their tests.

    Args:
        outcomes: for every problem, for every candidate in the order generated, whether each test passed. All
            candidates of a problem have equally many outcomes. A test that was not run counts as failed.
        ks: cut-offs.

    Returns:
        Means over the problems with tests, and None for a problem without tests:

        - "pass@k";
        - "top@k": whether one of the first k candidates passes, which depends on their order;
        - "tests_passed_share": the share of tests passed, averaged over a problem's candidates.

        And over all problems "problems_without_tests_share".

    Raises:
        UserError: a problem has fewer than k candidates.
        ValueError: outcomes is empty, or a problem's candidates have different numbers of outcomes.
    """
    if not outcomes:
        raise ValueError("outcomes must hold at least one problem, got an empty sequence")
    samples = [_score_problem(problem, ks) for problem in outcomes]
    metrics = mean_of(samples)
    return Scores(metrics, samples, {name: "no problem has tests" for name in metrics if metrics[name] is None})


def group(levels: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the problems by level: APPS' levels from easy to hard, then others by name."""
    names = [*(level for level in LEVELS if level in levels), *sorted(set(levels) - set(LEVELS))]
    return {name: [index for index, level in enumerate(levels) if level == name] for name in names}


def by_level(samples: Sequence[Values], levels: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Average the problems' scores within each level.

    Args:
        samples: scores of every problem, as returned by `score_tests`.
        levels: the level of every problem.

    Returns:
        For every level that occurs, the mean of each score over the problems that have it; None if no problem has it.

    Raises:
        ValueError: the numbers of scores and levels differ.
    """
    if len(samples) != len(levels):
        raise ValueError(f"samples and levels must have the same length, got {len(samples)} and {len(levels)}")
    return {level: mean_of([samples[index] for index in members]) for level, members in group(levels).items()}


def _score_problem(problem: Sequence[Sequence[bool]], ks: Sequence[int]) -> dict[str, float | None]:
    numbers = {len(tests) for tests in problem}
    if len(numbers) > 1:
        raise ValueError(f"all candidates of a problem must have equally many outcomes, got {sorted(numbers)}")
    passing = [all(tests) for tests in problem]
    # Computed for problems without tests too, so that too few candidates are always refused.
    scores: dict[str, float | None] = {f"pass@{k}": pass_at_k(len(problem), sum(passing), k) for k in ks}
    scores |= {f"top@{k}": float(any(passing[:k])) for k in ks}
    # Some problems of APPS have no tests. They are no failures.
    num_tests = max(numbers, default=0)
    shares = [sum(tests) / num_tests for tests in problem if num_tests]
    scores["tests_passed_share"] = sum(shares) / len(shares) if shares else None
    if not num_tests:
        scores = dict.fromkeys(scores)
    scores["problems_without_tests_share"] = float(not num_tests)
    return scores
