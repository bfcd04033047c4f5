"""A figure as plain data: drawn for print by `plotting.py`, for browsers by `interactive.py`, and compared by tests.

A drawing has neither colours nor sizes. A series has a `style`, the key by which `style.py` chooses them.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

Coordinate = float | str | None
Values = tuple[float | None, ...]


class Mark(StrEnum):
    """How a series is drawn."""

    points = "points"
    line = "line"
    """Points with markers, joined in their order."""
    path = "path"
    """A dashed line without markers, such as a Pareto front."""
    bars = "bars"
    """One bar for each category: `x` holds names from the panel's `categories`."""
    steps = "steps"
    """A histogram's outline: `x` holds the edges of the bins, `y` the height after each edge, None after the last."""


class Scale(StrEnum):
    """The scale of an axis."""

    linear = "linear"
    log = "log"


class Direction(StrEnum):
    """The direction of a reference line."""

    horizontal = "horizontal"
    vertical = "vertical"
    diagonal = "diagonal"
    """The line y = x."""


@dataclass(frozen=True)
class Series:
    """Values with a common entry in the legend.

    Attributes:
        label: the text of the legend entry.
        x: values in the panel's unit, or names from its `categories`; None if unknown.
        y: values in the panel's unit, as many as in `x`.
        mark: how the values are drawn.
        style: key of colour, marker and hatch, the same in every figure for the same model or method.
        low: lower ends of the error bars as values of `y`, not as distances; empty if all are unknown.
        high: upper ends of the error bars, like `low`.
        texts: the text beside each point; empty without texts.
        cells: the cell ids behind each point; empty for the paper's values.
        paper: whether the values are those to compare with, which are drawn hollow.
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
        # Plotly would draw as many points as the shorter list has, without a warning.
        for name in ("y", "low", "high", "texts", "cells"):
            values = getattr(self, name)
            if len(values) != len(self.x) and (values or name == "y"):
                raise ValueError(f"series {self.label!r}: {len(values)} values of {name} for {len(self.x)} of x")

    @property
    def error_bars(self) -> tuple[list[float], list[float]] | None:
        """The distances below and above each value, 0 if an end is unknown; None without ends."""
        if not self.low:
            return None
        ends = list(zip(self.low, self.y, self.high, strict=True))
        # Rounding may put the end of a bootstrap interval on the other side of the value.
        below = [max(0.0, y - low) if low is not None and y is not None else 0.0 for low, y, _ in ends]
        above = [max(0.0, high - y) if high is not None and y is not None else 0.0 for _, y, high in ends]
        return below, above


@dataclass(frozen=True)
class Line:
    """A reference line across a panel.

    Attributes:
        label: its name, beside the line or in the legend.
        direction: horizontal, vertical or diagonal.
        value: where it crosses the axis, in the panel's unit; 0 for a diagonal.
        style: style key, as in `Series`.
        paper: whether the value is one to compare with, which is drawn dotted.
        limit: whether it is a limit or an ideal, not a measured value.
        text: a text beside the line that the legend does not have, such as the number of examples.
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
    """A pair of axes.

    Attributes:
        title: the text above the axes.
        x_label: title of the x axis, with its unit.
        y_label: title of the y axis, with its unit.
        series: values, in the legend's order.
        lines: reference lines.
        categories: the names along x in their order; empty for a numeric axis.
        x_scale: scale of a numeric x axis.
        y_scale: scale of the y axis.
        missing: why the panel is empty; an empty text if it is not.
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
    def counts(self) -> list[float]:
        """The numbers of examples of its lines in order: the only positions along x that mean something."""
        lines = (series for series in self.series if series.mark is Mark.line)
        return sorted({float(x) for series in lines for x in series.x if x is not None})

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw: no value of a series, and no line except limits."""
        has_point = any(
            x is not None and y is not None for series in self.series for x, y in zip(series.x, series.y, strict=True)
        )
        # A limit alone would be a figure without data.
        return not has_point and all(line.limit for line in self.lines)


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: name of its files, such as "figure1".
        title: a line above the panels.
        panels: the pairs of axes, from left to right.
        notes: what a reader must know, such as the meaning of error bars and what is left out.
        compared: what `paper` marks: "paper", or "compared" for another study; empty if nothing is marked.
    """

    name: str
    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    compared: str = ""

    @property
    def empty(self) -> bool:
        """Whether all panels are empty."""
        return all(panel.empty for panel in self.panels)

    # tests/unit/test_figures.py compares drawings with stored ones by this form.
    def to_json(self) -> dict[str, Any]:
        """Convert the drawing to plain containers for JSON."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return record
