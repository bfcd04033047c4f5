"""Drawings for print: every kind of mark ends up in PDF, SVG and PNG, and the same drawing in the same bytes."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from peft_study.report.figures import FIGURES, Direction, Drawing, Line, Mark, Panel, Scale, Series, draw_matplotlib
from peft_study.report.figures.plotting import figure_of
from peft_study.report.figures.style import lengths_key, styles_of
from peft_study.report.figures.traces import SYMBOLS
from peft_study.report.read.reference import paper_rows
from tests.report_cells import drawing_of
from tests.unit.test_figures import small_study


def text_of(figure: Figure) -> str:
    return " ".join(legend_text.get_text() for legend in figure.legends for legend_text in legend.get_texts())


def every_mark() -> Drawing:
    numbers = Panel(
        "numbers",
        "x",
        "y",
        (
            Series(
                "points", (1.0, 2.0), (3.0, None), style="lora", low=(2.0, None), high=(4.0, None), texts=("a $x", "b")
            ),
            Series("line", (1.0, 2.0), (1.0, 2.0), Mark.line, "icl"),
            Series("line (paper)", (1.0,), (1.5,), Mark.line, "icl", paper=True),
            Series("path", (1.0, 2.0), (2.0, 2.0), Mark.path, "pareto"),
        ),
        (
            Line("level", Direction.horizontal, 2.5, "lora"),
            Line("wall", Direction.vertical, 1.5, "rag", paper=True),
            Line("24 GB", Direction.vertical, 3.0, "limit", limit=True),
        ),
    )
    named = Panel(
        "named",
        "",
        "GB",
        (
            Series("LoRA", ("one", "two"), (3.0, 4.0), Mark.bars, "lora"),
            Series("LoRA (paper)", ("one",), (3.5,), Mark.bars, "lora", paper=True),
        ),
        (Line("24 GB", Direction.horizontal, 24.0, "limit", limit=True),),
        ("one", "two"),
    )
    counted = Panel(
        "counted", "tokens", "%", (Series("steps", (0.0, 8.0, 16.0), (40.0, 60.0, None), Mark.steps, "own"),)
    )
    equal = Panel(
        "equal",
        "x",
        "y",
        (Series("points", (1.0, 10.0), (2.0, 9.0)),),
        (Line("ideal", Direction.diagonal, limit=True),),
        x_scale=Scale.log,
        y_scale=Scale.log,
    )
    return Drawing("marks", "Every mark", (numbers, named, counted, equal), compared="paper")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_is_drawn_in_three_formats(name: str, tmp_path: Path) -> None:
    files = draw_matplotlib(drawing_of(name, small_study(), paper_rows()), tmp_path / "new" / name)

    assert [file.name for file in files] == [f"{name}.pdf", f"{name}.svg", f"{name}.png"]
    assert [file.read_bytes()[:5] for file in files] == [b"%PDF-", b"<?xml", b"\x89PNG\r"]
    # Something besides paper: a blank page has one colour.
    assert imread(files[2]).reshape(-1, 4).std(axis=0)[:3].min() > 0.01


def test_the_same_drawing_becomes_the_same_bytes(tmp_path: Path) -> None:
    first = [file.read_bytes() for file in draw_matplotlib(every_mark(), tmp_path / "one")]
    second = [file.read_bytes() for file in draw_matplotlib(every_mark(), tmp_path / "two")]

    assert first == second


def test_every_mark_is_drawn_and_what_has_its_own_beside_it_needs_no_entry_in_the_legend() -> None:
    figure = figure_of(every_mark())

    assert text_of(figure) == "points line path LoRA steps level wall ideal hollow or dotted: paper"
    named = figure.axes[1]
    assert [bar.get_height() for bar in named.patches] == [3.0, 4.0]
    assert [text.get_text() for text in named.get_xticklabels()] == ["one", "two"]
    # The limit is in sight though no bar comes near it.
    assert named.get_ylim()[1] > 24


def test_the_papers_value_is_hollow_and_stands_at_its_own_bar() -> None:
    named = figure_of(every_mark()).axes[1]

    hollow = next(line for line in named.lines if line.get_label() == "LoRA (paper)")
    first = named.patches[0]
    assert list(hollow.get_xdata()) == [pytest.approx(first.get_x() + first.get_width() / 2)]
    assert list(hollow.get_ydata()) == [3.5]
    assert hollow.get_markerfacecolor() == "white"


def test_a_drawing_of_more_than_fits_is_cut_and_says_so() -> None:
    names = tuple(f"model {number}" for number in range(900))
    bars = Series("LoRA", names, tuple(float(number) for number in range(900)), Mark.bars, "lora")
    wide = Panel("", "", "GB", (bars,), categories=names)
    point = Panel("one", "x", "y", (Series("a", (1.0,), (1.0,)),))

    figure = figure_of(Drawing("wide", "Wide", (wide,)))
    assert figure.get_suptitle() == "Wide (80 of 900 groups of bars)"
    assert [bar.get_height() for bar in figure.axes[0].patches] == [float(number) for number in range(80)]
    figure = figure_of(Drawing("many", "Many", (point,) * 30))
    assert figure.get_suptitle() == "Many (24 of 30 panels)"
    assert len(figure.axes) == 24


def test_the_reason_stands_where_nothing_can_be_drawn() -> None:
    figure = figure_of(drawing_of("figure2", small_study().drop(columns="token_lengths")))

    assert "recorded the lengths" in figure.axes[0].texts[0].get_text()


def test_a_name_with_a_dollar_sign_is_text_and_no_formula(tmp_path: Path) -> None:
    name = r"$\frac{model"
    panel = Panel(name, name, name, (Series(name, (1.0,), (1.0,), texts=(name,)),))

    draw_matplotlib(Drawing("f", name, (panel,)), tmp_path / "f")


def test_drawing_leaves_matplotlibs_settings_as_they_were(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)

    draw_matplotlib(every_mark(), tmp_path / "f")

    assert dict(mpl.rcParams) == before


def test_known_models_and_methods_differ_in_more_than_their_colour() -> None:
    models = [f"codellama-7b{suffix}" for suffix in ("", "-instruct", "-python")] + ["codegen2-1b", "codegen2-7b"]
    methods = ["full", "lora", "lora+int8", "lora+nf4", "ia3", "prompt", "prefix", "zero-shot", "icl", "rag"]

    for keys in (models, methods, [f"own-{number}" for number in range(24)]):
        looks = {(style.colour, style.marker) for style in styles_of(keys).values()}
        assert len(looks) == len(keys)
    assert len({style.marker for style in styles_of(methods).values()}) == len(methods)


def test_prompts_and_answers_differ_in_grey_and_are_the_same_for_every_model() -> None:
    models = ("codellama-7b", "codegen2-1b", "own")
    styles = styles_of(lengths_key(part, model) for model in models for part in ("prompt", "answer"))

    for model in models:
        prompt, answer = (styles[lengths_key(part, model)] for part in ("prompt", "answer"))
        assert (prompt.line, answer.line) == ("-", "--")
        assert prompt.colour == answer.colour
    assert len({style.colour for style in styles.values()}) == len(models)
    figure = figure_of(drawing_of("figure2", small_study()))
    assert [patch.get_linestyle() for patch in figure.axes[0].patches] == ["-", "--"]


def points(number: int, *, low: float = 1.0, high: float = 2.0) -> Drawing:
    """Named points on a diagonal, and a limit whose name is where the last of them are."""
    values = tuple(low + (high - low) * place / number for place in range(number))
    series = Series("LoRA", values, values, style="lora", texts=tuple(f"model {place}" for place in range(number)))
    return Drawing("p", "P", (Panel("", "x", "y", (series,), (Line("24 GB", Direction.vertical, high, limit=True),)),))


def test_names_hide_neither_points_nor_each_other() -> None:
    figure = figure_of(points(6))
    axes = figure.axes[0]

    written = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in written]
    assert {text.get_text() for text in written} == {"24 GB", *(f"model {place}" for place in range(6))}
    assert not [1 for place, box in enumerate(boxes) for other in boxes[place + 1 :] if box.overlaps(other)]
    places = axes.transData.transform([(value, value) for value in np.linspace(1, 2, 7)[:-1]])
    assert not [1 for box in boxes for x, y in places if box.contains(x, y)]


def test_more_names_than_there_is_room_for_are_left_out() -> None:
    axes = figure_of(points(31)).axes[0]

    assert [text.get_text() for text in axes.texts if text.get_text()] == ["24 GB"]


def test_panels_share_one_entry_for_a_line_and_say_its_number_at_it() -> None:
    panels = tuple(
        Panel(text, "x", "y", lines=(Line("best ICL", Direction.horizontal, 2.5, "icl", text=text),))
        for text in ("5 examples", "8 examples")
    )

    figure = figure_of(Drawing("lines", "Lines", panels))

    assert text_of(figure) == "best ICL"
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["5 examples", "8 examples"]


def test_every_marker_has_a_name_in_the_browser() -> None:
    assert all(style.marker in SYMBOLS for style in styles_of(["full", *map(str, range(24))]).values())
    assert all(re.fullmatch(r"#[0-9A-F]{6}", style.colour) for style in styles_of(["lora", "rag", "x"]).values())
