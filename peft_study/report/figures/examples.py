"""Figures 3 and 7: what solved examples before the prompt do, drawn at random and retrieved."""

import pandas as pd

from peft_study.report.figures.drawing import Direction, Drawing, Line, Mark, Panel, Series
from peft_study.report.figures.selection import PERCENT, Selection, groups, point, quality, select
from peft_study.report.figures.series import Placed, finish, series
from peft_study.report.figures.variants import variant_label
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study

_X_RANDOM = "number of random examples"
_X_RETRIEVED = "number of retrieved examples"


def figure3(study: Study, other: Study | None = None) -> Drawing:
    """The score against the number of random examples, a line for each model, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with; a best over an unknown number of examples becomes a horizontal line.
    """
    chosen = select(study, other, "zero-shot", "icl")
    panels = []
    for dataset in chosen.datasets():
        of_dataset = chosen.of_dataset(dataset)
        column, label = quality(of_dataset.own)
        drawn: list[Series] = []
        lines: list[Line] = []
        for model in of_dataset.models():
            of_model = of_dataset.of_model(model)
            drawn += _curves(of_model, column, model_name(model), model)
            lines += _best(of_model.own, column, f"{model_name(model)}, best", model, paper=False)
            lines += _best(
                of_model.other, column, f"{model_name(model)}, best ({chosen.other_label})", model, paper=True
            )
        panels.append(Panel(dataset_name(dataset or ""), _X_RANDOM, label, tuple(drawn), tuple(lines)))
    missing = "No finished cell of zero-shot or in-context learning."
    return finish("figure3", "In-context learning by number of examples", panels, chosen, missing)


def figure7(study: Study, other: Study | None = None) -> Drawing:
    """Retrieval by the number of examples, against the best in-context learning and LoRA; a panel a data set and model.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with; a best over an unknown number of examples becomes a horizontal line.
    """
    chosen = select(study, other, "rag", "icl", "lora")
    retrieved = chosen.only(lambda rows: rows["variant"] == "rag")
    panels = []
    for dataset in retrieved.datasets():
        for model in retrieved.of_dataset(dataset).models():
            here = chosen.of_dataset(dataset).of_model(model)
            column, label = quality(here.own)
            curves = _curves(here.only(lambda rows: rows["variant"] == "rag"), column, variant_label("rag"), "rag")
            title = ", ".join([model_name(model), *([dataset_name(dataset)] if dataset else [])])
            panels.append(Panel(title, _X_RETRIEVED, label, tuple(curves), tuple(_levels(here, column))))
    missing = "No finished cell of retrieval-augmented generation."
    return finish("figure7", "Retrieved examples against ICL and LoRA", panels, chosen, missing)


def best_of(rows: pd.DataFrame, column: str) -> tuple[float | None, pd.DataFrame]:
    """The number of examples with the highest mean score, None where it is not known, and its rows."""
    means = [
        (value.value, number, group)
        for (number,), group in groups(rows, "num_examples")
        if (value := point(group, column, PERCENT))
    ]
    if not means:
        return None, rows.iloc[:0]
    # Of equal means the fewest examples, which cost least.
    _, number, group = max(means, key=lambda one: (one[0], -_as_float(one[1])))
    return (None if pd.isna(_as_float(number)) else _as_float(number)), group


def _curves(chosen: Selection, column: str, label: str, style: str) -> list[Series]:
    """One line of this study's points, and one of those to compare with whose number of examples is known."""
    found = []
    for rows, paper in ((chosen.own, False), (chosen.other, True)):
        known = rows[rows["num_examples"].notna()].sort_values("num_examples", kind="stable")
        placed = [
            Placed(_as_float(number), value)
            for (number,), group in groups(known, "num_examples")
            if (value := point(group, column, PERCENT))
        ]
        if placed:
            name = f"{label} ({chosen.other_label})" if paper else label
            found.append(series(name, placed, Mark.line, style, paper=paper))
    return found


def _levels(chosen: Selection, column: str) -> list[Line]:
    """Horizontal lines of LoRA and of the best in-context learning, this study's and those to compare with."""
    lines = []
    for rows, paper in ((chosen.own, False), (chosen.other, True)):
        suffix = f" ({chosen.other_label})" if paper else ""
        for key in ("lora", "icl"):
            number, best = best_of(rows[rows["variant"] == key], column)
            level = point(best, column, PERCENT)
            if level:
                words = "LoRA" if key == "lora" else "best ICL"
                # All panels share one entry in the legend, whatever number was best in each.
                text = "" if key == "lora" or number is None else f"{number:.0f} example{'' if number == 1 else 's'}"
                lines.append(Line(words + suffix, Direction.horizontal, level.value, key, paper, text=text))
        lines += _best(rows[rows["variant"] == "rag"], column, f"best RAG{suffix}", "rag", paper=paper)
    return lines


def _best(rows: pd.DataFrame, column: str, label: str, style: str, *, paper: bool) -> list[Line]:
    """A line of what is told without its number of examples, as the paper tells its best."""
    best = point(rows[rows["num_examples"].isna()], column, PERCENT)
    return [Line(label, Direction.horizontal, best.value, style, paper)] if best else []


def _as_float(value: object) -> float:
    return float(str(value))
