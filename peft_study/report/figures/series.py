"""Convert the rows of a selection to the series of a panel."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peft_study.report.figures.drawing import Drawing, Mark, Panel, Series
from peft_study.report.figures.selection import Selection, Summary, summarise, variant_label

_SPREAD = (
    "Scores are means over seeds with 95 % intervals over seeds and samples, or over samples for a single run. "
    "Costs are medians over seeds, with bars from the lowest to the highest."
)


@dataclass(frozen=True)
class Point:
    """A point of a series.

    Attributes:
        x: a number in the panel's unit, or a category.
        y: the value with its ends and cells.
        text: the text beside it.
    """

    x: float | str
    y: Summary
    text: str = ""


def make_series(label: str, points: Sequence[Point], mark: Mark, style: str, *, paper: bool = False) -> Series:
    """Make a series of points; it has error bars, texts and cells if any point has them."""
    # What no point has stays empty, which keeps the page's data small.
    has_bars = any(point.y.low is not None for point in points)
    return Series(
        label,
        tuple(point.x for point in points),
        tuple(point.y.value for point in points),
        mark,
        style,
        low=tuple(point.y.low for point in points) if has_bars else (),
        high=tuple(point.y.high for point in points) if has_bars else (),
        texts=tuple(point.text for point in points) if any(point.text for point in points) else (),
        cells=tuple(point.y.cells for point in points) if any(point.y.cells for point in points) else (),
        paper=paper,
    )


def make_bars(chosen: Selection, column: str, category: Callable[[str, str], str]) -> tuple[Series, ...]:
    """Make a series of bars for each variant: this study's, then those to compare with.

    Args:
        chosen: the rows of a panel.
        column: the column that the bars show.
        category: maps a model and a variant to the category of their bar.
    """
    drawn = []
    for rows, paper, suffix in chosen.sides:
        for key in chosen.variants():
            points = [
                Point(category(model, key), height)
                for model in chosen.models()
                if (height := summarise(rows[(rows["variant"] == key) & (rows["model"] == model)], column))
            ]
            if points:
                drawn.append(make_series(variant_label(key) + suffix, points, Mark.bars, key, paper=paper))
    return tuple(drawn)


def finish(
    name: str, title: str, panels: Sequence[Panel], chosen: Selection, missing: str, notes: Iterable[str] = ()
) -> Drawing:
    """Make a drawing of panels.

    Args:
        name: name of the figure's files.
        title: a line above the panels.
        panels: the panels; empty ones are dropped.
        chosen: the figure's rows, whose notes are appended.
        notes: notes on this figure; duplicates are dropped, and a note on error bars is added if there are any.
        missing: why the figure is empty, used if all panels are.
    """
    # Panels of several data sets may give the same note.
    distinct_notes = tuple(dict.fromkeys([*notes, *chosen.notes]))
    drawn = tuple(panel for panel in panels if not panel.empty)
    # A figure without data says what it would take, so that the report shows which cells to run.
    if not drawn:
        return Drawing(name, title, (Panel("", "", "", missing=missing),), distinct_notes)
    shown = [series for panel in drawn for series in panel.series]
    compared = any(series.paper for series in shown) or any(line.paper for panel in drawn for line in panel.lines)
    spread = (_SPREAD,) if any(series.low for series in shown) else ()
    return Drawing(name, title, drawn, (*spread, *distinct_notes), chosen.compared_label if compared else "")
