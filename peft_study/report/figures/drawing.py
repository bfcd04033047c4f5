"""What a figure shows, as plain data: for print (`plotting.py`), for the page in a browser, and compared in tests.

A drawing says nothing of colours or sizes but for a series' `style`, the key by which `style.py` chooses them.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

Coordinate = float | str | None
Values = tuple[float | None, ...]


class Mark(StrEnum):
    """How a series' values are drawn."""

    points = "points"
    line = "line"
    """Points joined in the order in which they stand."""
    path = "path"
    """A line without markers, dashed: a front, not values of its own."""
    bars = "bars"
    """One a category: `x` holds names from the panel's `categories`."""
    steps = "steps"
    """A histogram's outline: `x` holds the bins' edges, `y` the height from each edge to the next, None at the last."""


class Scale(StrEnum):
    """An axis' scale."""

    linear = "linear"
    log = "log"


class Direction(StrEnum):
    """Where a reference line runs."""

    horizontal = "horizontal"
    vertical = "vertical"
    diagonal = "diagonal"
    """From the origin, y = x."""


@dataclass(frozen=True)
class Series:
    """Values that belong together and have one entry in the legend.

    Attributes:
        label: the legend's words.
        x: in the panel's unit, or names from its `categories`; None is a value that is not known.
        y: of the same length, in the panel's unit.
        mark: how they are drawn.
        style: key of colour, marker and hatch; the same in every figure for the same model or method.
        low: lower ends of the error bars, in the unit of `y` and not as distances from it; empty where none is known.
        high: upper ends.
        texts: what is written beside each point; empty for nothing.
        cells: the ids of the cells that each point comes from; empty for the paper's.
        paper: whether these are the paper's own values, which are drawn hollow.
    """

    label: str
    x: tuple[Coordinate, ...]
    y: Values
    mark: Mark = Mark.points
    style: str = ""
    low: Values = ()
    high: Values = ()
    texts: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    paper: bool = False

    def __post_init__(self) -> None:
        for name in ("y", "low", "high", "texts", "cells"):
            values = getattr(self, name)
            if len(values) != len(self.x) and (values or name == "y"):
                raise ValueError(f"series {self.label!r}: {len(values)} values of {name} for {len(self.x)} of x")


@dataclass(frozen=True)
class Line:
    """A reference line across a panel.

    Attributes:
        label: what it stands for, written beside it or in the legend.
        direction: where it runs.
        value: where it crosses the other axis; 0 for a diagonal.
        style: key as a series' own.
        paper: whether it is the paper's value.
        limit: whether it is a limit, or an ideal, and not a value of anything.
        text: what is written at it and not in the legend, such as the number of examples.
    """

    label: str
    direction: Direction
    value: float = 0.0
    style: str = ""
    paper: bool = False
    limit: bool = False
    text: str = ""


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what is above it.
        x_label: with its unit.
        y_label: likewise.
        series: in the legend's order.
        lines: reference lines.
        categories: the names along x in their order; empty for an axis of numbers.
        x_scale: of an axis of numbers.
        y_scale: likewise.
        missing: why nothing is drawn here; empty where something is.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...] = ()
    lines: tuple[Line, ...] = ()
    categories: tuple[str, ...] = ()
    x_scale: Scale = Scale.linear
    y_scale: Scale = Scale.linear
    missing: str = ""

    @property
    def style_keys(self) -> tuple[str, ...]:
        """The style key of each series and line."""
        return (*(series.style for series in self.series), *(line.style for line in self.lines))

    @property
    def empty(self) -> bool:
        """Whether there is no value to draw, neither a series' nor a line's; a limit is none."""
        points = (
            one for one in self.series for x, y in zip(one.x, one.y, strict=True) if x is not None and y is not None
        )
        return next(points, None) is None and all(line.limit for line in self.lines)


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: of its files, such as "figure1".
        title: one line.
        panels: from left to right.
        notes: what a reader must know: what error bars are, what is left out and why.
        compared: what the series and lines with `paper` are: "paper", or "compared" of another study; empty for none.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    compared: str = ""

    @property
    def empty(self) -> bool:
        """Whether no panel has anything to draw."""
        return all(panel.empty for panel in self.panels)

    def to_json(self) -> dict[str, Any]:
        """Plain containers for JSON: objects, lists, strings, numbers and None."""
        record = _plain(asdict(self))
        assert isinstance(record, dict)
        return record


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, StrEnum) else value
