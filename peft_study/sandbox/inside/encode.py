"""Encodes values of a program in two forms, without calling anything that the program may have defined.

`to_json` encodes the return value of a call: JSON values, with tuples as lists. `to_tagged` encodes the values that
assertions compare: it distinguishes tuples from lists, and covers sets, complex numbers and other types. Types are read
from `type(value)`, because an object can lie about `__class__`. A subclass of a built-in type is read by the methods of
the built-in type.
"""

import builtins
import datetime
import sys
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any

# Functions keep the built-ins that exist when they are defined, so a program cannot replace them.
globals()["__builtins__"] = dict(vars(builtins))

Write = Callable[[Any, "Write"], str]
_lineage = type.__dict__["__mro__"].__get__
_unlimited_digits = getattr(sys, "set_int_max_str_digits", lambda digits: None)
_quote = encode_basestring_ascii
_SMALL = 1 << 53  # larger integers are sent in hexadecimal, because decimal digits take quadratic time
_MOST_MEMBERS = 10_000
OPAQUE = '["o"]'
"""Stands for an object that cannot be encoded."""
# By identity, because a class of a program may define hash and equality.
_NAMES_OF_TYPES = {id(kind): name for name, kind in vars(builtins).items() if type(kind) is type}


class NotPlainError(Exception):
    """The value cannot be encoded."""


def know_scalars(base: type) -> None:
    """Encode the scalars of a package as the plain values that `item` returns.

    Args:
        base: their common base class, for example numpy.generic.
    """
    item = base.item  # type: ignore[attr-defined]

    def form(value: Any, write: Write) -> str:
        plain = item(value)
        if base in _lineage(type(plain)):  # a long double
            raise NotPlainError(f"a value of type {type.__repr__(type(value))} is not plain data")
        return write(plain, write)

    def tagged(value: Any, write: Write) -> str:
        # As an integer: numpy's True equals True, but is not True.
        return form(value, write) if type(item(value)) is not bool else write(int(item(value)), write)

    _JSON[base], _TAGGED[base] = form, tagged


def to_json(value: Any) -> str:
    """Encode a value as JSON.

    Raises:
        NotPlainError: the value, or a part of it, is not None, a number, text, a list, a tuple or a dict. Keys of a
            dict must be text, numbers, booleans or None.
    """
    return _write(value, _JSON)


def to_tagged(value: Any) -> str:
    """Encode a value as JSON. All values except None, booleans, text and small integers become a list with a tag.

    Raises:
        NotPlainError: the value, or a part of it, is of a type that the program or a test defines, or it is nested
            beyond the recursion limit.
    """
    try:
        return _write(value, _TAGGED)
    except RecursionError as error:
        raise NotPlainError("a value that is nested too deeply is not plain data") from error


def to_tagged_open(value: Any) -> str:
    """Encode a value as `to_tagged` does, with `OPAQUE` for each part that cannot be encoded."""
    try:
        return _write_open(value, _write_open)
    except RecursionError:
        return OPAQUE


def members_tagged(value: Any) -> str:
    """Encode the right side of `in`. A value that cannot be encoded is replaced by the list of its members.

    The list is cut, because an iterator may be infinite.
    """
    if _form_of(type(value), _TAGGED) is not None:
        return to_tagged_open(value)
    try:
        iterator = iter(value)
    except TypeError:
        return OPAQUE
    return to_tagged_open([*islice(iterator, _MOST_MEMBERS)])


def has_equality_of_its_class(value: Any) -> bool:
    """Return whether a value, or a member of it, is of a subclass that overrides the equality of a built-in type.

    Examples are OrderedDict and the calls of a Mock.
    """
    kind = type(value)
    equality = next((vars(base)["__eq__"] for base in _lineage(kind) if "__eq__" in vars(base)), None)
    plain = next((base for base in _lineage(kind) if base in _TAGGED), None)
    if plain is not None and equality is not plain.__eq__:
        return True
    members: Any = ()
    if plain is dict:
        members = dict.values(value)
    elif plain is list or plain is tuple:
        members = plain.__iter__(value)
    return any(has_equality_of_its_class(member) for member in members if member is not value)


def _write(value: Any, forms: dict[type, Write]) -> str:
    form = _form_of(type(value), forms)
    if form is None:
        raise NotPlainError(f"a value of type {type.__repr__(type(value))} is not plain data")
    return form(value, lambda part, _: _write(part, forms))


def _write_open(value: Any, write: Write) -> str:
    form = _form_of(type(value), _TAGGED)
    if form is None:
        return OPAQUE
    try:
        return form(value, _write_open)
    except NotPlainError:
        return OPAQUE


def _form_of(kind: type, forms: dict[type, Write]) -> Write | None:
    if kind in forms:
        return forms[kind]
    return next((forms[base] for base in _lineage(kind) if base in forms), None)


def _integer(value: int, write: Write) -> str:
    # APPS expects integers of more than 9,000 digits, and Python refuses to write more than 4,300.
    _unlimited_digits(0)
    return int.__repr__(value)


def _builtin_type(value: type, write: Write) -> str:
    name = _NAMES_OF_TYPES.get(id(value))
    if name is None:
        raise NotPlainError("a type that is not built in is not plain data")
    return f'["k","{name}"]'


def _big_integer(value: int, write: Write) -> str:
    exact = int.__add__(value, 0)  # a subclass may define comparisons and formats
    return int.__repr__(exact) if -_SMALL < exact < _SMALL else f'["i","{exact:x}"]'


def _number(value: float, write: Write) -> str:
    text = float.__repr__(value)
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text, text)


def _key(key: Any) -> str:
    kind = type(key)
    if str in _lineage(kind):
        return _quote(key)
    if kind in (bool, type(None), float) or int in _lineage(kind):
        return f'"{_write(key, _JSON)}"'
    raise NotPlainError(f"a dict's key of type {type.__repr__(kind)} is not plain data")


def _sequence(tag: str, parts: Callable[[Any], Any]) -> Write:
    start = f'["{tag}"' if tag else "["

    def form(value: Any, write: Write) -> str:
        written = [write(part, write) for part in parts(value)]
        return (start + "," + ",".join(written) if tag and written else start + ",".join(written)) + "]"

    return form


def _tagged_text(tag: str, text: Callable[[Any], str]) -> Write:
    return lambda value, write: f'["{tag}",{_quote(text(value))}]'


def _fields(tag: str, *names: str) -> Write:
    def form(value: Any, write: Write) -> str:
        return f'["{tag}",' + ",".join(write(getattr(value, name), write) for name in names) + "]"

    return form


def _plain_only(kind: type, form: Write) -> Write:
    """Restrict a form to the exact type. Its parts are read through attributes, which a subclass can redefine."""

    def checked(value: Any, write: Write) -> str:
        if type(value) is not kind:
            raise NotPlainError(f"a subclass of {kind.__name__} is not plain data")
        return form(value, write)

    return checked


_Keys: Any = type({}.keys())
_Values: Any = type({}.values())
_Items: Any = type({}.items())
_SCALARS: dict[type, Write] = {
    type(None): lambda value, write: "null",
    bool: lambda value, write: "true" if value is True else "false",
    str: lambda value, write: _quote(value),
}
_SINGLETONS: dict[type, Write] = {
    type(...): lambda value, write: '["."]',
    type(NotImplemented): lambda value, write: '["n"]',
}
_JSON: dict[type, Write] = _SCALARS | {
    int: _integer,
    float: _number,
    list: _sequence("", list.__iter__),
    tuple: _sequence("", tuple.__iter__),
    dict: lambda value, write: (
        "{" + ",".join(f"{_key(key)}:{write(part, write)}" for key, part in dict.items(value)) + "}"
    ),
}
_TAGGED: dict[type, Write] = (
    _SCALARS
    | _SINGLETONS
    | {
        int: _big_integer,
        float: _tagged_text("f", float.hex),
        complex: lambda value, write: f'["c",{_quote(complex.__repr__(value))}]',
        bytes: _tagged_text("b", bytes.hex),
        bytearray: _tagged_text("B", bytearray.hex),
        list: _sequence("l", list.__iter__),
        tuple: _sequence("t", tuple.__iter__),
        set: _sequence("s", set.__iter__),
        frozenset: _sequence("z", frozenset.__iter__),
        deque: _sequence("q", deque.__iter__),
        dict: _sequence("d", lambda value: [part for pair in dict.items(value) for part in pair]),
        _Keys: _sequence("K", _Keys.__iter__),
        _Values: _sequence("V", _Values.__iter__),
        _Items: _sequence("I", lambda value: [part for pair in _Items.__iter__(value) for part in pair]),
    }
)
_TAGGED[type] = _builtin_type
for _kind, _form in (
    (range, _fields("r", "start", "stop", "step")),
    (Decimal, _tagged_text("D", Decimal.__str__)),
    (Fraction, _fields("F", "numerator", "denominator")),
    (datetime.datetime, _tagged_text("T", datetime.datetime.isoformat)),
    (datetime.date, _tagged_text("y", datetime.date.isoformat)),
    (datetime.time, _tagged_text("h", datetime.time.isoformat)),
    (datetime.timedelta, _fields("w", "days", "seconds", "microseconds")),
):
    _TAGGED[_kind] = _plain_only(_kind, _form)
