"""Series and reference lines as plotly's traces and shapes: plain containers for JSON."""

import html
import math
from collections.abc import Mapping
from typing import Any

from peft_study.report.figures.drawing import Direction, Line, Mark, Panel, Scale, Series
from peft_study.report.figures.style import Style

LABEL_CHARACTERS = 48
"""Length at which a legend entry or a category is shortened."""
HOVER_CHARACTERS = 120
POINT_NAME_CHARACTERS = 28
MISSING = "\N{EN DASH}"
_ENDING_CHARACTERS = 12
_BAR_GROUP = 0.8
"""Share of a category's width that its bars fill together."""
_WIDEST_BAR = 0.5
_TRANSPARENT = "rgba(0,0,0,0)"
# The schema of plotly has other names for the same looks. Both outputs read the same style.
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "D": "diamond",
    "P": "cross",
    "X": "x",
    "*": "star",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
    "h": "hexagon",
}
_DASHES = {"-": "solid", "--": "dash"}
_HATCHES = "/\\x-|+."


def plot_text(text: object, most: int = LABEL_CHARACTERS) -> str:
    """Shorten and escape a text for plotly, which interprets some markup in names, labels and hover texts.

    Args:
        text: a name from the data.
        most: characters to keep; a longer text keeps its beginning and its end.
    """
    # A name of thousands of characters would push the plot out of the page.
    return html.escape(shorten(str(text), most), quote=False)


def shorten(text: str, most: int = LABEL_CHARACTERS) -> str:
    """Cut a text to `most` characters: its beginning, an ellipsis and its end, which often identifies it."""
    if len(text) <= most:
        return text
    return f"{text[: most - _ENDING_CHARACTERS - 1]}…{text[-_ENDING_CHARACTERS:]}"


def plain_number(value: float | None) -> str:
    """Format a number with four significant digits; an integer with all of its digits, in groups of three."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if float(value).is_integer() else f"{float(f'{value:.4g}'):.10g}"


def traces(panel: Panel, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """Convert a panel's series, and its diagonal lines, to traces.

    A trace's `customdata` holds the cell ids of each point, its `text` the names of the points, which the page places.

    Args:
        panel: what to draw.
        styles: of every key in the panel.
    """
    slots = bar_slots(panel)
    drawn = [_trace(series, panel, styles[series.style], slots) for series in panel.series]
    # A shape cannot follow the range of both axes, so a diagonal is a trace.
    diagonals = [line for line in panel.lines if line.direction is Direction.diagonal]
    return [*drawn, *(_diagonal(line, panel, styles[line.style]) for line in diagonals)]


def line_shape(line: Line, style: Style) -> dict[str, Any]:
    """Convert a horizontal or vertical line to a shape across the whole panel."""
    across = {"x0": 0, "x1": 1, "y0": line.value, "y1": line.value, "xref": "x domain"}
    upright = {"x0": line.value, "x1": line.value, "y0": 0, "y1": 1, "yref": "y domain"}
    return {
        "type": "line",
        # A limit is named on the line. The names of other lines would hide each other, so the legend has them.
        "name": line_name(line),
        "showlegend": not line.limit,
        "layer": "above" if line.limit else "below",
        "line": {"color": style.colour, "width": 1.6, "dash": "dot" if line.paper else "dash"},
        **(across if line.direction is Direction.horizontal else upright),
    }


def line_label(line: Line, style: Style) -> dict[str, Any]:
    """Write a limit's name, or another line's text, beside it, as an annotation."""
    # Curves begin and bars are lowest at the left, and the best points are at the top, so a limit's name stands at
    # the left, or at the bottom.
    end, anchor = (0, "left") if line.limit else (1, "right")
    across = {"x": end, "xanchor": anchor, "xref": "x domain", "y": line.value, "yanchor": "bottom"}
    upright = {"x": line.value, "xanchor": "right", "y": 0, "yanchor": "bottom", "yref": "y domain"}
    return {
        "text": plot_text(line.label if line.limit else line.text),
        "showarrow": False,
        "font": {"size": 11, "color": style.colour},
        **(across if line.direction is Direction.horizontal else upright),
    }


def line_name(line: Line) -> str:
    """Name a line in the legend, with its value."""
    name = plot_text(line.label)
    return name if line.direction is Direction.diagonal else f"{name}: {plain_number(line.value)}"


def bar_slots(panel: Panel) -> dict[str, list[tuple[str, bool]]]:
    """Find which bars each category has, from left to right: a style's own bar, then that to compare with.

    Returns:
        style key and `paper` of each bar, by category.
    """
    bars = [series for series in panel.series if series.mark is Mark.bars]
    order = {key: place for place, key in enumerate(dict.fromkeys(series.style for series in bars))}
    slots: dict[str, set[tuple[str, bool]]] = {name: set() for name in panel.categories}
    for series in bars:
        for name in series.x:
            slots.setdefault(str(name), set()).add((series.style, series.paper))
    return {name: sorted(keys, key=lambda key: (order[key[0]], key[1])) for name, keys in slots.items()}


def _trace(series: Series, panel: Panel, style: Style, slots: Mapping[str, list[tuple[str, bool]]]) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "name": plot_text(series.label),
        # plotly identifies a category by its name, so it stays whole: two long names may have the same short form.
        "x": [html.escape(x, quote=False) if isinstance(x, str) else x for x in series.x],
        "y": list(series.y),
        "hoverinfo": "text",
        "hovertext": [_hover_text(series, panel, place) for place in range(len(series.x))],
        **_look(series, style, slots),
    }
    if series.cells:
        trace["customdata"] = [list(cells) for cells in series.cells]
    if any(series.texts):
        trace["text"] = [plot_text(text, POINT_NAME_CHARACTERS) for text in series.texts]
    if series.error_bars:
        below, above = series.error_bars
        trace["error_y"] = {
            "type": "data",
            # plotly takes distances, and repeats those above if the bars are symmetric.
            "symmetric": False,
            "array": [round(value, 6) for value in above],
            "arrayminus": [round(value, 6) for value in below],
            "color": style.colour,
            "thickness": 1.2,
            "width": 3,
        }
    return trace


def _look(series: Series, style: Style, slots: Mapping[str, list[tuple[str, bool]]]) -> dict[str, Any]:
    colour = style.colour
    match series.mark:
        case Mark.bars:
            return {"type": "bar", **_bar_places(series, slots), "marker": _bar_marker(series, style)}
        case Mark.path:
            return {"type": "scatter", "mode": "lines", "line": {"color": colour, "width": 1.5, "dash": "dash"}}
        case Mark.steps:
            line = {"color": colour, "width": 2, "dash": _DASHES[style.line], "shape": "hv"}
            return {"type": "scatter", "mode": "lines", "line": line}
    symbol = f"{SYMBOLS[style.marker]}-open" if series.paper else SYMBOLS[style.marker]
    border = {"width": 1.8 if series.paper else 0, "color": colour}
    return {
        "type": "scatter",
        "mode": "lines+markers" if series.mark is Mark.line else "markers",
        # Markers on an axis stay whole.
        "cliponaxis": False,
        "line": {"color": colour, "width": 2, "dash": "dot" if series.paper else "solid"},
        "marker": {"color": colour, "symbol": symbol, "size": 9, "line": border},
    }


def _bar_marker(series: Series, style: Style) -> dict[str, Any]:
    marker: dict[str, Any] = {
        "color": _TRANSPARENT if series.paper else style.colour,
        "line": {"color": style.colour, "width": 1.8 if series.paper else 0.5},
    }
    # A pattern in plotly is a single letter, matplotlib repeats letters for density and has more of them.
    shape = next((letter for letter in style.hatch if letter in _HATCHES), None)
    if shape and not series.paper:
        marker["pattern"] = {"shape": shape, "fillmode": "overlay", "fgopacity": 0.45, "size": 7}
    return marker


def _bar_places(series: Series, slots: Mapping[str, list[tuple[str, bool]]]) -> dict[str, list[float]]:
    """Place each bar in its category, because plotly's own grouping keeps room for bars that a category lacks."""
    # Bars of figure 1 were two pixels wide by plotly's grouping.
    offsets, widths = [], []
    for name in series.x:
        keys = slots[str(name)]
        room = _BAR_GROUP / len(keys)
        width = min(room, _WIDEST_BAR)
        left = keys.index((series.style, series.paper)) * room - _BAR_GROUP / 2
        offsets.append(round(left + (room - width) / 2, 6))
        widths.append(round(width, 6))
    return {"offset": offsets, "width": widths}


def _diagonal(line: Line, panel: Panel, style: Style) -> dict[str, Any]:
    values = [float(x) for series in panel.series for x in series.x if isinstance(x, int | float)]
    values += [y for series in panel.series for y in series.y if y is not None]
    high = max([*values, 0.0])
    # A logarithmic axis has no 0, so the line starts at the smallest value.
    low = min((value for value in values if value > 0), default=high) if panel.x_scale is Scale.log else 0.0
    return {
        "type": "scatter",
        "mode": "lines",
        "name": line_name(line),
        "x": [low, high],
        "y": [low, high],
        "hoverinfo": "skip",
        "line": {"color": style.colour, "width": 1.5, "dash": "dash"},
    }


def _hover_text(series: Series, panel: Panel, place: int) -> str:
    x, y = series.x[place], series.y[place]
    lines = [f"<b>{plot_text(series.label, HOVER_CHARACTERS)}</b>"]
    if series.texts and series.texts[place]:
        lines.append(plot_text(series.texts[place], HOVER_CHARACTERS))
    if panel.categories:
        lines.append(plot_text(MISSING if x is None else x, HOVER_CHARACTERS))
    else:
        lines.append(f"{plot_text(panel.x_label)}: {MISSING if x is None else plain_number(float(x))}")
    low, high = (ends[place] if ends else None for ends in (series.low, series.high))
    interval = "" if low is None or high is None else f" ({plain_number(low)} \N{EN DASH} {plain_number(high)})"
    lines.append(f"{plot_text(panel.y_label)}: {plain_number(y)}{interval}")
    if cells := len(series.cells[place]) if series.cells else 0:
        lines.append("1 cell" if cells == 1 else f"{cells} cells")
    return "<br>".join(lines)
