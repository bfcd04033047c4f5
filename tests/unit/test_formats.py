"""Numbers as people read them."""

import pytest

from peft_study.console.formats import MISSING, duration, percent


@pytest.mark.parametrize(
    ("share", "digits", "unit", "expected"),
    [
        (0.715, 2, " %", "71.50 %"),
        (1.0, 0, "", "100"),
        (0.0, 1, "", "0.0"),
        (None, 2, " %", MISSING),
    ],
)
def test_a_share_is_written_as_a_percentage(share: float | None, digits: int, unit: str, expected: str) -> None:
    assert percent(share, digits, unit) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(7.4, "0:07"), (750, "12:30"), (3723, "1:02:03"), (59.6, "1:00")])
def test_a_duration_is_written_as_a_clock(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
