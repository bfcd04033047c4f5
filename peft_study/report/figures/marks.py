"""Draw series and reference lines on matplotlib's axes; values to compare with are hollow or dotted."""

from collections.abc import Mapping
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
            texts += _texts(axes, series)
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
    joined = series.mark is Mark.line
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
        linestyle="" if not joined else ":" if series.paper else "-",
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
        style, centres, widths = styles[series.style], [], []
        for name in series.x:
            keys = slots[str(name)]
            width = BAR_GROUP / len(keys)
            centres.append(panel.categories.index(str(name)) + width * (keys.index(series.style) + 0.5) - BAR_GROUP / 2)
            widths.append(min(width, 0.6) * 0.92)
        if series.paper:
            look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black", "zorder": 4}
            axes.plot(centres, _numbers(series.y), "D", label=series.label, **look)
            continue
        drawn = axes.bar(
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
            axes.bar_label(drawn, fmt="{:#.3g}", fontsize=6, label_type="center", bbox=box, zorder=5)
    axes.set_xlim(-0.6, len(panel.categories) - 0.4)


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
        # A marker at the end distinguishes lines of the same hue.
        along, across = ([0.0, 1.0], [line.value, line.value]), axes.get_yaxis_transform()
        if line.direction is Direction.vertical:
            along, across = (along[1], along[0]), axes.get_xaxis_transform()
        inside = "none" if line.paper else style.colour
        marker: dict[str, Any] = {"marker": style.marker, "markevery": [1], "markerfacecolor": inside, "clip_on": False}
        axes.plot(*along, transform=across, label=line.label, **marker, **look)
        if line.text:
            # Outside the axes a text hides no value.
            end, offset, look = (1.0, line.value), (5, 0), {"ha": "left", "va": "center"}
            if line.direction is Direction.vertical:
                end, offset, look = (line.value, 1.0), (0, 5), {"ha": "center", "va": "bottom"}
            axes.annotate(line.text, end, offset, across, "offset points", fontsize=6, color=style.colour, **look)


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


def _texts(axes: Axes, series: Series) -> list[Text]:
    if not series.texts:
        return []
    placed = []
    for x, y, text in zip(series.x, series.y, series.texts, strict=True):
        if text and x is not None and y is not None:
            # Names move after the layout is done, so they must not affect it.
            written = axes.text(float(x), y, text, fontsize=6, in_layout=False)
            written.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
            placed.append(written)
    return placed


def _numbers(values: tuple[Any, ...]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]
