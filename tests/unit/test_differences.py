"""Differences between methods: variance of samples and runs, choices, many tests, and error rates."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, t, ttest_ind, ttest_rel

from benchmarks import calibration
from benchmarks.calibration import Setting
from peft_study.metrics.choices import Choice
from peft_study.metrics.differences import Difference, compare_methods, holm
from peft_study.metrics.method_scores import MethodScore, run_variance
from peft_study.metrics.resampling import as_counts, mean_of_counts
from peft_study.metrics.study_size import samples_needed, seeds_needed
from peft_study.report.read.per_sample import Run, method_score

Floats = NDArray[np.float64]


def score(
    values: Floats, *, drawn: bool = True, resamples: int = 4_000, clusters: list[str] | None = None
) -> MethodScore:
    """The score of a method from the values of its runs, (runs, samples)."""
    names = tuple(f"{place:05}" for place in range(values.shape[1]))
    of = None if clusters is None else tuple(clusters)
    runs = [Run(names, of, as_counts(run.tolist()), mean_of_counts) for run in values]
    mean = method_score(runs, drawn=drawn, resamples=resamples)
    assert mean is not None
    return mean


def compare(first: MethodScore, second: MethodScore) -> Difference:
    difference = compare_methods([Choice((first,))], [Choice((second,))])
    assert difference is not None
    return difference


def test_without_a_run_part_it_is_the_paired_t_test() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random((1, 400)), generator.random((1, 400)) * 0.95

    difference = compare(score(first, drawn=False), score(second, drawn=False))

    expected = ttest_rel(first[0], second[0])
    assert difference.of_methods
    assert difference.p_value == pytest.approx(expected.pvalue, rel=0.08)
    assert difference.ends() == pytest.approx(tuple(expected.confidence_interval()), abs=0.002)


def test_without_variance_over_samples_it_is_welchs_t_test() -> None:
    """All samples of a run have the same value."""
    shares = [[0.50, 0.55, 0.47, 0.52], [0.60, 0.66, 0.52]]
    sides = [np.repeat(np.array(side)[:, None], 20_000, axis=1) for side in shares]

    difference = compare(score(sides[0], resamples=50), score(sides[1], resamples=50))

    assert difference.p_value == pytest.approx(ttest_ind(*shares, equal_var=False).pvalue, rel=0.01)


def test_chance_on_single_samples_adds_nothing_to_the_run_variance() -> None:
    """Each sample of each run is drawn independently, so all variance between runs comes from the samples."""
    generator = np.random.default_rng(2)
    estimates = []
    for _ in range(60):
        values = (generator.random((3, 200)) < 0.4).astype(float)
        variance = score(values, resamples=300).run_variance
        assert variance is not None
        estimates.append(variance)
    observed = 0.4 * 0.6 / 200

    assert abs(np.mean(estimates)) < 0.25 * observed
    assert run_variance([0.4, 0.5], None) == pytest.approx(0.005)
    assert run_variance([0.4], None) is None


def test_a_single_run_without_run_variance_is_not_about_methods() -> None:
    first, second = np.ones((1, 100)), np.zeros((1, 100))
    sides = [score(first), score(second)]

    alone = compare(*sides)
    pooled = compare(*(side.with_run_variance(0.03**2, 0.03**2, 10.0) for side in sides))

    assert not alone.of_methods
    assert pooled.of_methods
    assert pooled.standard_error == pytest.approx(math.sqrt(2 * 0.03**2 + 1 / 102**2), rel=1e-6)


def test_questions_are_resampled_as_wholes() -> None:
    """Each of 50 questions is phrased four times with the same outcome."""
    generator = np.random.default_rng(3)
    first, second = (np.repeat((generator.random((1, 50)) < p).astype(float), 4, axis=1) for p in (0.6, 0.4))
    questions = [str(number) for number in range(50) for _ in range(4)]

    difference = compare(*(score(side, drawn=False, clusters=questions) for side in (first, second)))
    apart = compare(*(score(side[:, ::4], drawn=False) for side in (first, second)))

    assert difference.ends() == pytest.approx(apart.ends(), abs=0.01)
    assert difference.p_value == pytest.approx(apart.p_value, rel=0.15)


def test_equal_predictions_of_few_samples_leave_uncertainty() -> None:
    values = np.tile(np.array([1.0, 0.0] * 10), (3, 1))

    low, high = compare(score(values), score(values)).ends()

    assert high - low > 0.1


def test_equal_runs_have_the_freedom_of_their_seeds() -> None:
    """Their observed spread says nothing about a difference that is 0 in every run."""
    hits = np.arange(60)
    values = np.array([hits < 10, (hits >= 10) & (hits < 26)]).astype(float)

    difference = compare(score(values), score(values))

    assert difference.ends()[1] <= t.ppf(0.975, 1) * difference.standard_error * 1.001


def test_a_ratio_of_means_close_to_0_has_no_bounds() -> None:
    sides = [MethodScore(estimate, 0.01, 100, run_variance=0.0) for estimate in (1e-5, 0.5)]

    ratio = compare(*sides).ratio

    assert ratio == pytest.approx((2e-5, 0.0, math.inf))


def test_other_samples_are_compared_as_independent() -> None:
    generator = np.random.default_rng(4)
    first, second = (generator.random((1, number)) for number in (300, 200))

    difference = compare(score(first, drawn=False), score(second, drawn=False))

    expected = ttest_ind(first[0], second[0], equal_var=False)
    assert not difference.paired
    assert difference.ends() == pytest.approx(tuple(expected.confidence_interval()), abs=0.004)


def test_a_ratio_assumes_the_known_variance_for_both_sides() -> None:
    """The paper reports no intervals."""
    known = MethodScore(0.4, 0.4 * 0.6 / 200, 200.0)

    half_known, both_known = compare(known, MethodScore(0.2, None, None)), compare(known, replace(known, estimate=0.2))

    assert half_known.standard_error == pytest.approx(both_known.standard_error)
    assert half_known.ratio == pytest.approx(both_known.ratio)


def test_the_best_of_many_equal_methods_is_significant_at_the_nominal_rate() -> None:
    """7 equal options against an eighth. Without the choice in the test, far more than 5 % are significant."""
    generator = np.random.default_rng(5)
    wrong = {"chosen": 0, "fixed": 0}
    studies = 500
    for _ in range(studies):
        options = [
            score((generator.random((1, 120)) < 0.4).astype(float), drawn=False, resamples=500) for _ in range(8)
        ]
        base, rest = options[0], options[1:]
        best = max(rest, key=lambda option: option.estimate)
        chosen = compare_methods([Choice((best,), tuple((option,) for option in rest))], [Choice((base,))])
        assert chosen is not None
        wrong["chosen"] += chosen.p_value < 0.05
        wrong["fixed"] += compare(best, base).p_value < 0.05

    assert wrong["chosen"] / studies <= 0.075
    assert wrong["fixed"] / studies > 0.09


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # Holm 1979; the worked example of R's p.adjust manual.
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holms_adjustment(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


def test_power_is_that_of_a_normal_test() -> None:
    generator = np.random.default_rng(6)
    first, second = (generator.random((1, 543)) for _ in range(2))

    difference = compare(score(first, drawn=False), score(second, drawn=False))

    assert difference.power(0.05, 0.05) == pytest.approx(norm.cdf(0.05 / difference.standard_error - 1.964), abs=0.01)


def test_the_seeds_and_samples_needed_detect_the_difference() -> None:
    """Simulated studies of that size: a difference of 5 points, deviations of 0.5 (samples) and 1.5 points (runs)."""
    seeds = seeds_needed(0.05, 0.5, 0.015, 2_000)
    assert seeds is not None
    samples = samples_needed(0.05, 0.5, 0.015, seeds)
    assert samples is not None
    assert samples <= 2_000
    generator = np.random.default_rng(7)
    sides = generator.normal(0, 0.015, (2, 4_000, seeds)) + np.array([0.05, 0.0])[:, None, None]
    apart = sides[0].mean(axis=1) - sides[1].mean(axis=1) + generator.normal(0, 0.5 / math.sqrt(samples), 4_000)
    of_runs = (sides[0].var(axis=1, ddof=1) + sides[1].var(axis=1, ddof=1)) / seeds
    variance = 0.25 / samples + of_runs
    freedom = 2 * (seeds - 1) * (variance / of_runs) ** 2

    assert (2 * t.sf(np.abs(apart) / np.sqrt(variance), freedom) < 0.05).mean() == pytest.approx(0.8, abs=0.06)


def test_more_variance_needs_more_seeds_until_no_number_is_enough() -> None:
    assert (seeds_needed(0.05, 0.5, 0.03, 2_000) or 0) > (seeds_needed(0.05, 0.5, 0.015, 2_000) or 99)
    assert seeds_needed(0.01, 0.5, 0.015, 200) is None
    assert samples_needed(0.01, 0.5, 0.03, 3) is None
    # Without variance between runs it is a normal test of paired samples.
    assert samples_needed(0.03, 0.5, 0.0, 3) == pytest.approx((0.5 * (1.96 + 0.8416) / 0.03) ** 2, rel=0.001)


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
def test_equal_methods_differ_significantly_at_the_nominal_rate(spread: float) -> None:
    """benchmarks/calibration.py has the whole table; this test runs 1,500 studies of 3 seeds and 200 samples."""
    tests = calibration.simulate(np.random.default_rng(11), 1_500, Setting(spread, 3, 200))

    assert 0.02 <= (tests.p_values < 0.05).mean() <= 0.065
    assert 0.93 <= tests.covers(0.0).mean() <= 0.98


def test_the_simulated_formulas_are_the_reports() -> None:
    assert calibration.check(np.random.default_rng(12), Setting(1.0, 3, 200), number=3) < 0.04


def test_a_null_study_decides_no_claim() -> None:
    (row,) = [row for row in calibration.claims(np.random.default_rng(13), 1, samples=100) if row["spread_points"] == 1]

    assert row["any_claim_decided"] == 0
