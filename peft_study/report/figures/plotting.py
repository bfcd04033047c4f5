"""Drawings for print, as PDF, SVG and PNG; the same drawing gives the same bytes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from peft_study.report.figures.drawing import Drawing, Line, Mark, Panel, Scale, Series
from peft_study.report.figures.marks import draw_panel
from peft_study.report.figures.names import place_names
from peft_study.report.figures.style import Style, styles_of

FORMATS = ("pdf", "svg", "png")
COLUMNS = 3
"""Number of panels side by side."""
LEGEND_ENTRIES = 60
"""A longer legend is unreadable and left out."""
PRINTED_PANELS = 24
"""Further panels are only in the drawing's data."""
PRINTED_CATEGORIES = 80
"""Further groups of bars are only in the drawing's data."""
_PANEL_INCHES = (3.3, 2.6)
_NAMED_PANEL_INCHES = (4.8, 3.9)
"""Size of a panel with names beside its points."""
_NAMES_MARGINS = (0.1, 0.13)
"""Shares of the axes beyond the outermost points, for names; matplotlib's default is 0.05."""
_INCHES_PER_CATEGORY = 0.42
_INCHES_PER_BAR = 0.33
_DOTS_PER_INCH = 200
_LEGEND_INCHES = 0.16
_LEGEND_CHARACTERS_PER_INCH = 16
_LEGEND_SYMBOL_CHARACTERS = 6
_TITLE_INCHES = 0.3
_PANEL_CHARACTERS = 48
"""Letters that fit side by side below a panel."""
_INCHES_PER_TURNED_CHARACTER = 0.03
_LOOK = Path(__file__).with_name("print.mplstyle")


def draw_matplotlib(drawing: Drawing, path_without_suffix: Path) -> list[Path]:
    """Write a drawing as PDF, SVG and PNG.

    Args:
        drawing: the figure's data.
        path_without_suffix: path of the files without their suffixes; its folder is created.

    Returns:
        The three files.
    """
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    files = [path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}") for suffix in FORMATS]
    # A context, as a notebook's own settings must be the same afterwards.
    with mpl.rc_context(fname=_LOOK):
        figure = figure_of(drawing)
        # Without a date and a version, the same drawing has the same bytes.
        stamps = {"pdf": "CreationDate", "svg": "Date", "png": "Software"}
        for file in files:
            kind = file.suffix.removeprefix(".")
            metadata = {stamps[kind]: None, "Title": drawing.title}
            figure.savefig(file, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
    return files


def figure_of(drawing: Drawing) -> Figure:
    """Convert a drawing to a matplotlib figure, for a notebook."""
    drawing = _printed(drawing)
    # Four panels are two rows of two, not a row of three and one below.
    columns = min(COLUMNS, len(drawing.panels)) if len(drawing.panels) != COLUMNS + 1 else 2
    styles = styles_of(key for panel in drawing.panels for key in panel.style_keys)
    with mpl.rc_context(fname=_LOOK):
        # Without pyplot, which keeps every figure until it is closed.
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(math.ceil(len(drawing.panels) / columns), columns, squeeze=False)
        pairs = zip(grid.flat, drawing.panels, strict=False)
        texts = [(axes, _draw(axes, panel, styles)) for axes, panel in pairs]
        for axes in grid.flat[len(drawing.panels) :]:
            axes.set_axis_off()
        _arrange(figure, drawing, columns)
        figure.draw_without_rendering()
        # The names move in the final layout, which must not change any more.
        figure.set_layout_engine("none")
        for axes, names in texts:
            place_names(axes, names)
    return figure


def _printed(drawing: Drawing) -> Drawing:
    """Cut the drawing to what fits on a page, and say so in its title."""
    cut = []
    if len(drawing.panels) > PRINTED_PANELS:
        cut.append(f"{PRINTED_PANELS} of {len(drawing.panels)} panels")
    most = max((len(panel.categories) for panel in drawing.panels), default=0)
    if most > PRINTED_CATEGORIES:
        cut.append(f"{PRINTED_CATEGORIES} of {most} groups of bars")
    panels = tuple(_first_categories(panel) for panel in drawing.panels[:PRINTED_PANELS])
    return replace(drawing, title=f"{drawing.title} ({', '.join(cut)})", panels=panels) if cut else drawing


def _first_categories(panel: Panel) -> Panel:
    categories = panel.categories[:PRINTED_CATEGORIES]
    if categories == panel.categories:
        return panel
    series = tuple(_of_categories(series, set(categories)) for series in panel.series)
    return replace(panel, categories=categories, series=series)


def _of_categories(series: Series, categories: set[str]) -> Series:
    places = [place for place, name in enumerate(series.x) if name in categories]
    columns = {name: getattr(series, name) for name in ("x", "y", "low", "high", "texts", "cells")}
    cut: dict[str, Any] = {name: tuple(values[place] for place in places) for name, values in columns.items() if values}
    return replace(series, **cut)


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> list[Text]:
    axes.set_title(panel.title)
    if panel.missing:
        axes.set_axis_off()
        axes.text(0.5, 0.5, panel.missing, ha="center", va="center", wrap=True, transform=axes.transAxes)
        return []
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    texts = draw_panel(axes, panel, styles)
    if texts:
        axes.margins(*_NAMES_MARGINS)
    if panel.categories:
        axes.grid(visible=False, axis="x")
        # Anchored, a turned label ends at its tick instead of standing centred below it.
        turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if _turned(panel) else {}
        axes.set_xticks(range(len(panel.categories)), panel.categories, **turn)
    else:
        _set_count_ticks(axes, panel)
    _set_scales(axes, panel)
    return texts


def _set_count_ticks(axes: Axes, panel: Panel) -> None:
    """Put ticks at the numbers of examples; with reference lines alone, x has no meaning and no ticks."""
    if counts := panel.counts:
        axes.set_xticks(counts, [f"{count:g}" for count in counts])
        axes.set_xlim(counts[0] - 0.7, counts[-1] + 0.7)
    elif not panel.series:
        axes.set_xticks([])


def _set_scales(axes: Axes, panel: Panel) -> None:
    for axis, scale in ((axes.xaxis, panel.x_scale), (axes.yaxis, panel.y_scale)):
        if scale is Scale.log:
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            # Over a few decades, powers of ten alone are one or two ticks.
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    # Bars and lines are compared by their heights, so their axis starts at 0. Points are compared by their positions.
    cloud = all(series.mark is Mark.points for series in panel.series)
    if panel.y_scale is Scale.linear and (not cloud or axes.get_ylim()[0] < 0):
        axes.set_ylim(bottom=0)


def _turned(panel: Panel) -> bool:
    """Whether the labels of the categories do not fit side by side."""
    return max(map(len, panel.categories), default=0) * len(panel.categories) > _PANEL_CHARACTERS


def _arrange(figure: Figure, drawing: Drawing, columns: int) -> None:
    """Set the size and the title, and add a common legend below the panels."""
    has_names = any(any(series.texts) for panel in drawing.panels for series in panel.series)
    panel_width, panel_height = _NAMED_PANEL_INCHES if has_names else _PANEL_INCHES
    width = columns * max(panel_width, *(_inches_of_bars(panel) for panel in drawing.panels))
    turned_names = [name for panel in drawing.panels if _turned(panel) for name in panel.categories]
    names_height = max(map(len, turned_names), default=0) * _INCHES_PER_TURNED_CHARACTER
    rows = math.ceil(len(drawing.panels) / columns)

    handles, labels = _legend(figure, drawing)
    entry_characters = max(map(len, labels), default=0) + _LEGEND_SYMBOL_CHARACTERS
    legend_columns = max(1, int(width * _LEGEND_CHARACTERS_PER_INCH / entry_characters))
    legend_height = math.ceil(min(len(labels), LEGEND_ENTRIES) / legend_columns) * _LEGEND_INCHES
    figure.set_size_inches(width, rows * (panel_height + names_height) + legend_height + _TITLE_INCHES)
    figure.suptitle(drawing.title, fontsize=9.5)
    if 0 < len(labels) <= LEGEND_ENTRIES:
        figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns, frameon=False)


def _inches_of_bars(panel: Panel) -> float:
    # A value to compare with is a marker on its bar, so it needs no width.
    bars = sum(len(series.x) for series in panel.series if series.mark is Mark.bars and not series.paper)
    return max(len(panel.categories) * _INCHES_PER_CATEGORY, bars * _INCHES_PER_BAR)


def _legend(figure: Figure, drawing: Drawing) -> tuple[list[Any], list[str]]:
    """Choose the legend's entries: this study's, and a common entry for hollow marks of the same styles."""
    parts: list[Series | Line] = [part for panel in drawing.panels for part in panel.series]
    parts += [part for panel in drawing.panels for part in panel.lines]
    # An entry for each hollow mark beside its solid one would double the legend.
    solid = {part.style for part in parts if not part.paper}
    handles_by_label: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles_by_label.setdefault(label, handle)
    handles = {
        part.label: handles_by_label[part.label]
        for part in parts
        if part.label in handles_by_label and not (part.paper and part.style in solid)
    }
    if drawing.compared and any(part.paper and part.style in solid for part in parts):
        hollow = Line2D([], [], linestyle=":", marker="D", color="black", markerfacecolor="none")
        handles[f"hollow or dotted: {drawing.compared}"] = hollow
    return list(handles.values()), list(handles)
