"""pass@k, top@k and the share of tests passed."""

import itertools
import statistics

import pytest

from peft_study.data.layouts import apps
from peft_study.errors import UserError
from peft_study.metrics.pass_at_k import LEVELS, by_level, group, pass_at_k, score_tests

PASSED, FAILED = [True, True], [True, False]


@pytest.mark.parametrize(
    ("num_passing", "expected"),
    [
        (0, {1: 0.0, 2: 0.0, 5: 0.0}),
        (1, {1: 0.2, 2: 0.4, 5: 1.0}),
        (2, {1: 0.4, 2: 0.7, 5: 1.0}),
        (5, {1: 1.0, 5: 1.0}),
    ],
)
def test_pass_at_k_of_five_candidates(num_passing: int, expected: dict[int, float]) -> None:
    assert {k: pass_at_k(5, num_passing, k) for k in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("num_candidates", "num_passing", "k"),
    [(n, c, k) for n in range(1, 7) for c in range(n + 1) for k in range(1, n + 1)],
)
def test_pass_at_k_is_the_mean_over_all_draws(num_candidates: int, num_passing: int, k: int) -> None:
    candidates = [index < num_passing for index in range(num_candidates)]
    draws = [any(draw) for draw in itertools.combinations(candidates, k)]

    assert pass_at_k(num_candidates, num_passing, k) == pytest.approx(statistics.fmean(draws))


def test_fewer_candidates_than_k_are_refused() -> None:
    with pytest.raises(UserError, match="pass@5") as refused:
        pass_at_k(3, 1, 5)
    assert refused.value.where == "generation.num_candidates"

    with pytest.raises(UserError, match="pass@2"):
        score_tests([[PASSED, FAILED], [PASSED]], ks=[1, 2])
    with pytest.raises(UserError, match="pass@1"):
        score_tests([[]], ks=[1])


@pytest.mark.parametrize(
    ("num_candidates", "num_passing", "k", "argument"),
    [(5, 6, 1, "num_passing"), (5, -1, 1, "num_passing"), (5, 1, 0, "k must")],
)
def test_impossible_numbers_are_refused(num_candidates: int, num_passing: int, k: int, argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        pass_at_k(num_candidates, num_passing, k)


def test_scores_of_a_corpus() -> None:
    # First problem: the second of three candidates passes, with shares 1/2, 1, 1/2. Second: none passes, 1/4, 0, 0.
    outcomes = [[FAILED, PASSED, FAILED], [[True, False, False, False], [False] * 4, [False] * 4]]

    scores = score_tests(outcomes, ks=[1, 2, 3])

    assert scores.metrics == pytest.approx(
        {
            "pass@1": (1 / 3) / 2,
            "pass@2": (2 / 3) / 2,
            "pass@3": 1 / 2,
            "top@1": 0,
            "top@2": 1 / 2,
            "top@3": 1 / 2,
            "tests_passed_share": (2 / 3 + 1 / 12) / 2,
            "problems_without_tests_share": 0,
        }
    )
    assert scores.samples[0]["tests_passed_share"] == pytest.approx(2 / 3)
    assert not scores.undefined


def test_top_at_k_depends_on_the_order_and_pass_at_k_does_not() -> None:
    first, last = score_tests([[PASSED, FAILED]], ks=[1]), score_tests([[FAILED, PASSED]], ks=[1])

    assert (first.metrics["top@1"], last.metrics["top@1"]) == (1, 0)
    assert first.metrics["pass@1"] == last.metrics["pass@1"] == 0.5


def test_a_problem_without_tests_is_counted_and_weighs_nothing() -> None:
    scores = score_tests([[PASSED, FAILED], [[], []]], ks=[1])

    assert scores.metrics["pass@1"] == scores.metrics["tests_passed_share"] - 0.25 == 0.5
    assert scores.metrics["problems_without_tests_share"] == 0.5
    assert scores.samples[1]["pass@1"] is None

    none = score_tests([[[], []]], ks=[1])
    assert none.metrics["pass@1"] is none.metrics["top@1"] is none.metrics["tests_passed_share"] is None
    assert none.undefined["pass@1"] == "no problem has tests"


def test_malformed_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="outcomes"):
        score_tests([])
    with pytest.raises(ValueError, match=r"outcomes.*\[1, 2\]"):
        score_tests([[PASSED, [True]]], ks=[1])


def test_levels_go_from_easy_to_hard() -> None:
    assert apps.LEVELS == LEVELS
    levels = ["competition", "zebra", "introductory", "aardvark", "competition"]

    assert group(levels) == {"introductory": [2], "competition": [0, 4], "aardvark": [3], "zebra": [1]}
    assert list(group(levels)) == ["introductory", "competition", "aardvark", "zebra"]


def test_scores_by_level() -> None:
    samples = score_tests([[PASSED], [FAILED], [FAILED], [[]]], ks=[1]).samples

    scores = by_level(samples, ["interview", "introductory", "interview", "competition"])

    assert list(scores) == ["introductory", "interview", "competition"]
    assert scores["interview"] == {
        "pass@1": 0.5,
        "top@1": 0.5,
        "tests_passed_share": 0.75,
        "problems_without_tests_share": 0,
    }
    assert scores["competition"]["pass@1"] is None
    with pytest.raises(ValueError, match="samples and levels"):
        by_level(samples, ["interview"])
