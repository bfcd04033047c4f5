"""Figures 4 and 6: CodeBLEU against exact match, for LoRA and the best in-context learning."""

import pandas as pd

from peft_study.report.figures.drawing import Drawing, Mark, Panel, Series
from peft_study.report.figures.examples import best_of
from peft_study.report.figures.selection import PERCENT, Selection, codebleu, point, quality, select
from peft_study.report.figures.series import Placed, finish, make_series
from peft_study.report.figures.variants import variant_label
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study


def figure4(study: Study, other: Study | None = None) -> Drawing:
    """Draw LoRA's CodeBLEU against its exact match, a point for each model and a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora")
    panels = []
    for dataset in chosen.datasets():
        selection = chosen.of_dataset(dataset)
        (column, label), (second, second_label) = quality(selection.rows), codebleu(selection.rows)
        drawn = []
        for rows, paper, suffix in selection.sides:
            for model in selection.models():
                placed = _placed(rows[rows["model"] == model], column, second, "")
                if placed:
                    drawn.append(make_series(model_name(model) + suffix, placed, Mark.points, model, paper=paper))
        panels.append(Panel(dataset_name(dataset or ""), label, second_label, tuple(drawn)))
    missing = "No finished cell of LoRA that has both scores."
    return finish("figure4", "LoRA: CodeBLEU against exact match", panels, chosen, missing)


def figure6(study: Study, other: Study | None = None) -> Drawing:
    """Draw CodeBLEU against exact match of LoRA and the best in-context learning, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora", "icl")
    panels = []
    for dataset in chosen.datasets():
        selection = chosen.of_dataset(dataset)
        (column, label), (second, second_label) = quality(selection.rows), codebleu(selection.rows)
        drawn = [*_compared(selection, "lora", column, second), *_compared(selection, "icl", column, second)]
        panels.append(Panel(dataset_name(dataset or ""), label, second_label, tuple(drawn)))
    # Chosen on the test split, as in the paper, which favours the best of many: a reader must be told.
    notes = ("The best in-context learning has the number of examples with the highest score on the test split.",)
    missing = "No finished cell of LoRA or in-context learning that has both scores."
    return finish("figure6", "LoRA against the best in-context learning", panels, chosen, missing, notes)


def _compared(chosen: Selection, key: str, column: str, second: str) -> list[Series]:
    drawn = []
    label = variant_label(key) if key == "lora" else f"best {variant_label(key)}, number of examples"
    for rows, paper, suffix in chosen.sides:
        placed: list[Placed] = []
        for model in chosen.models():
            number, best = best_of(rows[(rows["model"] == model) & (rows["variant"] == key)], column)
            # The paper does not say how many examples its best has.
            text = "" if paper else f"{model_name(model)}, {number:.0f}" if number else model_name(model)
            placed += _placed(best, column, second, text)
        if placed:
            drawn.append(make_series(label + suffix, placed, Mark.points, key, paper=paper))
    return drawn


def _placed(rows: pd.DataFrame, column: str, second: str, text: str) -> list[Placed]:
    along, up = point(rows, column, PERCENT), point(rows, second, PERCENT)
    return [Placed(along.value, up, text)] if along and up else []
