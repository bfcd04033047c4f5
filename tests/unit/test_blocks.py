"""The expansion of a study's blocks and of the command line into cells."""

import time
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from peft_study.errors import UserError
from peft_study.sweep.blocks import expand, literal, read_blocks

SMALL = [
    {"model": ["a", "b"], "method": ["lora", "full"], "seed": [1, 2]},
    {"model": "a", "method": ["lora", "ia3"], "seed": 1},
]


def cells(blocks: list[dict[str, Any]], command: dict[str, list[str]] | None = None, **common: Any) -> list[str]:
    expanded = expand("s", read_blocks("s", common, blocks), command or {})
    return [" ".join(cell) for cell in expanded]


def test_a_cell_of_two_blocks_comes_once_and_base_models_stand_together() -> None:
    assert cells(SMALL) == [
        "model=a method=lora seed=1",
        "model=a method=lora seed=2",
        "model=a method=full seed=1",
        "model=a method=full seed=2",
        "model=a method=ia3 seed=1",
        "model=b method=lora seed=1",
        "model=b method=lora seed=2",
        "model=b method=full seed=1",
        "model=b method=full seed=2",
    ]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"model": ["model=b"]}, 4),
        ({"model": ["model=a"], "method": ["method=ia3"]}, 1),
        ({"method": ["method=lora", "method=ia3"]}, 5),
        ({"seed": ["seed=7"]}, 5),
        ({"seed": ["seed=7", "seed=8"]}, 10),
        ({"training.epochs": ["training.epochs=1"]}, 9),
        ({"hardware": ["hardware=cpu"]}, 9),
    ],
)
def test_a_group_of_the_study_restricts_and_anything_else_replaces(
    command: dict[str, list[str]], expected: int
) -> None:
    found = cells(SMALL, command)
    assert len(found) == expected
    for values in command.values():
        assert all(any(value in cell.split() for value in values) for cell in found)


def test_a_block_goes_before_what_is_common() -> None:
    assert cells([{"model": "a"}, {"model": "b", "training.epochs": 2}], **{"training.epochs": 1}) == [
        "training.epochs=1 model=a",
        "training.epochs=2 model=b",
    ]


def test_a_setting_that_only_some_blocks_name_is_replaced_there() -> None:
    blocks = [{"model": "a"}, {"model": "a", "method.num_examples": [1, 8]}]
    assert cells(blocks, {"method.num_examples": ["method.num_examples=8"]}) == [
        "model=a",
        "model=a method.num_examples=8",
    ]


def test_a_plain_grid_needs_no_study() -> None:
    expanded = expand("", [], {"model": ["model=a", "model=b"], "seed": ["seed=1"], "+x": ["+x=1"]})
    assert expanded == [("model=a", "seed=1", "+x=1"), ("model=b", "seed=1", "+x=1")]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ({"model": ["model=c"]}, "study s has no cell with model=c"),
        ({"model": ["model=b"], "method": ["method=ia3"]}, "study s has no cell with all of these"),
    ],
)
def test_a_restriction_that_leaves_nothing_is_refused(command: dict[str, list[str]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        cells(SMALL, command)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([{"model": "a", "method": "b"}, {"model": "a"}], "blocks must name the same groups.* method"),
        ([{"model": []}], "model must .* got"),
        ([{"model": None}], "model must .* got null"),
        ([{"model": {"name": "a"}}], "model must .* got {name:a}"),
        ([{"model": ["a", ["b"]]}], r"model must .* got \[b\]"),
        ([{"model": "a", "hydra.mode": "RUN"}], "hydra.mode must not be set"),
        ([{"model": "a", "+study": "demo"}], "[+]study must not be set"),
        ([{"model": "a", "study.name": "b"}], "study.name must not be set"),
        ([{"model": "a", "hydra/launcher": "local"}], "hydra/launcher must not be set"),
        ([{"model": "a", "~tracking": None}], "~tracking must not be set"),
    ],
)
def test_a_broken_block_is_named(blocks: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        cells(blocks)
    assert caught.value.where is not None
    assert "block" in caught.value.where


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    # OmegaConf reads `${`, and `quote` escapes it for OmegaConf (test_grammar.py).
    | st.text(st.characters(exclude_categories=["C"])).filter(lambda text: "${" not in text),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
)


@given(VALUES)
def test_a_value_of_yaml_survives_the_command_lines_grammar(value: Any) -> None:
    parsed = OverridesParser.create().parse_override(f"key={literal(value)}")
    assert parsed.value() == value
    assert type(parsed.value()) is type(value)


def test_ten_thousand_cells_expand_in_seconds() -> None:
    grid = {"model": [f"m{n}" for n in range(10)], "method": [f"a{n}" for n in range(10)], "seed": list(range(100))}
    began = time.perf_counter()
    assert len(cells([grid, grid])) == 10_000
    assert time.perf_counter() - began < 5
