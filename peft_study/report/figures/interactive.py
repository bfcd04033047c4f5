"""Drawings as plotly figures, for notebooks and for the report's page: plain containers for JSON.

    import plotly.graph_objects as go

    go.Figure(interactive(FIGURES["figure4"](Study(rows.frame), None)))

A specification has no theme: backgrounds, grids and text have plotly's defaults, which a template changes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft_study.report.figures.drawing import Direction, Drawing, Panel, Scale
from peft_study.report.figures.style import Style, styles_of
from peft_study.report.figures.traces import bar_slots, line_label, line_name, line_shape, plot_text, shorten, traces

WIDTH = 1000
"""Pixels that a figure is laid out for."""
FEW_CATEGORIES = 8
"""A panel with more categories takes the whole width."""
_PLOT_HEIGHT = 278
_TITLE_HEIGHT = 64
_MARGINS = {"l": 56, "r": 18, "t": 14, "b": 48}
_COLUMN_GAP = 0.12
"""Share of a panel's width between two panels."""
_ROW_GAP = 104
"""Pixels between two rows of panels, for tick labels, an axis title and the next panel's title."""
_MOST_TICKS = 12
# plotly measures texts only when it draws them, so these pixels are estimates for the font sizes below.
_LETTER_WIDTH = 6.7
_LEGEND_SYMBOL_WIDTH = 42
_LEGEND_ROW_HEIGHT = 19
_BAR_WIDTH = 11
_TURNED_LABEL_WIDTH = 26
_SIDES_WIDTH = _MARGINS["l"] + _MARGINS["r"]
_TURN_DEGREES = 42


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How a panel adapts to the width that a page has for it.

    Attributes:
        least_width: pixels below which its bars would be too narrow.
        level_width: pixels below which its categories' labels must be turned; 0 without categories.
        turned_axis: changes of "xaxis" that turn the labels.
        turned_height: pixels that turned labels need below the axis.
        legend_entries: 0 without a legend.
        legend_entry_width: pixels of the longest entry.
        legend_row_height: pixels.
        sides_width: pixels left and right of the axes.
    """

    least_width: float = 0
    level_width: float = 0
    turned_axis: Mapping[str, Any] = field(default_factory=dict)
    turned_height: float = 0
    legend_entries: int
    legend_entry_width: float
    legend_row_height: float = _LEGEND_ROW_HEIGHT
    sides_width: float = _SIDES_WIDTH


def interactive(drawing: Drawing) -> dict[str, Any]:
    """Convert a drawing to one plotly figure with all of its panels.

    Args:
        drawing: what to draw.

    Returns:
        {"data": [traces], "layout": {...}} in plotly's schema.
    """
    panels = drawing.panels
    styles = styles_of(key for panel in panels for key in panel.style_keys)
    columns = 1 if any(len(panel.categories) > FEW_CATEGORIES for panel in panels) else min(2, len(panels))
    widths_in_panel = columns + _COLUMN_GAP * (columns - 1)
    sizes = [sizes_of(panel) for panel in panels]
    turned = [WIDTH / widths_in_panel < size.level_width for size in sizes]
    gap = _ROW_GAP + max((size.turned_height for size, turn in zip(sizes, turned, strict=True) if turn), default=0.0)
    names = list(dict.fromkeys(name for panel in panels for name in _legend_names(panel)))
    layout = _frame(len(names) > 1) | {
        "title": {"text": plot_text(drawing.title), "x": 0, "xref": "paper", "font": {"size": 15}},
        "margin": _MARGINS | {"t": _MARGINS["t"] + _TITLE_HEIGHT},
        "height": _height(math.ceil(len(panels) / columns), gap, *_legend_sizes(names)),
        "shapes": [],
        "annotations": [],
    }
    data: list[dict[str, Any]] = []
    for place, (panel, (across, up)) in enumerate(zip(panels, _domains(len(panels), columns, gap), strict=True)):
        part = _panel_layout(panel, styles)
        number = str(place + 1) if place else ""
        x, y = f"x{number}", f"y{number}"
        turn = sizes[place].turned_axis if turned[place] else {}
        layout[f"xaxis{number}"] = part["xaxis"] | {"domain": across, "anchor": y} | turn
        layout[f"yaxis{number}"] = part["yaxis"] | {"domain": up, "anchor": x}
        data += [trace | {"xaxis": x, "yaxis": y} for trace in traces(panel, styles)]
        layout["shapes"] += [_moved(shape, x, y) for shape in part["shapes"]]
        layout["annotations"] += [_moved(label, x, y) for label in (*part["annotations"], *_headings(panel))]
    if len(panels) > 1:
        _share_legend([*data, *layout["shapes"]])
    return {"data": data, "layout": layout}


def panel_figure(panel: Panel, styles: Mapping[str, Style]) -> dict[str, Any]:
    """Convert one panel to a plotly figure without a title, for a page that adapts it to its width with `sizes_of`.

    Args:
        panel: what to draw.
        styles: of every key in the panel.

    Returns:
        {"data": [traces], "layout": {...}}; the height is that of a panel without a legend and with level labels.
    """
    layout = _frame(len(_legend_names(panel)) > 1) | _panel_layout(panel, styles)
    layout |= {"margin": _MARGINS, "height": _PLOT_HEIGHT + _MARGINS["t"] + _MARGINS["b"]}
    return {"data": traces(panel, styles), "layout": layout}


def sizes_of(panel: Panel) -> Sizes:
    """Estimate the sizes by which a panel adapts to a width."""
    entries, entry_width = _legend_sizes(_legend_names(panel))
    if not panel.categories:
        return Sizes(legend_entries=entries, legend_entry_width=entry_width)
    names = [shorten(name) for name in panel.categories]
    bars = max((len(slots) for slots in bar_slots(panel).values()), default=1)
    longest_line = max(len(line) for name in names for line in name.split(", "))
    rise = math.sin(math.radians(_TURN_DEGREES))
    return Sizes(
        least_width=_SIDES_WIDTH + len(names) * max(_TURNED_LABEL_WIDTH, bars * _BAR_WIDTH),
        level_width=_SIDES_WIDTH + len(names) * longest_line * _LETTER_WIDTH,
        turned_axis={"tickangle": -_TURN_DEGREES, "ticktext": [plot_text(name) for name in names]},
        turned_height=max(map(len, names)) * _LETTER_WIDTH * rise,
        legend_entries=entries,
        legend_entry_width=entry_width,
    )


def _panel_layout(panel: Panel, styles: Mapping[str, Style]) -> dict[str, Any]:
    x, y = _axis(panel.x_label, panel.x_scale), _axis(panel.y_label, panel.y_scale)
    x |= _category_axis(panel) if panel.categories else _count_axis(panel)
    # Bars that do not start at 0 exaggerate differences.
    if panel.y_scale is Scale.linear:
        y["rangemode"] = "tozero"
    # Axes without data would show a range from -1 to 6.
    if panel.missing:
        x["visible"] = y["visible"] = False
    lines = [line for line in panel.lines if line.direction is not Direction.diagonal]
    return {
        "xaxis": x,
        "yaxis": y,
        "shapes": [line_shape(line, styles[line.style]) for line in lines],
        "annotations": [line_label(line, styles[line.style]) for line in lines if line.limit or line.text],
    }


def _frame(has_legend: bool) -> dict[str, Any]:
    """The layout around the panels."""
    return {
        # Bars have offsets and widths of their own, as plotly's grouping keeps room for every series.
        "barmode": "overlay",
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "showlegend": has_legend,
        # Below all panels, in the height that `interactive` adds for it.
        "legend": {
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "font": {"size": 11.5},
        },
    }


def _axis(title: str, scale: Scale) -> dict[str, Any]:
    return {
        "title": {"text": plot_text(title), "standoff": 8, "font": {"size": 12.5}},
        "type": str(scale),
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
    }


def _category_axis(panel: Panel) -> dict[str, Any]:
    values = [plot_text(name, len(name)) for name in panel.categories]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": values,
        "showgrid": False,
        "tickmode": "array",
        "tickvals": values,
        # A model and a method stand below each other.
        "ticktext": [plot_text(name).replace(", ", "<br>") for name in panel.categories],
        "tickangle": 0,
        "range": [-0.5, len(values) - 0.5],
    }


def _count_axis(panel: Panel) -> dict[str, Any]:
    """Ticks at the numbers of examples that were run."""
    counts = panel.counts
    if not 0 < len(counts) <= _MOST_TICKS:
        return {}
    return {
        "tickmode": "array",
        "tickvals": counts,
        "ticktext": [f"{count:g}" for count in counts],
        "range": [counts[0] - 0.7, counts[-1] + 0.7],
    }


def _headings(panel: Panel) -> list[dict[str, Any]]:
    """The panel's title above its axes, and in an empty panel what is missing."""
    middle = {"x": 0.5, "xref": "x domain", "yref": "y domain", "showarrow": False}
    title = {"text": plot_text(panel.title), "y": 1, "yanchor": "bottom", "font": {"size": 13}}
    missing = {"text": plot_text(panel.missing, len(panel.missing)), "y": 0.5}
    return [part | middle for part in (title, missing) if part["text"]]


def _domains(number: int, columns: int, gap: float) -> list[tuple[list[float], list[float]]]:
    """The shares of the figure's width and height of each panel, with a gap in pixels between two rows."""
    # plotly's domains are shares, so a gap in pixels depends on the height of the whole figure.
    rows = math.ceil(number / columns)
    width = 1 / (columns + _COLUMN_GAP * (columns - 1))
    height = rows * _PLOT_HEIGHT + (rows - 1) * gap
    domains = []
    for row, column in (divmod(place, columns) for place in range(number)):
        left, top = column * width * (1 + _COLUMN_GAP), row * (_PLOT_HEIGHT + gap)
        across, up = (left, left + width), (1 - (top + _PLOT_HEIGHT) / height, 1 - top / height)
        domains.append(([round(end, 4) for end in across], [round(end, 4) for end in up]))
    return domains


def _height(rows: int, gap: float, legend_entries: int, legend_entry_width: float) -> float:
    """The pixels of a figure whose rows of panels are `gap` pixels apart, with its title and its legend."""
    panels = rows * (_PLOT_HEIGHT + gap) - _ROW_GAP + _TITLE_HEIGHT + _MARGINS["t"] + _MARGINS["b"]
    legend_rows = math.ceil(legend_entries / max(1, (WIDTH - _SIDES_WIDTH) // legend_entry_width))
    return panels + legend_rows * _LEGEND_ROW_HEIGHT


def _moved(part: Mapping[str, Any], x: str, y: str) -> dict[str, Any]:
    """A shape or annotation on the axes of its own panel."""
    return {**part, "xref": part.get("xref", "x").replace("x", x, 1), "yref": part.get("yref", "y").replace("y", y, 1)}


def _share_legend(parts: Sequence[dict[str, Any]]) -> None:
    """Keep one legend entry for all panels that have the same series; a click on it then hides each of them."""
    shown: set[str] = set()
    for part in parts:
        if not part.get("showlegend", True):
            continue
        # plotly shows or hides a group as a whole, and a panel has its own trace of the same series.
        part |= {"legendgroup": part["name"], "showlegend": part["name"] not in shown}
        shown.add(part["name"])


def _legend_names(panel: Panel) -> list[str]:
    # A limit has its name beside it, a diagonal has no place for one.
    lines = [line for line in panel.lines if not line.limit or line.direction is Direction.diagonal]
    return [*(plot_text(series.label) for series in panel.series), *(line_name(line) for line in lines)]


def _legend_sizes(names: Sequence[str]) -> tuple[int, float]:
    """How many entries the legend has, and the width of the longest; a single series needs no legend."""
    longest = max(map(len, names), default=0)
    return len(names) if len(names) > 1 else 0, round(_LEGEND_SYMBOL_WIDTH + _LETTER_WIDTH * longest, 1)
