"""Figures 3 and 7: the effect of solved examples in the prompt, random and retrieved ones."""

import math

import pandas as pd

from peft_study.report.figures.drawing import Direction, Drawing, Line, Mark, Panel, Series
from peft_study.report.figures.selection import Selection, quality, select, summarise, variant_label
from peft_study.report.figures.series import Point, finish, make_series
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study

_X_RANDOM = "number of random examples"
_X_RETRIEVED = "number of retrieved examples"


def figure3(study: Study, other: Study | None = None) -> Drawing:
    """Draw the score against the number of random examples, a line for each model and a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with; a best over an unknown number of examples becomes a horizontal line.
    """
    chosen = select(study, other, "zero-shot", "icl")
    panels = []
    for title, of_dataset in chosen.by_dataset():
        column, label = quality(of_dataset.rows)
        drawn: list[Series] = []
        lines: list[Line] = []
        for model in of_dataset.models():
            of_model = of_dataset.of_model(model)
            drawn += _curves(of_model, column, model_name(model), model)
            # The paper's curves are only drawn; its text has the best of each.
            for rows, paper, suffix in of_model.sides:
                lines += _best(rows, column, f"{model_name(model)}, best{suffix}", model, paper=paper)
        panels.append(Panel(title, _X_RANDOM, label, tuple(drawn), tuple(lines)))
    missing = "No finished cell of zero-shot or in-context learning."
    return finish("figure3", "In-context learning by number of examples", panels, chosen, missing)


def figure7(study: Study, other: Study | None = None) -> Drawing:
    """Draw retrieval by the number of examples, with the best in-context learning and LoRA as lines.

    Each data set and model has a panel.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with; a best over an unknown number of examples becomes a horizontal line.
    """
    chosen = select(study, other, "rag", "icl", "lora")
    retrieved = chosen.of_variant("rag")
    panels = []
    for dataset in retrieved.datasets():
        for model in retrieved.of_dataset(dataset).models():
            selection = chosen.of_dataset(dataset).of_model(model)
            # By data set: contest problems have tests and no EM@10.
            column, label = quality(selection.rows)
            curves = _curves(selection.of_variant("rag"), column, variant_label("rag"), "rag")
            title = f"{model_name(model)}, {dataset_name(dataset)}" if dataset else model_name(model)
            panels.append(Panel(title, _X_RETRIEVED, label, tuple(curves), tuple(_levels(selection, column))))
    missing = "No finished cell of retrieval-augmented generation."
    return finish("figure7", "Retrieved examples against ICL and LoRA", panels, chosen, missing)


def best_of(rows: pd.DataFrame, column: str) -> tuple[float | None, pd.DataFrame]:
    """Find the number of examples with the highest mean score.

    Returns:
        That number, None if unknown, and its rows.
    """
    means = [
        (mean.value, float(group["num_examples"].iloc[0]), group)
        for group in _by_examples(rows)
        if (mean := summarise(group, column))
    ]
    if not means:
        return None, rows.iloc[:0]
    # Among equal means, fewer examples cost less.
    _, number, best = max(means, key=lambda candidate: (candidate[0], -candidate[1]))
    return None if math.isnan(number) else number, best


def _by_examples(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Divide rows by the number of examples; those where it is unknown are a part, too."""
    return [group for _, group in rows.groupby("num_examples", dropna=False, sort=False)]


def _curves(chosen: Selection, column: str, label: str, style: str) -> list[Series]:
    """Draw a line of this study's points, and a line of those to compare with that have a number of examples."""
    curves = []
    for rows, paper, suffix in chosen.sides:
        # The paper's best has no number of examples, and is drawn as a level instead.
        counted = rows[rows["num_examples"].notna()].sort_values("num_examples", kind="stable")
        points = [
            Point(float(group["num_examples"].iloc[0]), mean)
            for group in _by_examples(counted)
            if (mean := summarise(group, column))
        ]
        if points:
            curves.append(make_series(label + suffix, points, Mark.line, style, paper=paper))
    return curves


def _levels(chosen: Selection, column: str) -> list[Line]:
    """Draw horizontal lines for LoRA and the best in-context learning, of this study and of what to compare with."""
    lines = []
    for rows, paper, suffix in chosen.sides:
        for key, name in (("lora", "LoRA"), ("icl", "best ICL")):
            number, best = best_of(rows[rows["variant"] == key], column)
            if level := summarise(best, column):
                # The number of examples is not part of the label, so that all panels share a legend entry.
                text = "" if key == "lora" or number is None else f"{number:.0f} example{'' if number == 1 else 's'}"
                lines.append(Line(name + suffix, Direction.horizontal, level.value, key, paper, text=text))
        lines += _best(rows[rows["variant"] == "rag"], column, f"best RAG{suffix}", "rag", paper=paper)
    return lines


def _best(rows: pd.DataFrame, column: str, label: str, style: str, *, paper: bool) -> list[Line]:
    """Draw a line for a score without a number of examples, as the paper reports its best."""
    best = summarise(rows[rows["num_examples"].isna()], column)
    return [Line(label, Direction.horizontal, best.value, style, paper)] if best else []
