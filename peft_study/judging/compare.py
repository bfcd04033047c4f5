"""Compares outputs with expected outputs under two rules, which are reported side by side.

`apps` accepts what the published APPS checker accepts (Hendrycks et al. 2021, "Measuring Coding Challenge Competence
With APPS", eval/testing_util.py, also in the hub's codeparrot/apps_metric). Papers report numbers made with it. It
ignores the order and repetitions of lines and of tokens in a line. It accepts a relative error of 1e-5 in any number,
integers included, and any two numbers beyond 1e308, which both read as infinite.

`strict` requires equal lines and tokens in order. Only if the expected number is written as a non-integer ("0.5",
"3.0", "1e-3") may the answer differ, by STRICT_TOLERANCE.

This module runs and unpickles nothing: printed bytes are decoded, and returned values are plain JSON.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

STRICT_TOLERANCE = 1e-6
"""Largest absolute error, or error relative to the expected number, whichever is larger. Contest judges commonly use it
(`rcmp6` of testlib)."""
DIGITS_AT_ONCE = 4_300
"""Limit on the digits of an integer that Python reads (sys.int_info.default_max_str_digits). Longer integers take
quadratic time."""
_ROUNDED_DIGITS = 3  # as the published checker rounds
_NON_INTEGER = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class Comparator(StrEnum):
    """The two rules."""

    strict = "strict"
    apps = "apps"


@dataclass(frozen=True)
class LongInteger:
    """An integer above DIGITS_AT_ONCE digits. JSON has a unique form for each, so the digits identify the value."""

    digits: str


def parsed(text: str | bytes) -> Any:
    """Read JSON with integers of any length, in linear time.

    Integers of more than DIGITS_AT_ONCE digits become LongInteger. Limits of the process stay unchanged.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested beyond Python's limit.
    """
    return json.loads(text, parse_int=_integer)


def same_output(comparator: Comparator, printed: bytes, expected: str) -> bool:
    """Return whether a program printed the expected output.

    Args:
        comparator: the rule.
        printed: the whole standard output. Bytes that are not UTF-8 equal nothing.
        expected: the expected text.
    """
    # Escaped bytes become lone surrogates, which `problems` refuses in expected text.
    text = printed.decode("utf-8", "surrogateescape")
    return _apps_output(text, expected) if comparator is Comparator.apps else _strict_output(text, expected)


def same_value(comparator: Comparator, returned: Any, expected: Any, *, wrapped: bool) -> bool:
    """Return whether a function returned the expected value.

    Args:
        comparator: the rule.
        returned: the value as `parsed` returns it (tuples are lists, keys are text).
        expected: the output of the test in APPS, in the same form.
        wrapped: every expected output of the problem is a list of one element. APPS writes some answers with a list
            around them and does not mark them, so `strict` then accepts both forms.
    """
    if comparator is Comparator.apps:
        return _apps_value(returned, expected)
    return strictly_equal(returned, expected) or (wrapped and strictly_equal(returned, expected[0]))


def _integer(digits: str) -> int | LongInteger:
    return int(digits) if len(digits) <= DIGITS_AT_ONCE else LongInteger(digits)


# --- apps ---


def _apps_output(printed: str, expected: str) -> bool:
    """The checks of the published checker, from exact to lenient. Checks that an earlier one implies are left out."""
    lines = printed.splitlines()
    if expected.strip() in ("\n".join(lines).strip(), "\n".join(line.strip() for line in lines).strip()):
        return True
    expected_lines = [line.strip() for line in expected.split("\n") if line]
    printed_lines = [line for line in lines if line]
    return (
        expected_lines in (lines, printed_lines)
        or _all_close(printed_lines, expected_lines)
        or _same_sets(printed_lines, expected_lines, frozenset)
        or _same_sets(printed_lines, expected_lines, _rounded)
    )


def _all_close(printed: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether each line is a number within numpy's default tolerance of the expected one: 1e-8 + 1e-5 * |expected|."""
    if len(printed) != len(expected):
        return False
    try:
        return bool(np.allclose([float(line) for line in printed], [float(line) for line in expected]))
    except ValueError:
        return False


def _rounded(tokens: list[str]) -> frozenset[float]:
    return frozenset(round(float(token), _ROUNDED_DIGITS) for token in tokens)


def _same_sets(printed: Iterable[str], expected: Iterable[str], form: Callable[[list[str]], frozenset[Any]]) -> bool:
    """Whether both have the same set of lines, each a set of tokens."""
    # The published checker drops empty lines of the expected text before it strips lines, and those of the output
    # after. So no output matches an expected line of blanks.
    try:
        expected_forms = {form(line.split()) for line in expected}
        printed_forms = set()
        for line in printed:
            if tokens := line.split():
                # Return early, so that a flood of lines is not held in memory a second time.
                if (line_form := form(tokens)) not in expected_forms:
                    return False
                printed_forms.add(line_form)
    except ValueError:
        return False
    return printed_forms == expected_forms


def _apps_value(returned: Any, expected: Any) -> bool:
    """Python's equality with the expected output, or with its first element if it is a list."""
    # The published checker converts tuples to lists at the top and one level below. JSON converts them at every depth.
    return bool(returned == expected) or (isinstance(expected, list) and expected != [] and returned == expected[0])


# --- strict ---


def _strict_output(printed: str, expected: str) -> bool:
    """Compare line by line. Blank lines count between others, not at the start or end."""
    printed_lines, expected_lines = printed.strip().split("\n"), expected.strip().split("\n")
    return len(printed_lines) == len(expected_lines) and all(map(_same_line, printed_lines, expected_lines))


def _same_line(printed: str, expected: str) -> bool:
    printed_tokens, expected_tokens = printed.split(), expected.split()
    return len(printed_tokens) == len(expected_tokens) and all(map(_same_token, printed_tokens, expected_tokens))


def _same_token(printed: str, expected: str) -> bool:
    if printed == expected:
        return True
    # Integers compare as text, so they may have any length.
    are_numbers = _NON_INTEGER.fullmatch(expected) and _NUMBER.fullmatch(printed)
    return bool(are_numbers) and _near(float(printed), float(expected))


def _near(number: float, expected: float) -> bool:
    # An infinite bound would accept anything.
    return abs(number - expected) <= STRICT_TOLERANCE * max(1.0, abs(expected)) < float("inf")


def strictly_equal(returned: Any, expected: Any) -> bool:
    """Return whether two JSON values are equal, including their types: 1, 1.0 and true differ.

    A non-integer (4.0 counts as one) equals an integer or another non-integer within STRICT_TOLERANCE, and NaN equals
    NaN. Nesting may have any depth.
    """
    # Without recursion, because a program chooses how deep its value nests.
    pairs = [(returned, expected)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(right, float):
            if not _same_number(left, right):
                return False
        # Python's True equals 1, and 1 equals 1.0.
        elif type(left) is not type(right):
            return False
        elif isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs.extend((left[key], right[key]) for key in right)
        elif left != right:
            return False
    return True


def _same_number(value: Any, expected: float) -> bool:
    if type(value) not in (int, float):
        return False
    try:
        number = float(value)
    except OverflowError:  # an integer beyond 1e308
        return False
    return number == expected or (math.isnan(number) and math.isnan(expected)) or _near(number, expected)
