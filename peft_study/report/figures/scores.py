"""Figures 4 and 6: CodeBLEU against exact match, for LoRA and the best in-context learning."""

from collections.abc import Callable, Iterable

import pandas as pd

from peft_study.report.figures.drawing import Drawing, Mark, Panel, Series
from peft_study.report.figures.examples import best_of
from peft_study.report.figures.selection import Selection, codebleu, quality, select, summarise, variant_label
from peft_study.report.figures.series import Point, finish, make_series
from peft_study.report.names import model_name
from peft_study.report.study import Study


def figure4(study: Study, other: Study | None = None) -> Drawing:
    """Draw LoRA's CodeBLEU against its exact match, a point for each model and a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora")
    missing = "No finished cell of LoRA that has both scores."
    return finish("figure4", "LoRA: CodeBLEU against exact match", _panels(chosen, _series_by_model), chosen, missing)


def figure6(study: Study, other: Study | None = None) -> Drawing:
    """Draw CodeBLEU against exact match of LoRA and the best in-context learning, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora", "icl")
    panels = _panels(chosen, _series_of_best)
    # Chosen on the test split, as in the paper, which favours the best of many: a reader must be told.
    notes = ("The best in-context learning has the number of examples with the highest score on the test split.",)
    missing = "No finished cell of LoRA or in-context learning that has both scores."
    return finish("figure6", "LoRA against the best in-context learning", panels, chosen, missing, notes)


def _panels(chosen: Selection, draw: Callable[[Selection, str, str], Iterable[Series]]) -> list[Panel]:
    """Make a panel for each data set; `draw` gets its rows and the columns of exact match and of CodeBLEU."""
    panels = []
    for title, selection in chosen.by_dataset():
        x_column, x_label = quality(selection.rows)
        y_column, y_label = codebleu(selection.rows)
        panels.append(Panel(title, x_label, y_label, tuple(draw(selection, x_column, y_column))))
    return panels


def _series_by_model(selection: Selection, x_column: str, y_column: str) -> Iterable[Series]:
    for rows, paper, suffix in selection.sides:
        for model in selection.models():
            if points := _points(rows[rows["model"] == model], x_column, y_column, ""):
                yield make_series(model_name(model) + suffix, points, Mark.points, model, paper=paper)


def _series_of_best(selection: Selection, x_column: str, y_column: str) -> Iterable[Series]:
    for key in ("lora", "icl"):
        label = variant_label(key) if key == "lora" else f"best {variant_label(key)}, number of examples"
        for rows, paper, suffix in selection.sides:
            points: list[Point] = []
            for model in selection.models():
                number, best = best_of(rows[(rows["model"] == model) & (rows["variant"] == key)], x_column)
                # The paper does not say how many examples its best has.
                text = "" if paper else f"{model_name(model)}, {number:.0f}" if number else model_name(model)
                points += _points(best, x_column, y_column, text)
            if points:
                yield make_series(label + suffix, points, Mark.points, key, paper=paper)


def _points(rows: pd.DataFrame, x_column: str, y_column: str, text: str) -> list[Point]:
    """Make the point of a configuration; none if a score is unknown."""
    x, y = summarise(rows, x_column), summarise(rows, y_column)
    return [Point(x.value, y, text)] if x and y else []
