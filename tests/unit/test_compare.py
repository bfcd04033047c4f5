"""The two comparators: what each accepts, where they differ, and numbers that are too long for Python's own limit."""

import json
import sys
import time
from typing import Any

import pytest

from peft_study.judging.compare import Comparator, parsed, same_output, same_value, strictly_equal

STRICT, APPS = Comparator.strict, Comparator.apps
LONG = "7" * 6_000
OTHER_LONG = "7" * 5_999 + "8"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("3\n", "3"),
        ("3", "3\n"),
        ("  3  \n\n", "3\n"),
        ("1 2 3\r\n4\r\n", "1 2 3\n4\n"),
        ("a \nb\n", "a\nb"),
        ("0.5\n", "0.5000004"),
        ("3\n", "3.0\n"),
        (".5", "0.5"),
        ("1e-3", "0.001"),
        ("1000000.5", "1000000.6"),
        ("é ü", "é ü"),
        ("", ""),
        ("\n", ""),
        (LONG, LONG + "\n"),
        ("inf nan", "inf nan"),
    ],
)
def test_both_accept_the_answer(printed: str, expected: str) -> None:
    assert same_output(STRICT, printed.encode(), expected)
    assert same_output(APPS, printed.encode(), expected)


# What the published checker is known to take for right.
@pytest.mark.parametrize(
    ("printed", "expected", "fault"),
    [
        ("2\n1\n", "1\n2\n", "order of lines"),
        ("1\n1\n1\n2\n", "1\n2\n", "lines repeated"),
        ("1\n2\n", "1\n2\n2\n1\n", "lines left out"),
        ("3 2 1\n", "1 2 3\n", "order of tokens"),
        ("1 1 2\n", "1 2 2\n", "repeated tokens"),
        ("1000001\n", "1000000\n", "an integer off by one, within a relative error of 1e-5"),
        ("0.5 1\n0.50001 2\n", "0.50001 2\n0.5 1\n", "order of lines of numbers"),
        ("0.1234 1\n", "0.1233 1\n", "numbers rounded to three digits"),
        ("1\n\n\n2\n", "1\n2\n", "blank lines between"),
        ("3.0\n", "3\n", "a float for an integer"),
        ("1_000\n", "1000\n", "an underscore in a number"),
        ("9" * 400 + "\n", "8" * 400 + "\n", "two integers that both read as infinite"),
        ("1\x0b2\n", "1\n2\n", "a vertical tab ends a line"),
    ],
)
def test_apps_accepts_what_the_published_checker_accepts_and_strict_does_not(
    printed: str, expected: str, fault: str
) -> None:
    assert same_output(APPS, printed.encode(), expected), fault
    assert not same_output(STRICT, printed.encode(), expected), fault


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("4\n", "3\n"),
        ("", "3\n"),
        ("3\n", ""),
        ("3\n4\n", "3\n"),
        ("yes", "YES"),
        ("0.5", "0.6"),
        ("0.12 1", "0.13 1"),
        ("nan", "0.5"),
        ("inf", "0.5"),
        ("1.5", "1e999"),
        ("0x10", "16.0"),
        ("a b\nc", "a\nb c"),
        (LONG + " x", OTHER_LONG + " x"),
    ],
)
def test_both_refuse_another_answer(printed: str, expected: str) -> None:
    assert not same_output(STRICT, printed.encode(), expected)
    assert not same_output(APPS, printed.encode(), expected)


@pytest.mark.parametrize("comparator", Comparator)
def test_bytes_that_are_not_text_equal_nothing(comparator: Comparator) -> None:
    assert not same_output(comparator, b"\xff\xfe", "3")


def test_strict_tolerance_is_absolute_for_small_and_relative_for_large_numbers() -> None:
    near = [("0.0000009", "0.0"), ("2000001.0", "2000000.0"), ("-1e-7", "1e-7")]
    far = [("0.0000011", "0.0"), ("2000003.0", "2000000.0"), ("1e300", "1e306")]

    assert [same_output(STRICT, given.encode(), wanted) for given, wanted in near] == [True] * 3
    assert [same_output(STRICT, given.encode(), wanted) for given, wanted in far] == [False] * 3


def test_integers_are_compared_digit_by_digit() -> None:
    assert not same_output(STRICT, b"9007199254740993", "9007199254740992")
    assert not same_output(STRICT, OTHER_LONG.encode(), LONG)
    assert same_output(APPS, OTHER_LONG.encode(), LONG), "both are infinite as floats"


@pytest.mark.parametrize(
    ("returned", "expected", "wrapped", "strict", "apps"),
    [
        (3, 3, False, True, True),
        ([1, 2], [1, 2], False, True, True),
        ("a", "a", False, True, True),
        (None, None, False, True, True),
        ({"1": [2]}, {"1": [2]}, False, True, True),
        # The answer inside a list, which is how half of the data gives it.
        (3, [3], True, True, True),
        ([1, 2], [[1, 2]], True, True, True),
        ([3], [3], True, True, True),
        # One problem whose other answers are not lists of one element: the list is the answer.
        (3, [3], False, False, True),
        (1, [1, 2], False, False, True),
        # Python's equality against types.
        (True, 1, False, False, True),
        (1, True, False, False, True),
        (3.0, 3, False, False, True),
        (3, 3.0, False, True, True),
        (0.3, 0.30000000000000004, False, True, False),
        (0.31, 0.3, False, False, False),
        (3.0000001, 3, False, False, False),
        ("3", 3, False, False, False),
        ([1, 2], [2, 1], False, False, False),
        ([1], [1, 2], False, False, False),
        ({"a": 1}, {"b": 1}, False, False, False),
        ([], [[]], True, True, True),
        (None, [], False, False, False),
        (0, None, False, False, False),
        (10**400, 1.0, False, False, False),
    ],
)
def test_returned_values(returned: Any, expected: Any, wrapped: bool, strict: bool, apps: bool) -> None:
    assert same_value(STRICT, returned, expected, wrapped=wrapped) is strict
    assert same_value(APPS, returned, expected, wrapped=wrapped) is apps


@pytest.mark.parametrize("comparator", Comparator)
def test_returned_integers_of_any_length(comparator: Comparator) -> None:
    limit = sys.get_int_max_str_digits()

    assert same_value(comparator, parsed(f"[-{LONG}]"), parsed(f"[-{LONG}]"), wrapped=False)
    assert not same_value(comparator, parsed(f"[{OTHER_LONG}]"), parsed(f"[{LONG}]"), wrapped=False)
    assert not same_value(comparator, parsed(LONG), parsed(f'"{LONG}"'), wrapped=False)
    assert sys.get_int_max_str_digits() == limit


def test_not_a_number_equals_itself_only_in_strict() -> None:
    assert same_value(STRICT, parsed("[NaN]"), parsed("[NaN]"), wrapped=False)
    assert not same_value(STRICT, 1.0, parsed("NaN"), wrapped=False)
    assert not same_value(STRICT, parsed("Infinity"), 1.5, wrapped=False)


def test_nesting_beyond_pythons_recursion_is_compared() -> None:
    deep, other = 1, 2
    for _ in range(sys.getrecursionlimit() * 3):
        deep, other = [deep], [other]  # type: ignore[assignment]

    assert strictly_equal(deep, deep)
    assert not strictly_equal(deep, other)


@pytest.mark.parametrize("comparator", Comparator)
@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1" * 1_000_000 + "x", "0.5"),
        ("1" * 1_000_000, "0.5"),
        ("1." + "1" * 1_000_000 + "x", "0.5"),
        ("\n" * 1_000_000, "0.5"),
        ("1 " * 500_000, "0.5"),
    ],
    ids=["digits and a letter", "digits", "decimals and a letter", "lines", "tokens"],
)
def test_a_flood_is_compared_in_linear_time(comparator: Comparator, printed: str, expected: str) -> None:
    started_seconds = time.monotonic()

    assert not same_output(comparator, printed.encode(), expected)
    # One comparison of a million characters in quadratic time takes hours.
    assert time.monotonic() - started_seconds < 20


def test_a_returned_integer_of_a_million_digits_is_read_in_linear_time() -> None:
    started_seconds = time.monotonic()

    assert not same_value(STRICT, parsed("7" * 1_000_000), 7, wrapped=False)
    assert time.monotonic() - started_seconds < 5


def test_text_that_is_not_json_is_a_value_error() -> None:
    with pytest.raises(json.JSONDecodeError):
        parsed(b"{")
