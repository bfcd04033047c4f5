"""From a selection's rows to the series of a panel."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peft_study.report.figures.drawing import Drawing, Mark, Panel, Series
from peft_study.report.figures.selection import Point, Selection, point
from peft_study.report.figures.variants import variant_label

_SPREAD = (
    "Scores are means over seeds with their 95 % intervals over seeds and samples; of a single run over its samples. "
    "Costs are medians over seeds, with bars from the lowest to the highest."
)


@dataclass(frozen=True)
class Placed:
    """A point and where it stands along x.

    Attributes:
        x: a number in the panel's unit, or a category.
        y: its value.
        text: what is written beside it.
    """

    x: float | str
    y: Point
    text: str = ""


def series(label: str, placed: Iterable[Placed], mark: Mark, style: str, *, paper: bool = False) -> Series:
    """Make a series of points; their error bars, texts and cells are kept where any has one."""
    points = list(placed)
    bars = any(one.y.low is not None for one in points)
    return Series(
        label,
        tuple(one.x for one in points),
        tuple(one.y.value for one in points),
        mark,
        style,
        low=tuple(one.y.low for one in points) if bars else (),
        high=tuple(one.y.high for one in points) if bars else (),
        texts=tuple(one.text for one in points) if any(one.text for one in points) else (),
        cells=tuple(one.y.cells for one in points) if any(one.y.cells for one in points) else (),
        paper=paper,
    )


def bars(chosen: Selection, column: str, factor: float, category: Callable[[str, str], str]) -> tuple[Series, ...]:
    """Make a series of bars for each variant: this study's, then what there is to compare with.

    Args:
        chosen: the rows of one panel.
        column: what the bars show.
        factor: from the column's unit to the panel's.
        category: where the bar of a model and a variant stands.
    """
    found = []
    for rows, paper in ((chosen.own, False), (chosen.other, True)):
        for key in chosen.variants():
            placed = [
                Placed(category(model, key), value)
                for model in chosen.models()
                if (value := point(rows[(rows["variant"] == key) & (rows["model"] == model)], column, factor))
            ]
            if placed:
                label = f"{variant_label(key)} ({chosen.other_label})" if paper else variant_label(key)
                found.append(series(label, placed, Mark.bars, key, paper=paper))
    return tuple(found)


def finish(
    name: str, title: str, panels: Sequence[Panel], chosen: Selection, missing: str, notes: Iterable[str] = ()
) -> Drawing:
    """Put a drawing together.

    Args:
        name: of its files.
        title: one line.
        panels: those without a point are left out.
        chosen: the rows that it is made of, whose notes follow.
        notes: this figure's own, beside the one on error bars; repeated ones are said once.
        missing: what it would take to draw it, said where no panel has a point.
    """
    said = tuple(dict.fromkeys([*notes, *chosen.notes]))
    drawn = tuple(panel for panel in panels if not panel.empty)
    if not drawn:
        return Drawing(name, title, (Panel("", "", "", missing=missing),), said)
    shown = [one for panel in drawn for one in panel.series]
    compared = any(one.paper for one in shown) or any(line.paper for panel in drawn for line in panel.lines)
    spread = (_SPREAD,) if any(one.low for one in shown) else ()
    return Drawing(name, title, drawn, (*spread, *said), chosen.other_label if compared else "")
