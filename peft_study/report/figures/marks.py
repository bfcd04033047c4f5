"""Each kind of series and of reference line onto matplotlib's axes; what is to compare with is hollow or dotted."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from peft_study.report.figures.drawing import Direction, Line, Mark, Panel, Series
from peft_study.report.figures.style import Style

BAR_GROUP = 0.8
"""Share of a category's room that its bars fill together."""
LABELLED_BARS = 24
"""More bars than these have no room for their numbers."""
_INVISIBLE = "none"


def draw_panel(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> list[Text]:
    """Draw a panel's series and lines.

    Args:
        axes: what to draw on.
        panel: what to draw.
        styles: of every key in it.

    Returns:
        The texts beside points, which may have to move apart.
    """
    texts: list[Text] = []
    if panel.categories:
        _draw_bars(axes, panel, styles)
    for one in panel.series:
        if one.mark is not Mark.bars:
            _DRAWN[one.mark](axes, one, styles[one.style])
            texts += _texts(axes, one)
    for line in panel.lines:
        _draw_line(axes, line, styles[line.style])
    return texts


def _draw_points(axes: Axes, one: Series, style: Style) -> None:
    _with_errors(axes, one, style, fmt=style.marker, linestyle="")


def _draw_curve(axes: Axes, one: Series, style: Style) -> None:
    _with_errors(axes, one, style, fmt=style.marker, linestyle=":" if one.paper else "-")


def _draw_path(axes: Axes, one: Series, style: Style) -> None:
    axes.plot(
        _numbers(one.x), _numbers(one.y), color=style.colour, linestyle="--", linewidth=0.9, zorder=1, label=one.label
    )


def _draw_steps(axes: Axes, one: Series, style: Style) -> None:
    edges = [float(edge) for edge in one.x if edge is not None]
    heights = [value or 0.0 for value in one.y[:-1]]
    axes.stairs(heights, edges, color=style.colour, linestyle=style.line, linewidth=1.2, label=one.label)


_DRAWN: Mapping[Mark, Callable[[Axes, Series, Style], None]] = {
    Mark.points: _draw_points,
    Mark.line: _draw_curve,
    Mark.path: _draw_path,
    Mark.steps: _draw_steps,
}


def _with_errors(axes: Axes, one: Series, style: Style, **options: Any) -> None:
    axes.errorbar(
        _numbers(one.x),
        _numbers(one.y),
        yerr=_errors(one),
        color=style.colour,
        markerfacecolor=_INVISIBLE if one.paper else style.colour,
        # A yellow mark on white paper needs an edge.
        markeredgecolor=style.colour if one.paper else "black",
        markeredgewidth=1.1 if one.paper else 0.4,
        elinewidth=0.8,
        capsize=2,
        label=one.label,
        zorder=3,
        **options,
    )


def _draw_bars(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> None:
    """Bars side by side in their categories; what is to compare with is a hollow mark at its own bar's place."""
    shown = [one for one in panel.series if one.mark is Mark.bars]
    slots = {name: list(dict.fromkeys(one.style for one in shown if name in one.x)) for name in panel.categories}
    numbered = sum(len(one.x) for one in shown) <= LABELLED_BARS
    for one in shown:
        style, centres, widths = styles[one.style], [], []
        for name in one.x:
            keys = slots[str(name)]
            width = BAR_GROUP / len(keys)
            centres.append(panel.categories.index(str(name)) + width * (keys.index(one.style) + 0.5) - BAR_GROUP / 2)
            widths.append(min(width, 0.6) * 0.92)
        if one.paper:
            axes.plot(
                centres,
                _numbers(one.y),
                "D",
                markerfacecolor="white",
                markeredgecolor="black",
                label=one.label,
                zorder=4,
            )
            continue
        drawn = axes.bar(
            centres,
            _numbers(one.y),
            widths,
            yerr=_errors(one),
            color=style.colour,
            edgecolor="black",
            linewidth=0.5,
            hatch=style.hatch,
            error_kw={"elinewidth": 0.8, "capsize": 2},
            label=one.label,
            zorder=2,
        )
        if numbered:
            # In the middle of the bar, where neither a limit nor a mark to compare with is in the way.
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.bar_label(drawn, fmt="{:#.3g}", fontsize=6, label_type="center", bbox=box, zorder=5)
    axes.set_xlim(-0.6, len(panel.categories) - 0.4)


def _draw_line(axes: Axes, line: Line, style: Style) -> None:
    look: dict[str, Any] = {
        "color": style.colour,
        "linewidth": 1.0,
        "linestyle": ":" if line.paper else "--",
        "zorder": 1,
    }
    if line.direction is Direction.diagonal:
        data = axes.dataLim
        ends = [0.8 * float(min(data.min)), 1.25 * float(max(data.max))]
        axes.plot(ends, ends, label=line.label, **look)
    elif line.limit:
        _draw_limit(axes, line, look)
    else:
        # Its marker at the end tells it from another of the same hue.
        along, across = ([0.0, 1.0], [line.value, line.value]), axes.get_yaxis_transform()
        if line.direction is Direction.vertical:
            along, across = (along[1], along[0]), axes.get_xaxis_transform()
        inside = "none" if line.paper else style.colour
        marker: dict[str, Any] = {"marker": style.marker, "markevery": [1], "markerfacecolor": inside, "clip_on": False}
        axes.plot(*along, transform=across, label=line.label, **marker, **look)
        if line.text:
            # Beyond the axes, where it hides no value.
            end, offset, look = (1.0, line.value), (5, 0), {"ha": "left", "va": "center"}
            if line.direction is Direction.vertical:
                end, offset, look = (line.value, 1.0), (0, 5), {"ha": "center", "va": "bottom"}
            axes.annotate(line.text, end, offset, across, "offset points", fontsize=6, color=style.colour, **look)


def _draw_limit(axes: Axes, line: Line, look: Mapping[str, Any]) -> None:
    """A limit carries its name on the line, and is in sight even where nothing comes near it."""
    if line.direction is Direction.horizontal:
        axes.axhline(line.value, **look)
        axes.set_ylim(top=max(axes.get_ylim()[1], line.value * 1.08))
        axes.annotate(line.label, (0.01, line.value), (0, 2), axes.get_yaxis_transform(), "offset points")
    else:
        axes.axvline(line.value, **look)
        # At the foot: the best points, and with them their names, are at the top.
        axes.annotate(line.label, (line.value, 0.01), (-2, 0), axes.get_xaxis_transform(), "offset points", ha="right")


def _texts(axes: Axes, one: Series) -> list[Text]:
    if not one.texts:
        return []
    placed = []
    for x, y, text in zip(one.x, one.y, one.texts, strict=True):
        if text and x is not None and y is not None:
            # They move apart once the layout is known, and must not decide it.
            written = axes.text(float(x), y, text, fontsize=6, in_layout=False)
            written.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
            placed.append(written)
    return placed


def _numbers(values: tuple[Any, ...]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _errors(one: Series) -> list[list[float]] | None:
    """Distances below and above each value; none where an end is not known."""
    if not one.low:
        return None
    ends = list(zip(one.low, one.y, one.high, strict=True))
    below = [y - low if low is not None and y is not None else 0.0 for low, y, _ in ends]
    above = [high - y if high is not None and y is not None else 0.0 for _, y, high in ends]
    # A bootstrap's end may lie on the other side of the value by a rounding.
    return [[max(0.0, value) for value in below], [max(0.0, value) for value in above]]
