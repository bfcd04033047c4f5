"""Intervals over samples, differences of two runs, spread over seeds."""

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from peft_study.metrics.codebleu import STRICT, corpus_score, score_codebleu
from peft_study.metrics.intervals import (
    Difference,
    Interval,
    Spread,
    mean_difference,
    mean_interval,
    pooled_difference,
    pooled_interval,
    spread,
)

Floats = NDArray[np.float64]


def bernoulli(share: float, samples: int, seed: int) -> list[float]:
    return (np.random.default_rng(seed).random(samples) < share).astype(float).tolist()


def test_the_interval_of_a_mean_is_the_binomials() -> None:
    values = [1.0] * 160 + [0.0] * 240

    found = mean_interval(values)

    assert found.estimate == 0.4
    half = 1.96 * math.sqrt(0.4 * 0.6 / 400)
    assert found.low == pytest.approx(0.4 - half, abs=0.004)
    assert found.high == pytest.approx(0.4 + half, abs=0.004)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    found = [mean_interval(bernoulli(0.3, 200, seed), resamples=500, seed=seed) for seed in range(200)]

    covered = sum(interval.low <= 0.3 <= interval.high for interval in found if interval.low and interval.high)
    assert 0.90 <= covered / 200 <= 0.99


def test_the_same_seed_draws_the_same_samples() -> None:
    values = bernoulli(0.3, 100, 1)

    assert mean_interval(values, 1_500, seed=7) == mean_interval(values, 1_500, seed=7)
    assert mean_interval(values, 1_500, seed=7) != mean_interval(values, 1_500, seed=8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5] * 20, Interval(0.5, 0.5, 0.5)),
        ([1.0, None, None], Interval(1.0, 1.0, 1.0)),
        ([None, None], Interval(None, None, None)),
        ([0.7], Interval(0.7, None, None)),
    ],
)
def test_intervals_of_nothing_to_vary(values: list[float | None], expected: Interval) -> None:
    assert mean_interval(values, 200) == expected


def test_a_pooled_score_is_scored_anew_on_every_resample() -> None:
    # A pooled share, 30 of 100, against the same resamples drawn one by one.
    generator = np.random.default_rng(3)
    counts = np.column_stack([generator.integers(0, 4, 50), generator.integers(4, 9, 50)]).astype(float)

    found = pooled_interval(counts, lambda sums: sums[..., 0] / sums[..., 1], resamples=1_000, seed=5)

    rows = np.random.default_rng(5).integers(50, size=(1_000, 50))
    shares = [counts[chosen, 0].sum() / counts[chosen, 1].sum() for chosen in rows]
    assert found.estimate == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_codebleu_has_an_interval_from_its_counts() -> None:
    references = [f"x{index} = f({index}, y)" for index in range(40)]
    candidates = [text if index % 3 else f"print({index})" for index, text in enumerate(references)]
    scores = score_codebleu(candidates, references)

    found = pooled_interval(scores.counts["strict"], strict, resamples=2_000)

    assert found.estimate == pytest.approx(scores.metrics["codebleu_strict"])
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high
    # Not the interval of the samples' mean, whose centre lies elsewhere.
    assert abs(statistics.fmean(sample["codebleu_strict"] or 0 for sample in scores.samples) - found.estimate) > 0.005


def strict(sums: Floats) -> Floats:
    return corpus_score(sums, STRICT)


def test_a_difference_is_of_the_same_samples() -> None:
    # The second run is right wherever the first is, and five times more: paired, that is a sure difference.
    first = [1.0] * 55 + [0.0] * 45
    second = [1.0] * 50 + [0.0] * 50

    found = mean_difference(first, second)

    assert found.estimate == pytest.approx(0.05)
    assert found.low == pytest.approx(0.01, abs=0.005)
    assert found.high == pytest.approx(0.10, abs=0.015)
    assert found.p_value is not None
    assert 0.01 < found.p_value < 0.05


def test_the_p_value_is_what_the_formula_says() -> None:
    first, second = bernoulli(0.5, 60, 1), bernoulli(0.4, 60, 2)

    found = mean_difference(first, second, resamples=999, seed=4)

    rows = np.random.default_rng(4).integers(60, size=(999, 60))
    differences = (np.array(first) - np.array(second))[rows].mean(axis=1)
    estimate = statistics.fmean(first) - statistics.fmean(second)
    extreme = sum(abs(difference - estimate) >= abs(estimate) - 1e-12 for difference in differences)
    assert found.p_value == (1 + extreme) / 1_000


def test_p_values_of_no_difference_are_spread_evenly() -> None:
    p_values = []
    for seed in range(150):
        found = mean_difference(bernoulli(0.3, 150, seed), bernoulli(0.3, 150, 1_000 + seed), resamples=400, seed=seed)
        assert found.p_value is not None
        p_values.append(found.p_value)

    assert sum(value < 0.05 for value in p_values) / 150 < 0.12
    assert 0.35 < statistics.fmean(p_values) < 0.65


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], Difference(0.0, 0.0, 0.0, 1.0)),
        ([1.0], [0.0], Difference(1.0, None, None, None)),
        ([None, None], [1.0, 0.0], Difference(None, None, None, None)),
    ],
)
def test_differences_at_the_edges(first: list[float | None], second: list[float | None], expected: Difference) -> None:
    assert mean_difference(first, second, 200) == expected


def test_swapping_the_runs_turns_the_difference_round() -> None:
    first, second = bernoulli(0.5, 80, 1), bernoulli(0.4, 80, 2)

    there, back = mean_difference(first, second, 999), mean_difference(second, first, 999)

    assert there.low is not None
    assert there.high is not None
    assert (back.estimate, back.p_value) == (-(there.estimate or 0), there.p_value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_pooled_runs_are_compared_on_the_same_resamples() -> None:
    references = [f"x{index} = f({index}, y)" for index in range(30)]
    better = score_codebleu(references, references)
    worse = score_codebleu([text.replace("f", "g") for text in references], references)

    found = pooled_difference(better.counts["strict"], worse.counts["strict"], strict, resamples=500)

    assert found.estimate == pytest.approx((better.metrics["codebleu"] or 0) - (worse.metrics["codebleu"] or 0))
    # Every sample is worse by the same, so that no resample can change the difference.
    assert found.low == pytest.approx(found.high)
    assert found.p_value == 1 / 501


def test_seeds_have_a_spread_only_where_there_are_several() -> None:
    assert spread([0.4]) == Spread(0.4, None, 0.4, 0.4, 1)
    three = spread([0.4, 0.5, 0.6])
    assert (three.mean, three.standard_deviation) == pytest.approx((0.5, 0.1))
    assert (three.low, three.high, three.runs) == (0.4, 0.6, 3)
    assert spread([0.4, 0.4]).standard_deviation == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "no sample"),
        (lambda: mean_difference([], []), "no sample"),
        (lambda: mean_difference([1.0], [1.0, 0.0]), "1 samples of one run, 2 of the other"),
        (lambda: spread([]), "no run"),
    ],
)
def test_nothing_to_sum_up_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_ten_thousand_resamples_of_the_larger_test_split_are_quick() -> None:
    values = bernoulli(0.3, 543, 0)
    started = time.perf_counter()

    mean_interval(values, 10_000)

    # benchmarks/intervals.py measures it; here a busy machine is allowed for.
    assert time.perf_counter() - started < 5
