"""Intervals of shares and their differences, compared with published examples and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from peft_study.metrics.shares import Independent, Pairs, share_interval, wilson


@pytest.mark.parametrize(
    ("hits", "samples", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(hits: int, samples: int, low: float, high: float) -> None:
    assert wilson(hits / samples, samples) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("samples", [1, 20, 543])
def test_wilsons_interval_is_scipys(samples: int) -> None:
    for hits in {0, 1, samples // 3, samples - 1, samples}:
        expected = binomtest(hits, samples).proportion_ci(method="wilson")

        assert wilson(hits / samples, samples) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_hit_has_an_upper_end() -> None:
    assert share_interval(0.0, 543) == (0.0, pytest.approx(0.00702, abs=5e-6))
    assert share_interval(1.0, 543) == (pytest.approx(0.99298, abs=5e-6), 1.0)


def test_rare_shares_are_covered_at_every_number_of_samples() -> None:
    """The coverage is exact. Wilson's interval alone covers a share of 1 % of 55 samples in 89.5 of 100 cases."""
    for samples in range(50, 629):
        hits = np.arange(40)
        low, high = np.array([share_interval(number / samples, samples) for number in hits]).T
        covered = binom.pmf(hits, samples, 0.01)[(low <= 0.01) & (high >= 0.01)].sum()

        assert covered >= 0.93, samples


def test_common_shares_have_wilsons_interval() -> None:
    assert share_interval(0.3, 200) == wilson(0.3, 200)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombes_interval_is_the_published_one(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    shares = Independent(first[0] / first[1], first[1], second[0] / second[1], second[1])

    assert shares.ends() == pytest.approx((low, high), abs=5e-5)


def test_tangos_interval_and_mcnemars_test_are_the_published_ones() -> None:
    """Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009), as in Fagerland, Lydersen and
    Laake 2014, Statistics in Medicine 33, 2850-2875: 1 and 7 discordant pairs of 21."""
    pairs = Pairs(1, 7, 21)

    assert pairs.ends() == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert 2 * norm.sf(abs(pairs.score(0.0))) == pytest.approx(0.034, abs=5e-4)


@pytest.mark.parametrize("pairs", [(0, 0, 54), (4, 0, 200), (12, 30, 543), (543, 0, 543)])
def test_the_score_at_both_ends_is_the_normal_quantile(pairs: tuple[int, int, int]) -> None:
    table = Pairs(*pairs)
    low, high = table.ends()

    assert -1 <= low <= (pairs[0] - pairs[1]) / pairs[2] <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 0.999:
            assert table.score(end) == pytest.approx(sign * 1.959964, abs=1e-4)


def test_the_interval_of_equal_predictions_shrinks_with_the_samples() -> None:
    """Without discordant pairs, Tango's interval has the upper end of Wilson's for a share of 0."""
    for samples in (20, 543):
        assert Pairs(0, 0, samples).ends()[1] == pytest.approx(wilson(0.0, samples)[1], abs=1e-9)


def test_a_score_of_independent_shares_inverts_their_interval() -> None:
    shares = Independent(0.4, 200, 0.3, 150)
    for confidence in (0.5, 0.95, 0.999):
        width = norm.ppf((1 + confidence) / 2)
        low, high = shares.ends(confidence)

        assert (shares.score(low), shares.score(high)) == pytest.approx((width, -width), abs=1e-6)
    assert math.isfinite(shares.score(-1.0))
