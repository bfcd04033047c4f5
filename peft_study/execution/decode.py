"""Reads what `encode.to_tagged` wrote; the bytes may come from anybody."""

import builtins
import datetime
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

_MOST_HASHED = 10_000
"""Members of a set or dict: integers can be chosen to collide, and then take the square of their number."""


class Opaque:
    """Stands for an object of which nothing is known but that it is none of the values that have a form as bytes.

    So it is not None and equals nothing but itself.
    """


TYPES = {name: kind for name, kind in vars(builtins).items() if type(kind) is type}
"""The built-in types, exceptions included, by name."""


class NotAValueError(Exception):
    """Bytes that stand for no value."""


def from_tagged(value: Any) -> Any:
    """Build a value.

    Args:
        value: parsed JSON.

    Raises:
        NotAValueError: it stands for none.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or value[0] not in _FORMS:
        raise NotAValueError("an unknown form of value")
    try:
        return _FORMS[value[0]](value[1:])
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise NotAValueError(str(error)) from error


def _parts(values: list[Any]) -> list[Any]:
    return [from_tagged(value) for value in values]


def _hashed(values: list[Any], most: int = _MOST_HASHED) -> list[Any]:
    if len(values) > most:
        raise NotAValueError(f"more than {most} members")
    return _parts(values)


def _dict(values: list[Any]) -> dict[Any, Any]:
    members = _hashed(values, 2 * _MOST_HASHED)
    return dict(zip(members[::2], members[1::2], strict=True))


_FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "i": lambda values: int(values[0], 16),
    "f": lambda values: float.fromhex(values[0]),
    "c": lambda values: complex(values[0]),
    "b": lambda values: bytes.fromhex(values[0]),
    "B": lambda values: bytearray.fromhex(values[0]),
    "l": _parts,
    "t": lambda values: tuple(_parts(values)),
    "q": lambda values: deque(_parts(values)),
    "s": lambda values: set(_hashed(values)),
    "z": lambda values: frozenset(_hashed(values)),
    "d": _dict,
    "r": lambda values: range(*_parts(values)),
    "K": lambda values: dict.fromkeys(_hashed(values)).keys(),
    "V": lambda values: dict(enumerate(_parts(values))).values(),
    "I": lambda values: _dict(values).items(),
    "k": lambda values: TYPES[values[0]],
    "o": lambda values: Opaque(),
    "D": lambda values: Decimal(values[0]),
    "F": lambda values: Fraction(*_parts(values)),
    "T": lambda values: datetime.datetime.fromisoformat(values[0]),
    "y": lambda values: datetime.date.fromisoformat(values[0]),
    "h": lambda values: datetime.time.fromisoformat(values[0]),
    "w": lambda values: datetime.timedelta(*_parts(values)),
}
