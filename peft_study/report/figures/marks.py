"""Draw series and reference lines on matplotlib's axes; values to compare with are hollow or dotted."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from peft_study.report.figures.drawing import Direction, Line, Mark, Panel, Series
from peft_study.report.figures.style import Style

BAR_GROUP = 0.8
"""Share of a category's width that its bars fill together."""
LABELLED_BARS = 24
"""With more bars there is not enough room for their numbers."""
_INVISIBLE = "none"


def draw_panel(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> list[Text]:
    """Draw a panel's series and lines.

    Args:
        axes: the axes to draw on.
        panel: the series and lines to draw.
        styles: style of every key in the panel.

    Returns:
        The texts beside points, for `names.place_names`.
    """
    texts: list[Text] = []
    if panel.categories:
        _draw_bars(axes, panel, styles)
    for series in panel.series:
        if series.mark is not Mark.bars:
            _draw_series(axes, series, styles[series.style])
            texts += _write_names(axes, series)
    for line in panel.lines:
        _draw_line(axes, line, styles[line.style])
    return texts


def _draw_series(axes: Axes, series: Series, style: Style) -> None:
    look: dict[str, Any] = {"color": style.colour, "label": series.label}
    if series.mark is Mark.path:
        # Below the points that it joins.
        axes.plot(_numbers(series.x), _numbers(series.y), linestyle="--", linewidth=0.9, zorder=1, **look)
    elif series.mark is Mark.steps:
        heights = [value or 0.0 for value in series.y[:-1]]
        axes.stairs(heights, _numbers(series.x), linestyle=style.line, linewidth=1.2, **look)
    else:
        _draw_points(axes, series, style)


def _draw_points(axes: Axes, series: Series, style: Style) -> None:
    line = "" if series.mark is Mark.points else ":" if series.paper else "-"
    axes.errorbar(
        _numbers(series.x),
        _numbers(series.y),
        yerr=series.error_bars,
        color=style.colour,
        markerfacecolor=_INVISIBLE if series.paper else style.colour,
        # A light marker on white paper needs an edge.
        markeredgecolor=style.colour if series.paper else "black",
        markeredgewidth=1.1 if series.paper else 0.4,
        elinewidth=0.8,
        capsize=2,
        label=series.label,
        zorder=3,
        fmt=style.marker,
        linestyle=line,
    )


def _draw_bars(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> None:
    """Draw bars side by side in their categories; a value to compare with is a hollow marker on its bar."""
    shown = [series for series in panel.series if series.mark is Mark.bars]
    # A variant that a model lacks gets no room in its category: in figure 1 each model has its own variants.
    slots = {
        name: list(dict.fromkeys(series.style for series in shown if name in series.x)) for name in panel.categories
    }
    numbered = sum(len(series.x) for series in shown) <= LABELLED_BARS
    for series in shown:
        style, (centres, widths) = styles[series.style], _bar_places(series, panel.categories, slots)
        if series.paper:
            hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black", "zorder": 4}
            axes.plot(centres, _numbers(series.y), "D", label=series.label, **hollow)
            continue
        bars = axes.bar(
            centres,
            _numbers(series.y),
            widths,
            yerr=series.error_bars,
            color=style.colour,
            edgecolor="black",
            linewidth=0.5,
            hatch=style.hatch,
            error_kw={"elinewidth": 0.8, "capsize": 2},
            label=series.label,
            zorder=2,
        )
        if numbered:
            # Limits and values to compare with are near the top of a bar, so its number is in the middle.
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.bar_label(bars, fmt="{:#.3g}", fontsize=6, label_type="center", bbox=box, zorder=5)
    axes.set_xlim(-0.6, len(panel.categories) - 0.4)


def _bar_places(
    series: Series, categories: Sequence[str], slots: Mapping[str, Sequence[str]]
) -> tuple[list[float], list[float]]:
    """Find the centre and the width of each bar, from the style keys of the bars in each category."""
    centres, widths = [], []
    for name in map(str, series.x):
        keys = slots[name]
        width = BAR_GROUP / len(keys)
        centres.append(categories.index(name) + width * (keys.index(series.style) + 0.5) - BAR_GROUP / 2)
        widths.append(min(width, 0.6) * 0.92)
    return centres, widths


def _draw_line(axes: Axes, line: Line, style: Style) -> None:
    dashes = ":" if line.paper else "--"
    look: dict[str, Any] = {"color": style.colour, "linewidth": 1.0, "linestyle": dashes, "zorder": 1}
    if line.direction is Direction.diagonal:
        data = axes.dataLim
        ends = [0.8 * float(min(data.min)), 1.25 * float(max(data.max))]
        axes.plot(ends, ends, label=line.label, **look)
    elif line.limit:
        _draw_limit(axes, line, look)
    else:
        _draw_level(axes, line, style, look)


def _draw_level(axes: Axes, line: Line, style: Style, look: Mapping[str, Any]) -> None:
    """Draw a line across the axes with a marker at its end, which distinguishes lines of the same hue."""
    x, y, transform = [0.0, 1.0], [line.value, line.value], axes.get_yaxis_transform()
    text_place: dict[str, Any] = {"xy": (1.0, line.value), "xytext": (5, 0), "ha": "left", "va": "center"}
    if line.direction is Direction.vertical:
        x, y, transform = [line.value, line.value], [0.0, 1.0], axes.get_xaxis_transform()
        text_place = {"xy": (line.value, 1.0), "xytext": (0, 5), "ha": "center", "va": "bottom"}
    inside = _INVISIBLE if line.paper else style.colour
    marker: dict[str, Any] = {"marker": style.marker, "markevery": [1], "markerfacecolor": inside, "clip_on": False}
    axes.plot(x, y, transform=transform, label=line.label, **marker, **look)
    if line.text:
        # Outside the axes a text hides no value.
        colour = style.colour
        axes.annotate(line.text, xycoords=transform, textcoords="offset points", fontsize=6, color=colour, **text_place)


def _draw_limit(axes: Axes, line: Line, look: Mapping[str, Any]) -> None:
    """Draw a limit with its name, and extend the axes so that it is visible."""
    if line.direction is Direction.horizontal:
        axes.axhline(line.value, **look)
        # Room for the name above the line.
        axes.set_ylim(top=max(axes.get_ylim()[1], line.value * 1.08))
        axes.annotate(line.label, (0.01, line.value), (0, 2), axes.get_yaxis_transform(), "offset points")
    else:
        axes.axvline(line.value, **look)
        # The best points and their names are at the top, so the limit's name is at the bottom.
        axes.annotate(line.label, (line.value, 0.01), (-2, 0), axes.get_xaxis_transform(), "offset points", ha="right")


def _write_names(axes: Axes, series: Series) -> list[Text]:
    """Write the texts of a series at its points, from where `names.place_names` moves them."""
    names = []
    for place, text in enumerate(series.texts):
        x, y = series.x[place], series.y[place]
        if text and x is not None and y is not None:
            # Names move after the layout is done, so they must not affect it.
            name = axes.text(float(x), y, text, fontsize=6, in_layout=False)
            name.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
            names.append(name)
    return names


def _numbers(values: tuple[Any, ...]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]
