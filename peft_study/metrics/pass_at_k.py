"""Scores of programs that were run: pass@k, top@k and the average share of tests passed."""

import math
from collections.abc import Sequence

from peft_study.errors import UserError
from peft_study.metrics.scores import Scores, Values, mean_of

KS = (1, 2, 5)
"""The cut-offs of the study's table 4."""
LEVELS = ("introductory", "interview", "competition")
"""Of APPS, from easy to hard."""


def pass_at_k(num_candidates: int, num_passing: int, k: int) -> float:
    """The probability that one of k candidates passes, drawn from those there are without putting back.

    Source: the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, section 2.1), in the form of their figure 3.

    Args:
        num_candidates: n, candidates sampled for the problem.
        num_passing: c, those of them that pass all tests.
        k: how many are drawn.

    Raises:
        UserError: there are fewer than k candidates.
        ValueError: k is not positive, or more candidates pass than there are.
    """
    if k < 1 or not 0 <= num_passing <= num_candidates:
        raise ValueError(f"pass@{k} of {num_passing} passing among {num_candidates} candidates is undefined")
    if num_candidates < k:
        raise UserError(
            f"pass@{k} needs {k} candidates a problem, and a problem has {num_candidates}",
            where="generation.num_candidates",
            hint=f"generate {k} or more, or ask for pass@{num_candidates or 1}",
        )
    return 1.0 - math.prod(1.0 - k / i for i in range(num_candidates - num_passing + 1, num_candidates + 1))


def score_tests(outcomes: Sequence[Sequence[Sequence[bool]]], ks: Sequence[int] = KS) -> Scores:
    """Score problems by what became of their tests.

    Args:
        outcomes: for every problem, for every candidate in the order generated, whether each test passed. All
            candidates of a problem have as many outcomes; a test that was not run has not passed.
        ks: cut-offs.

    Returns:
        Means over the problems that have tests: "pass@k"; "top@k", whether one of the first k candidates passes, which
        depends on their order; "tests_passed_share", the share of tests passed, averaged over a problem's candidates.
        And "problems_without_tests_share", of all problems. A problem without tests has None.

    Raises:
        UserError: a problem has fewer than k candidates.
        ValueError: there is no problem, or a problem's candidates have different numbers of outcomes.
    """
    if not outcomes:
        raise ValueError("pass@k of no problem is undefined")
    samples = [_score_problem(problem, ks) for problem in outcomes]
    metrics = mean_of(samples)
    undefined = {name: "no problem has tests" for name, value in metrics.items() if value is None}
    return Scores(metrics, samples, undefined)


def group(levels: Sequence[str]) -> dict[str, list[int]]:
    """Find the problems of every level: APPS' levels from easy to hard, then others in the order of their names."""
    known = [level for level in LEVELS if level in levels]
    others = sorted(set(levels) - set(LEVELS))
    return {name: [index for index, level in enumerate(levels) if level == name] for name in (*known, *others)}


def by_level(samples: Sequence[Values], levels: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Average the problems' scores within each level.

    Args:
        samples: scores of every problem, as `score_tests` gives them.
        levels: the level of every problem.

    Returns:
        For every level that occurs, the mean of each score over its problems that have one; None where none has.

    Raises:
        ValueError: the numbers of scores and levels differ.
    """
    if len(samples) != len(levels):
        raise ValueError(f"{len(samples)} problems, {len(levels)} levels")
    return {level: mean_of([samples[index] for index in members]) for level, members in group(levels).items()}


def _score_problem(problem: Sequence[Sequence[bool]], ks: Sequence[int]) -> dict[str, float | None]:
    numbers = {len(tests) for tests in problem}
    if len(numbers) > 1:
        raise ValueError(f"the candidates of one problem have different numbers of outcomes: {sorted(numbers)}")
    passing = [all(tests) for tests in problem]
    # Counted before looking at the tests, so that too few candidates are refused whatever the problem.
    scores: dict[str, float | None] = {f"pass@{k}": pass_at_k(len(problem), sum(passing), k) for k in ks}
    scores |= {f"top@{k}": float(any(passing[:k])) for k in ks}
    num_tests = max(numbers, default=0)
    shares = [sum(tests) / num_tests for tests in problem if num_tests]
    scores["tests_passed_share"] = sum(shares) / len(shares) if shares else None
    if not num_tests:
        scores = dict.fromkeys(scores)
    scores["problems_without_tests_share"] = float(not num_tests)
    return scores
