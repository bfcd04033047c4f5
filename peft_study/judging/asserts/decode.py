"""Decodes what `encode.to_tagged` wrote. The bytes are untrusted.

Comparisons, sums and roundings of a decoded value take time linear in its size. Bytes that would need more time are
refused, because they would block the other threads of the parent.
"""

import builtins
import datetime
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

_MOST_HASHED = 100_000
# A program can choose numbers and tuples that all have the same hash, and then a set takes quadratic time. In honest
# programs, hashes collide only by chance or in pairs (-1 and -2).
_MOST_COLLISIONS = 8
_MOST_BITS = 1 << 18  # comparison with a Decimal converts an integer in quadratic time
_MOST_FRACTION_BITS = 10_000  # arithmetic multiplies numerators and denominators, and reduces them
_MOST_DECIMAL_DIGITS = 10_000  # also of the exponent, which a comparison with a fraction expands
_MOST_STEPS = 1_000_000  # a search for a non-integer in a range visits every member
_MOST_ROUNDED_DIGITS = 400  # more than any float has before or after its point


class Opaque:
    """Stands for an object that the sandbox could not encode. It is not None and equals only itself."""


TYPES = {name: kind for name, kind in vars(builtins).items() if type(kind) is type}
"""The built-in types, exceptions included, by name."""


class NotAValueError(Exception):
    """The bytes do not encode a value."""


def from_tagged(value: Any) -> Any:
    """Decode a value from parsed JSON.

    Raises:
        NotAValueError: the JSON does not encode a value, or the value is too expensive.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or value[0] not in _FORMS:
        raise NotAValueError("an unknown form of value")
    try:
        return _FORMS[value[0]](value[1:])
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        raise NotAValueError(str(error)[:200]) from error


def small_integer(text: str) -> int:
    """Read an integer for `json.loads`. Large integers have a tagged form instead.

    Raises:
        NotAValueError: the integer is too large.
    """
    if len(text) > len(str(-(1 << 53))):
        raise NotAValueError("an integer that is too long")
    return int(text)


def bounded_round(number: Any, ndigits: Any = None) -> Any:
    """`round` for untrusted arguments.

    Raises:
        NotAValueError: so many digits would take too long.
    """
    if ndigits is None:
        return round(number)
    if not isinstance(ndigits, int) or abs(ndigits) > _MOST_ROUNDED_DIGITS:
        raise NotAValueError("rounded to too many digits")
    return round(number, ndigits)


def _parts(values: list[Any]) -> list[Any]:
    return [from_tagged(value) for value in values]


def _integer(values: list[Any]) -> int:
    if len(values[0]) * 4 > _MOST_BITS:
        raise NotAValueError("an integer that is too long")
    return int(values[0], 16)


def _integers(values: list[Any], most_bits: int) -> list[int]:
    integers = _parts(values)
    if not all(type(value) is int and value.bit_length() <= most_bits for value in integers):
        raise NotAValueError("not an integer, or one that is too long")
    return integers


def _hashable(values: list[Any]) -> list[Any]:
    if len(values) > _MOST_HASHED:
        raise NotAValueError(f"more than {_MOST_HASHED} members")
    collisions = 1
    for first, second in pairwise(sorted(map(hash, values))):
        collisions = collisions + 1 if first == second else 1
        if collisions > _MOST_COLLISIONS:
            raise NotAValueError("members chosen to collide")
    return values


def _dict(values: list[Any]) -> dict[Any, Any]:
    members = _parts(values)
    return dict(zip(_hashable(members[::2]), members[1::2], strict=True))


def _items(values: list[Any]) -> Any:
    built = _dict(values).items()
    with suppress(TypeError):  # values without a hash cannot collide
        _hashable(list(built))
    return built


def _range(values: list[Any]) -> range:
    built = range(*_integers(values, 63))
    # Not `len`, which fails on lengths above a C integer.
    if built and abs(built[-1] - built.start) // abs(built.step) >= _MOST_STEPS:
        raise NotAValueError("a range that is too long")
    return built


def _decimal(values: list[Any]) -> Decimal:
    if len(values[0]) > _MOST_DECIMAL_DIGITS:
        raise NotAValueError("too many digits")
    built = Decimal(values[0])
    if abs(built.adjusted()) > _MOST_DECIMAL_DIGITS:
        raise NotAValueError("an exponent that is too large")
    return built


def _fraction(values: list[Any]) -> Fraction:
    numerator, denominator = _integers(values, _MOST_FRACTION_BITS)
    return Fraction(numerator, denominator)


_FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "i": _integer,
    "f": lambda values: float.fromhex(values[0]),
    "c": lambda values: complex(values[0]),
    "b": lambda values: bytes.fromhex(values[0]),
    "B": lambda values: bytearray.fromhex(values[0]),
    "l": _parts,
    "t": lambda values: tuple(_parts(values)),
    "q": lambda values: deque(_parts(values)),
    "s": lambda values: set(_hashable(_parts(values))),
    "z": lambda values: frozenset(_hashable(_parts(values))),
    "d": _dict,
    "r": _range,
    ".": lambda values: ...,
    "n": lambda values: NotImplemented,
    "K": lambda values: dict.fromkeys(_hashable(_parts(values))).keys(),
    "V": lambda values: dict(enumerate(_parts(values))).values(),
    "I": _items,
    "k": lambda values: TYPES[values[0]],
    "o": lambda values: Opaque(),
    "D": _decimal,
    "F": _fraction,
    "T": lambda values: datetime.datetime.fromisoformat(values[0]),
    "y": lambda values: datetime.date.fromisoformat(values[0]),
    "h": lambda values: datetime.time.fromisoformat(values[0]),
    "w": lambda values: datetime.timedelta(*_integers(values, 63)),
}
