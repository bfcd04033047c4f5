"""Values as bytes and back."""

import datetime
import itertools
import json
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_study.judging.asserts.decode import NotAValueError, Opaque, from_tagged
from peft_study.sandbox.inside.encode import OPAQUE, NotPlainError, members_tagged, to_json, to_tagged, to_tagged_open

Pair = namedtuple("Pair", "left right")


class Colour(IntEnum):
    """A subclass of int."""

    red = 3


class Liar(int):
    """Says what it is not, wherever it is asked."""

    def __repr__(self) -> str:
        return "2"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 2


class Pretender:
    """Claims another class."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        return int


class Spender(list[int]):
    """A list with other members than it shows."""

    def __iter__(self) -> Any:
        return iter([2])

    def __len__(self) -> int:
        return 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_tagged_values_are_decoded_unchanged(value: Any) -> None:
    back = from_tagged(json.loads(to_tagged(value)))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5000, id="10^5000"),
        -(2**60),
        float("inf"),
        1e-320,
        3 + 4j,
        complex("-0+nanj").imag,
        range(1, 9, 2),
        Decimal("1.50"),
        Fraction(1, 3),
        datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
        datetime.date(2020, 1, 2),
        datetime.time(1, 2),
        datetime.timedelta(days=-1, microseconds=5),
        deque([1, (2,)]),
        bytearray(b"x"),
        "\ud800\x00",
    ],
)
def test_more_tagged_values_are_decoded(value: Any) -> None:
    back = from_tagged(json.loads(to_tagged(value)))
    assert back == value or value != value
    assert type(back) is type(value)


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    """The encoder, which runs in a process of its own, lifts the limit of digits."""
    limit = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Pair(1, 2), (1, 2)),
        (Colour.red, 3),
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(int, {"a": 1}), {"a": 1}),
        (Liar(7), 7),
        (Spender([9]), [9]),
    ],
)
def test_subclasses_are_decoded_as_their_base_types(value: Any, plain: Any) -> None:
    back = from_tagged(json.loads(to_tagged(value)))
    assert repr(back) == repr(plain)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, [2, (3,)]), "[1,[2,[3]]]"),
        ({1: None, False: 2.5, "a": "é"}, None),
        ({2: None, 2.5: True}, '{"2":null,"2.5":true}'),
        pytest.param(10**5000, "1" + "0" * 5000, id="10^5000"),
        ([float("inf"), float("-inf")], "[Infinity,-Infinity]"),
        (Liar(7), "7"),
        (Colour.red, "3"),
        (Spender([9]), "[9]"),
        ("\ud800", '"\\ud800"'),
        ([], "[]"),
    ],
)
def test_json_of_returned_values(value: Any, text: str | None) -> None:
    assert to_json(value) == (json.dumps(value, separators=(",", ":")) if text is None else text)


@pytest.mark.parametrize(
    "value", [object(), pytest.param(Pretender(), id="pretender"), {1, 2}, b"x", iter([]), {(1, 2): 3}, [lambda: 0], 1j]
)
def test_values_that_are_not_plain_are_not_json(value: Any) -> None:
    with pytest.raises(NotPlainError, match="is not plain data"):
        to_json(value)


@pytest.mark.parametrize(
    "value", [object(), pytest.param(Pretender(), id="pretender"), iter([]), map(int, []), [len], Pair, type(None)]
)
def test_values_that_are_not_plain_are_not_tagged(value: Any) -> None:
    with pytest.raises(NotPlainError, match="is not plain data"):
        to_tagged(value)


class Lying(type):
    """Classes that are equal to whatever they are looked up by."""

    def __eq__(cls, other: object) -> bool:
        return True

    def __hash__(cls) -> int:
        return hash(int)


@pytest.mark.parametrize("kind", [int, type, object, ValueError, OSError, dict])
def test_built_in_types_are_decoded_by_name(kind: type) -> None:
    assert from_tagged(json.loads(to_tagged([kind]))) == [kind]


def test_a_class_that_equals_built_in_types_is_not_one() -> None:
    assert to_tagged_open(Lying("Kind", (), {})) == OPAQUE


def test_views_of_dicts_compare_as_they_do() -> None:
    content = {"a": [1], "b": 2}
    keys, values, items = (
        from_tagged(json.loads(to_tagged(view))) for view in (content.keys(), content.values(), content.items())
    )

    assert keys == {"a", "b"} == OrderedDict(content).keys()
    assert items == content.items()
    assert (2 in values, values == [[1], 2]) == (True, False)


def test_objects_without_a_form_are_opaque_at_any_depth() -> None:
    back = from_tagged(json.loads(to_tagged_open([object(), {1: Pretender()}, (2, len)])))

    assert [type(part) for part in (back[0], back[1][1], back[2][1])] == [Opaque] * 3
    assert from_tagged(json.loads(OPAQUE)) not in (None, 3, from_tagged(json.loads(OPAQUE)))


@pytest.mark.parametrize(
    ("value", "members"),
    [((1, 2), (1, 2)), (iter([3, 4]), [3, 4]), ("ab", "ab"), (itertools.count(), list(range(10_000)))],
    ids=["tuple", "iterator", "text", "endless"],
)
def test_members_of_containers(value: Any, members: Any) -> None:
    assert from_tagged(json.loads(members_tagged(value))) == members


def test_an_object_without_members_is_opaque() -> None:
    assert members_tagged(object()) == OPAQUE


@pytest.mark.parametrize(
    "forged",
    [
        [],
        ["?"],
        [1],
        {},
        ["i", "zz"],
        ["i"],
        ["d", 1],
        ["s", ["l"]],
        ["f", "x"],
        ["r", 1, 2, 0],
        ["F", 1, 0],
        ["T", "never"],
        ["D", "x"],
        ["k", "open"],
        ["k", ["l"]],
        ["I", 1],
        ["K", ["l"]],
        ["s", *range(100_001)],
        ["d", *range(200_001)],
        2.5,
    ],
)
def test_forged_bytes_are_not_a_value(forged: Any) -> None:
    with pytest.raises(NotAValueError):
        from_tagged(forged)


def test_a_deeply_nested_value_is_refused() -> None:
    deep: list[Any] = ["l"]
    for _ in range(100_000):
        deep = ["l", deep]
    with pytest.raises(NotAValueError):
        from_tagged(deep)
