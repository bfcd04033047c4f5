"""Whether what a program gave is what was expected, under two rules that are reported side by side.

`apps` accepts what the checker published with APPS accepts (Hendrycks et al. 2021, "Measuring Coding Challenge
Competence With APPS", eval/testing_util.py, which the hub's codeparrot/apps_metric carries too). Numbers in papers
were made with it. It forgives a lot: the order of lines and of the tokens in a line, repetitions of both, a relative
error of 1e-5 in any number (integers included), and any two numbers beyond 1e308, which both read as infinite.

`strict` asks for the answer: lines in order, tokens in order and equal. Only where the expected number is written as
a non-integer ("0.5", "3.0", "1e-3") may the answer differ, by STRICT_TOLERANCE.

Nothing here runs or unpickles anything: printed bytes are decoded, and returned values are plain JSON.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

STRICT_TOLERANCE = 1e-6
"""Largest error, absolute or relative to the expected number, whichever is larger: what contest judges commonly use
(`rcmp6` of testlib)."""
DIGITS_AT_ONCE = 4_300
"""Python reads integers of at most so many digits at once (sys.int_info.default_max_str_digits), because longer ones
take quadratic time."""
_ROUNDED_DIGITS = 3
_NON_INTEGER = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class Comparator(StrEnum):
    """The two rules."""

    strict = "strict"
    apps = "apps"


@dataclass(frozen=True)
class LongInteger:
    """An integer of more digits than Python reads at once; JSON writes each in one way, so digits are the value."""

    digits: str


def parsed(text: str | bytes) -> Any:
    """Read JSON with integers of any length, in time linear in its length.

    Integers of more than DIGITS_AT_ONCE digits become LongInteger, and no process-wide limit is touched.

    Raises:
        ValueError: the text is not JSON (RecursionError: nested beyond Python's limit).
    """
    return json.loads(text, parse_int=_integer)


def same_output(comparator: Comparator, printed: bytes, expected: str) -> bool:
    """Whether a program printed what was expected.

    Args:
        comparator: the rule.
        printed: all of the standard output; what is not UTF-8 equals nothing.
        expected: the expected text.
    """
    text = printed.decode("utf-8", "surrogateescape")
    return _apps_output(text, expected) if comparator is Comparator.apps else _strict_output(text, expected)


def same_value(comparator: Comparator, returned: Any, expected: Any, *, wrapped: bool) -> bool:
    """Whether a function returned what was expected.

    Args:
        comparator: the rule.
        returned: the value, as `parsed` gives it (tuples are lists, keys are text).
        expected: what APPS gives as the output of the test, in the same form.
        wrapped: every expected output of the problem is a list of one element, so that it may be the answer or a list
            around it. The data holds both forms and does not say which; `strict` then accepts both, and otherwise
            only the expected output itself.
    """
    if comparator is Comparator.apps:
        return _apps_value(returned, expected)
    return strictly_equal(returned, expected) or (wrapped and strictly_equal(returned, expected[0]))


def _integer(digits: str) -> int | LongInteger:
    return int(digits) if len(digits) <= DIGITS_AT_ONCE else LongInteger(digits)


# --- apps ---


def _apps_output(printed: str, expected: str) -> bool:
    """The published ladder, from exact to lenient. A rung that the rung before it implies is left out."""
    lines = printed.splitlines()
    if expected.strip() in ("\n".join(lines).strip(), "\n".join(line.strip() for line in lines).strip()):
        return True
    wanted = [line.strip() for line in expected.split("\n") if line]
    filled = [line for line in lines if line]
    return (
        wanted in (lines, filled)
        or _all_close(filled, wanted)
        or _same_sets(filled, wanted, frozenset)
        or _same_sets(filled, wanted, _rounded)
    )


def _all_close(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether each line is one number near the expected one, in numpy's default sense: 1e-8 + 1e-5 * |expected|."""
    if len(lines) != len(wanted):
        return False
    try:
        given, right = [float(line) for line in lines], [float(line) for line in wanted]
    except ValueError:
        return False
    return bool(np.allclose(given, right))


def _same_sets(lines: Iterable[str], wanted: Iterable[str], form: Callable[[list[str]], frozenset[Any]]) -> bool:
    """Whether both have the same set of lines, each a set of tokens.

    The published checker drops empty lines of the expected text before it strips them, and those of the output after:
    a line of blanks is one that no output has.
    """
    try:
        right = {form(line.split()) for line in wanted}
        seen = set()
        for line in lines:
            if tokens := line.split():
                # A flood of lines ends here, before it is held in memory a second time.
                if (given := form(tokens)) not in right:
                    return False
                seen.add(given)
    except ValueError:
        return False
    return seen == right


def _rounded(tokens: Iterable[str]) -> frozenset[float]:
    return frozenset(round(float(token), _ROUNDED_DIGITS) for token in tokens)


def _apps_value(returned: Any, expected: Any) -> bool:
    """Python's equality with the expected output, or with its first element where it is a list.

    The published checker turns tuples into lists at the top and one level below; JSON does so at every depth.
    """
    return bool(returned == expected) or (isinstance(expected, list) and expected != [] and returned == expected[0])


# --- strict ---


def _strict_output(printed: str, expected: str) -> bool:
    """Line by line; blank lines count between others, not around them."""
    given, right = printed.strip().split("\n"), expected.strip().split("\n")
    return len(given) == len(right) and all(map(_same_line, given, right))


def _same_line(given: str, wanted: str) -> bool:
    tokens, right = given.split(), wanted.split()
    return len(tokens) == len(right) and all(map(_same_token, tokens, right))


def _same_token(given: str, wanted: str) -> bool:
    if given == wanted:
        return True
    # Integers are never read as numbers, so that theirs may be of any length.
    return bool(_NON_INTEGER.fullmatch(wanted) and _NUMBER.fullmatch(given)) and _near(float(given), float(wanted))


def _near(given: float, wanted: float) -> bool:
    return abs(given - wanted) <= STRICT_TOLERANCE * max(1.0, abs(wanted)) < float("inf")


def strictly_equal(returned: Any, expected: Any) -> bool:
    """Whether two JSON values are equal, type by type: 1, 1.0 and true differ.

    Where a number is expected that is not an integer (4.0 is none in JSON), an integer or another such number within
    STRICT_TOLERANCE is equal to it, and "not a number" equals itself. Nesting of any depth is compared.
    """
    pairs = [(returned, expected)]
    while pairs:
        given, wanted = pairs.pop()
        if isinstance(wanted, float):
            if not _same_number(given, wanted):
                return False
        elif type(given) is not type(wanted):
            return False
        elif isinstance(wanted, list):
            if len(given) != len(wanted):
                return False
            pairs.extend(zip(given, wanted, strict=True))
        elif isinstance(wanted, dict):
            if given.keys() != wanted.keys():
                return False
            pairs.extend((given[key], wanted[key]) for key in wanted)
        elif given != wanted:
            return False
    return True


def _same_number(given: Any, wanted: float) -> bool:
    if type(given) not in (int, float):
        return False
    try:
        number = float(given)
    except OverflowError:
        return False
    return number == wanted or (number != number and wanted != wanted) or _near(number, wanted)
