"""Drawings as plotly figures: plotly accepts them, they hold the drawing's values, and no text is markup."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import pytest

from peft_study.report.figures import FIGURES, Direction, Drawing, Line, Mark, Panel, Series, interactive, styles_of
from peft_study.report.figures.interactive import FEW_CATEGORIES, panel_figure, sizes_of
from peft_study.report.figures.traces import LABEL_CHARACTERS, MISSING, plain_number, plot_text
from peft_study.report.read.reference import paper_rows
from peft_study.report.read.rows import frame_of
from peft_study.report.study import Study
from tests.report_cells import HOSTILE
from tests.unit.test_figures import small_study
from tests.unit.test_plotting import every_mark


def figure_of_panel(panel: Panel) -> dict[str, Any]:
    return panel_figure(panel, styles_of(panel.style_keys))


def bars(*series: tuple[str, bool, dict[str, float]]) -> Panel:
    """A panel of bars: style key, whether it is the paper's, and height by category."""
    drawn = [
        Series(f"{key}{paper}", tuple(heights), tuple(heights.values()), Mark.bars, key, paper=paper)
        for key, paper, heights in series
    ]
    names = dict.fromkeys(name for _, _, heights in series for name in heights)
    return Panel("", "", "GB", tuple(drawn), categories=tuple(names))


@pytest.mark.parametrize("name", sorted(FIGURES))
@pytest.mark.parametrize(
    "rows", [Study(paper_rows()), Study(small_study()), Study(frame_of([]))], ids=["paper", "small", "no cell"]
)
def test_plotly_accepts_every_figure(name: str, rows: Any) -> None:
    drawing = FIGURES[name](rows, Study(paper_rows()))

    figure = interactive(drawing)
    json.dumps(figure, allow_nan=False)
    assert len(go.Figure(figure).data) == len(figure["data"])
    for panel in drawing.panels:
        go.Figure(figure_of_panel(panel))


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_has_the_drawings_values_and_cells(name: str) -> None:
    drawing = FIGURES[name](Study(small_study()), Study(paper_rows()))

    drawn = [series for panel in drawing.panels for series in panel.series]
    traces = [trace for trace in interactive(drawing)["data"] if trace["hoverinfo"] != "skip"]
    assert [(trace["name"], tuple(trace["x"]), tuple(trace["y"])) for trace in traces] == [
        (series.label, series.x, series.y) for series in drawn
    ]
    assert [trace.get("customdata") for trace in traces] == [
        [list(cells) for cells in series.cells] or None for series in drawn
    ]


def test_every_mark_has_its_trace() -> None:
    figure = interactive(every_mark())

    kinds = [(trace["type"], trace.get("mode")) for trace in figure["data"]]
    assert kinds == [
        ("scatter", "markers"),
        *[("scatter", "lines+markers")] * 2,
        ("scatter", "lines"),
        *[("bar", None)] * 2,
        ("scatter", "lines"),
        ("scatter", "markers"),
        ("scatter", "lines"),
    ]
    go.Figure(figure)


def test_error_bars_are_distances_and_none_where_an_end_is_unknown() -> None:
    panel = Panel("", "x", "y", (Series("a", (1.0, 2.0), (3.0, 4.0), low=(2.5, None), high=(5.0, None)),))

    errors = figure_of_panel(panel)["data"][0]["error_y"]
    assert (errors["arrayminus"], errors["array"]) == ([0.5, 0.0], [2.0, 0.0])


def test_the_papers_values_are_hollow() -> None:
    point = Series("LoRA (paper)", (1.0,), (1.0,), style="lora", paper=True)
    hollow = figure_of_panel(bars(("lora", True, {"m": 1.0})))["data"][0]["marker"]

    assert figure_of_panel(Panel("", "x", "y", (point,)))["data"][0]["marker"]["symbol"].endswith("-open")
    assert (hollow["color"], "pattern" in hollow) == ("rgba(0,0,0,0)", False)


def test_bars_fill_their_category_without_overlap_and_without_gaps_for_absent_ones() -> None:
    panel = bars(
        ("full", False, {"a": 1.0, "b": 2.0}),
        ("lora", False, {"a": 3.0}),
        ("full", True, {"a": 4.0}),
    )

    edges: dict[str, list[tuple[float, float, str]]] = {"a": [], "b": []}
    for trace in figure_of_panel(panel)["data"]:
        for name, left, width in zip(trace["x"], trace["offset"], trace["width"], strict=True):
            edges[name].append((left, left + width, trace["name"]))
    assert [label for *_, label in sorted(edges["a"])] == ["fullFalse", "fullTrue", "loraFalse"]
    assert all(right <= left + 1e-5 for (_, right, _), (left, *_) in pairwise(sorted(edges["a"])))
    # A bar alone in its category stands in the middle.
    ((left, right, _),) = edges["b"]
    assert left == pytest.approx(-right)


def test_lines_are_shapes_a_limit_has_its_name_beside_it_and_others_in_the_legend() -> None:
    lines = (
        Line("24 GB", Direction.vertical, 24.0, "limit", limit=True),
        Line("best ICL", Direction.horizontal, 12.5, "icl", text="8 examples"),
    )

    layout = figure_of_panel(Panel("", "x", "y", lines=lines))["layout"]
    limit, best = layout["shapes"]
    assert (limit["x0"], limit["x1"], limit["yref"], limit["showlegend"]) == (24.0, 24.0, "y domain", False)
    assert (best["y0"], best["xref"], best["showlegend"], best["name"]) == (12.5, "x domain", True, "best ICL: 12.5")
    assert [label["text"] for label in layout["annotations"]] == ["24 GB", "8 examples"]


def test_panels_have_axes_of_their_own_that_do_not_overlap_and_one_legend_entry_a_series() -> None:
    drawing = FIGURES["figure4"](Study(paper_rows()), None)

    figure = interactive(replace(drawing, panels=drawing.panels * 2))
    layout = figure["layout"]
    assert [trace["xaxis"] for trace in figure["data"]] == [
        axis for axis, panel in zip(("x", "x2", "x3", "x4"), drawing.panels * 2, strict=True) for _ in panel.series
    ]
    assert layout["xaxis"]["domain"] == layout["xaxis3"]["domain"]
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]
    assert layout["yaxis"]["domain"][0] > layout["yaxis3"]["domain"][1]
    labels = {series.label for panel in drawing.panels for series in panel.series}
    assert sorted(trace["name"] for trace in figure["data"] if trace["showlegend"]) == sorted(labels)
    assert [label["text"] for label in layout["annotations"]] == [panel.title for panel in drawing.panels] * 2


def test_reference_lines_stay_on_the_axes_of_their_panel() -> None:
    panel = Panel("", "x", "y", lines=(Line("a", Direction.horizontal, 1.0), Line("b", Direction.vertical, 2.0)))

    shapes = interactive(Drawing("d", "D", (panel, panel)))["layout"]["shapes"]
    assert [(shape["xref"], shape["yref"]) for shape in shapes] == [
        ("x domain", "y"),
        ("x", "y domain"),
        ("x2 domain", "y2"),
        ("x2", "y2 domain"),
    ]


def test_texts_from_data_are_escaped_and_shortened() -> None:
    series = Series(HOSTILE, ("<b>x",), (1.0,), Mark.bars, texts=(HOSTILE,), cells=((HOSTILE,),))
    panel = Panel(HOSTILE, HOSTILE, HOSTILE, (series,), (Line(HOSTILE, Direction.horizontal, limit=True),), ("<b>x",))

    figure = interactive(Drawing("d", HOSTILE, (panel,)))
    del figure["data"][0]["customdata"]
    # The only markup is ours: bold and line breaks in the hover text.
    text = json.dumps(figure).replace("<b>", "").replace("</b>", "").replace("<br>", "")
    assert "<" not in text
    assert "<b>" not in json.dumps(figure["layout"])
    assert figure["data"][0]["x"] == figure["layout"]["xaxis"]["tickvals"] == ["&lt;b&gt;x"]
    assert len(plot_text("x" * 3000)) == LABEL_CHARACTERS


def test_two_long_names_with_the_same_short_form_keep_their_own_bars() -> None:
    first, second = (f"{'x' * 60}{letter}{'y' * 60}" for letter in "ab")

    figure = figure_of_panel(bars(("lora", False, {first: 1.0, second: 2.0})))
    assert figure["data"][0]["x"] == figure["layout"]["xaxis"]["categoryarray"] == [first, second]


def test_ticks_of_example_counts_are_those_that_were_run() -> None:
    axis = figure_of_panel(FIGURES["figure3"](Study(small_study()), None).panels[0])["layout"]["xaxis"]

    assert axis["tickvals"] == [0.0, 1.0, 8.0]
    assert axis["ticktext"] == ["0", "1", "8"]


def test_more_categories_need_more_width() -> None:
    few, many = (bars(("lora", False, dict.fromkeys(map(str, range(number)), 1.0))) for number in (2, 40))

    assert sizes_of(few).least_width < sizes_of(many).least_width
    assert sizes_of(few).level_width < sizes_of(many).level_width
    assert sizes_of(Panel("", "x", "y")).least_width == 0
    # A wide panel has the figure's width, so none stands beside it.
    assert FEW_CATEGORIES < 40
    assert interactive(Drawing("d", "D", (few, many)))["layout"]["xaxis2"]["domain"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, MISSING),
        (float("nan"), MISSING),
        (12345.0, "12,345"),
        (0.123456, "0.1235"),
        (12345.6, "12350"),
        (-2.0, "-2"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert plain_number(value) == text
