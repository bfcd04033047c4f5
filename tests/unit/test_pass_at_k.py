"""pass@k, top@k and the share of tests passed."""

import itertools
import statistics

import pytest

from peft_study.metrics.pass_at_k import by_level, pass_at_k, score_tests

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
    with pytest.raises(ValueError, match="k must be between 1 and 3"):
        pass_at_k(3, 1, 5)
    with pytest.raises(ValueError, match="k must be between 1 and 1"):
        score_tests([[PASSED, FAILED], [PASSED]], ks=[1, 2])


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
        }
    )
    assert scores.samples[0]["tests_passed_share"] == pytest.approx(2 / 3)


def test_top_at_k_depends_on_the_order_and_pass_at_k_does_not() -> None:
    first, last = score_tests([[PASSED, FAILED]], ks=[1]), score_tests([[FAILED, PASSED]], ks=[1])

    assert (first.metrics["top@1"], last.metrics["top@1"]) == (1, 0)
    assert first.metrics["pass@1"] == last.metrics["pass@1"] == 0.5


def test_malformed_outcomes_are_refused() -> None:
    for problem in ([], [[], []]):
        with pytest.raises(ValueError, match="outcomes"):
            score_tests([problem], ks=[1])
    with pytest.raises(ValueError, match=r"outcomes.*\[1, 2\]"):
        score_tests([[PASSED, [True]]], ks=[1])


def test_levels_go_from_easy_to_hard() -> None:
    levels = ["competition", "zebra", "introductory", "aardvark", "competition"]

    scores = by_level([{"top@1": float(index)} for index in range(5)], levels)

    assert list(scores) == ["introductory", "competition", "aardvark", "zebra"]
    assert [values["top@1"] for values in scores.values()] == [2.0, 2.0, 3.0, 1.0]


def test_scores_by_level() -> None:
    samples = score_tests([[PASSED], [FAILED], [FAILED]], ks=[1]).samples

    scores = by_level(samples, ["interview", "introductory", "interview"])

    assert list(scores) == ["introductory", "interview"]
    assert scores["interview"] == {
        "pass@1": 0.5,
        "top@1": 0.5,
        "tests_passed_share": 0.75,
    }
