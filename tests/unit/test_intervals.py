"""Intervals over samples, over clusters of samples, and over seeds and samples."""

import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from peft_study.metrics.codebleu import STRICT, corpus_score, score_codebleu
from peft_study.metrics.intervals import (
    RESAMPLES,
    Interval,
    Spread,
    mean_intervals,
    pooled_interval,
    recorded_interval,
    seeds_interval,
)
from peft_study.metrics.resampling import effective_samples

Floats = NDArray[np.float64]


def mean_interval(
    values: Sequence[float | None], resamples: int = RESAMPLES, clusters: Sequence[object] | None = None
) -> Interval:
    return mean_intervals([{"score": value} for value in values], resamples, clusters)["score"]


def bernoulli(share: float, samples: int, seed: int) -> list[float]:
    return (np.random.default_rng(seed).random(samples) < share).astype(float).tolist()


def test_the_interval_of_a_mean_is_the_binomials() -> None:
    values = [1.0] * 160 + [0.0] * 240

    interval = mean_interval(values)

    assert interval.estimate == 0.4
    half = 1.96 * math.sqrt(0.4 * 0.6 / 400)
    assert interval.low == pytest.approx(0.4 - half, abs=0.004)
    assert interval.high == pytest.approx(0.4 + half, abs=0.004)


def test_the_interval_covers_the_truth_at_the_nominal_rate() -> None:
    intervals = [mean_interval(bernoulli(0.3, 200, seed), resamples=500) for seed in range(200)]

    covered = sum(interval.low <= 0.3 <= interval.high for interval in intervals if interval.low and interval.high)
    assert 0.90 <= covered / 200 <= 0.99


UNSEEN = 3.841459 / (20 + 3.841459)
"""The largest share of a value that none of 20 samples has."""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0] * 20, (0.0, 0.0, UNSEEN)),
        ([1.0] * 20, (1.0, 1 - UNSEEN, 1.0)),
        ([0.5] * 20, (0.5, 0.5 * (1 - UNSEEN), 0.5 * (1 + UNSEEN))),
        ([None, None], (None, None, None)),
        ([0.7], (0.7, None, None)),
    ],
)
def test_intervals_of_values_that_do_not_vary(
    values: list[float | None], expected: tuple[float | None, float | None, float | None]
) -> None:
    interval = mean_interval(values, 200)

    assert (interval.estimate, interval.low, interval.high) == pytest.approx(expected, abs=1e-6)


def test_a_mean_of_shares_has_the_bootstraps_interval() -> None:
    values = np.random.default_rng(2).choice([0.0, 0.2, 0.6, 1.0], 300)

    interval = mean_interval(values.tolist())

    half = 1.96 * values.std() / math.sqrt(300)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


def test_samples_of_the_same_question_count_once() -> None:
    """100 questions, each phrased four times with the same outcome: the interval is that of 100 samples."""
    outcomes = bernoulli(0.3, 100, 4)
    phrased = [value for value in outcomes for _ in range(4)]
    questions = [str(number) for number in range(100) for _ in range(4)]

    interval = mean_interval(phrased, clusters=questions)

    assert effective_samples(np.array(phrased), questions) == pytest.approx(100, rel=0.02)
    plain = mean_interval(outcomes)
    assert (interval.low, interval.high) == pytest.approx((plain.low, plain.high), abs=0.002)
    assert mean_interval(phrased).low != pytest.approx(plain.low, abs=0.02)


def test_clusters_of_independent_samples_change_little() -> None:
    values = np.random.default_rng(5).random(400)
    questions = [number // 4 for number in range(400)]

    assert effective_samples(values, questions) == pytest.approx(400, rel=0.25)
    pooled = [pooled_interval(np.column_stack([values, np.ones(400)]), share, clusters=by) for by in (None, questions)]
    assert pooled[0].low == pytest.approx(pooled[1].low, abs=0.01)


def share(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def test_clusters_cover_the_truth_and_single_samples_do_not() -> None:
    """60 questions of 1 to 8 phrasings, whose chance of a hit differs from question to question."""
    generator = np.random.default_rng(6)
    covered = {True: 0, False: 0}
    for _ in range(300):
        sizes = generator.integers(1, 9, 60)
        questions = np.repeat(np.arange(60), sizes)
        hits = generator.random(len(questions)) < np.repeat(generator.beta(0.4, 0.6, 60), sizes)
        for clustered in covered:
            interval = mean_interval(
                hits.astype(float).tolist(), 10, clusters=questions.tolist() if clustered else None
            )
            assert interval.low is not None
            assert interval.high is not None
            covered[clustered] += interval.low <= 0.4 <= interval.high
    assert covered[True] / 300 > 0.91
    assert covered[False] / 300 < 0.85


def test_a_pooled_score_is_computed_again_on_every_resample() -> None:
    # A pooled share, compared with the same resamples drawn one by one.
    generator = np.random.default_rng(3)
    counts = np.column_stack([generator.integers(0, 4, 50), generator.integers(4, 9, 50)]).astype(float)

    interval = pooled_interval(counts, lambda sums: sums[..., 0] / sums[..., 1], resamples=1_000)

    rows = np.random.default_rng(0).integers(50, size=(1_000, 50))
    shares = [counts[chosen, 0].sum() / counts[chosen, 1].sum() for chosen in rows]
    assert interval.estimate == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_codebleu_has_an_interval_from_its_counts() -> None:
    references = [f"x{index} = f({index}, y)" for index in range(40)]
    candidates = [text if index % 3 else f"print({index})" for index, text in enumerate(references)]
    scores = score_codebleu(candidates, references)

    interval = pooled_interval(scores.counts["strict"], strict, resamples=2_000)

    assert interval.estimate == pytest.approx(scores.metrics["codebleu_strict"])
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.estimate < interval.high
    # The interval of the samples' mean has another centre.
    assert (
        abs(statistics.fmean(sample["codebleu_strict"] or 0 for sample in scores.samples) - interval.estimate) > 0.005
    )


def strict(sums: Floats) -> Floats:
    return corpus_score(sums, STRICT)


def test_a_single_run_keeps_its_interval() -> None:
    assert seeds_interval([0.4], [(0.35, 0.46)]) == Spread(0.4, None, 0.35, 0.46, 1)
    assert seeds_interval([0.4, 0.5], [(0.35, 0.46), None]).low is None


def test_runs_that_do_not_differ_keep_their_interval() -> None:
    assert seeds_interval([0.5] * 3, [(0.45, 0.56)] * 3) == Spread(0.5, 0.0, 0.45, 0.56, 3)


def test_seeds_and_samples_both_widen_the_interval() -> None:
    interval = seeds_interval([0.40, 0.44, 0.42], [(0.37, 0.43), (0.41, 0.47), (0.39, 0.45)])

    samples, runs = (0.03 / 1.959964) ** 2, 0.02**2 / 3
    freedom = 2 * ((samples + runs) / runs) ** 2
    half = t.ppf(0.975, freedom) * math.sqrt(samples + runs)
    assert (interval.mean, interval.standard_deviation, interval.runs) == (pytest.approx(0.42), pytest.approx(0.02), 3)
    assert (interval.low, interval.high) == pytest.approx((0.42 - half, 0.42 + half), abs=1e-6)


def test_many_runs_with_known_scores_have_students_interval() -> None:
    """If the samples add no uncertainty, the interval is that of a mean of runs."""
    scores = [0.30, 0.34, 0.31, 0.37]

    interval = seeds_interval(scores, [(score - 1e-6, score + 1e-6) for score in scores])

    expected = t.interval(0.95, 3, statistics.fmean(scores), statistics.stdev(scores) / 2)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "score", "ends", "samples", "expected"),
    [
        ("em@10", 0.4, (0.35, 0.45), 543, (0.35, 0.45)),
        ("em@10", 0.0, (0.0, 0.0), 543, (0.0, 0.007025)),
        ("raw_em@1", 0.0, None, 543, (0.0, 0.007025)),
        ("apps_top@1", 1.0, None, 543, (0.992975, 1.0)),
        ("apps_package_top@1", 1.0, None, 543, (0.992975, 1.0)),
        ("em_package@1", 0.0, None, 543, (0.0, 0.007025)),
        ("codebleu", 1.0, (1.0, 1.0), 543, (0.992975, 1.0)),
        ("codebleu", 0.4, None, 543, None),
        ("em@10", 0.0, (0.0, 0.0), None, None),
        # The number of samples of this level is unknown.
        ("interview/pass@5", 0.0, (0.0, 0.0), 543, None),
        ("em@10", None, None, 543, None),
    ],
)
def test_records_without_a_width_have_the_interval_of_their_samples(
    metric: str,
    score: float | None,
    ends: tuple[float, float] | None,
    samples: float | None,
    expected: tuple[float, float] | None,
) -> None:
    interval = recorded_interval(metric, score, ends, samples)

    assert interval == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: pooled_interval(np.empty((0, 2)), share), "counts"),
        (lambda: seeds_interval([], []), "scores"),
    ],
)
def test_an_empty_argument_is_refused(call: Callable[[], object], argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        call()


def test_ten_thousand_resamples_of_the_larger_test_split_are_quick() -> None:
    values = bernoulli(0.3, 543, 0)
    started = time.perf_counter()

    mean_interval(values, 10_000)

    # benchmarks/intervals.py measures it; this limit allows for a busy machine.
    assert time.perf_counter() - started < 5
