"""What a score costs: against peak memory and against time, with the Pareto front; and whether memory was foreseen."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from peft_study.report.figures.drawing import Direction, Drawing, Line, Mark, Panel, Scale, Series
from peft_study.report.figures.memory import card_limit
from peft_study.report.figures.selection import GIGABYTES, PERCENT, Selection, groups, point, quality, select
from peft_study.report.figures.series import Placed, finish, series
from peft_study.report.figures.variants import variant_label
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study

MINUTES = 1 / 60
PREDICTED = "predicted_peak_bytes"
_NAMES = {"model": model_name, "dataset": dataset_name}
_FRONT = "The Pareto front joins the cells than which no other is both cheaper and better."
NAMED_PREDICTIONS = 10
"""Points of the predictions that have their names beside them; more would hide each other."""
_WORST = f"At most the {NAMED_PREDICTIONS} points are named whose peak is furthest from the predicted one, as a ratio."
_WHOLE = "Memory is the larger peak of training and generation."


def quality_memory(study: Study, other: Study | None = None) -> Drawing:
    """The score against peak memory, with the Pareto front, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen, label = select(study, other).measured_alike("peak_bytes")
    panels = _against(chosen, "peak_bytes", GIGABYTES, label, card_limit(label, Direction.vertical))
    missing = "No finished cell with a score and a measured peak memory."
    return finish("quality-memory", "Score against peak memory", panels, chosen, missing, (_WHOLE, _FRONT))


def quality_time(study: Study, other: Study | None = None) -> Drawing:
    """The score against the time of training and generation, with the Pareto front, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = _timed(select(study, other))
    devices = sorted({str(name) for name in chosen.own["device"].dropna()})
    notes = [_FRONT]
    if len(devices) > 1:
        notes.insert(0, f"Times of several devices stand side by side: {', '.join(devices)}.")
    label = "training and generation, minutes"
    panels = _against(chosen, "work_seconds", MINUTES, label, (), Scale.log)
    missing = "No finished cell with a score and a measured time."
    return finish("quality-time", "Score against time", panels, chosen, missing, notes)


def predicted_memory(study: Study, other: Study | None = None) -> Drawing:
    """The measured peak against the one that was predicted before the run; on the diagonal they are equal.

    Args:
        study: rows of `rows.load`, with "predicted_peak_bytes" where cells recorded it.
        other: not drawn: a prediction is of the same run.
    """
    chosen, label = select(study, None).measured_alike("peak_bytes")
    drawn = []
    if PREDICTED in study.frame:
        known = chosen.only(lambda rows: rows[PREDICTED].notna())
        # What all points have in common names none of them.
        named = tuple(name for name in ("model", "dataset") if known.own[name].nunique() > 1)
        for key in known.variants():
            rows = known.own[known.own["variant"] == key]
            if placed := _placed(rows, PREDICTED, GIGABYTES, "peak_bytes", GIGABYTES, named):
                drawn.append(series(variant_label(key), placed, Mark.points, key))
    shown = _named_worst(drawn)
    diagonal = Line("as predicted", Direction.diagonal, style="limit", limit=True)
    panel = Panel(
        "", "predicted peak memory, GB", label, tuple(shown), (diagonal,), x_scale=Scale.log, y_scale=Scale.log
    )
    missing = "No finished cell recorded the peak memory that was predicted for it."
    title = "Measured against predicted peak memory"
    worst = (_WORST,) if shown != drawn else ()
    notes = (_WHOLE, "The prediction counts tensors, not what an allocator or libraries add.", *worst)
    return finish("predicted-memory", title, [panel], chosen, missing, notes)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points than which none is both cheaper and better, the cheapest first.

    Args:
        points: cost and score of each.
    """
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda one: (one[0], -one[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def _against(
    chosen: Selection,
    cost: str,
    factor: float,
    label: str,
    lines: tuple[Line, ...],
    scale: Scale = Scale.linear,
) -> list[Panel]:
    panels = []
    for dataset in chosen.datasets():
        here = chosen.of_dataset(dataset)
        column, score_label = quality(here.own)
        named = ("model",) if len(set(here.own["model"])) > 1 else ()
        drawn = []
        for rows, paper in ((here.own, False), (here.other, True)):
            for key in here.variants():
                of_key = rows[rows["variant"] == key]
                if placed := _placed(of_key, cost, factor, column, PERCENT, named):
                    name = f"{variant_label(key)} ({here.other_label})" if paper else variant_label(key)
                    drawn.append(series(name, placed, Mark.points, key, paper=paper))
        front = _front(drawn)
        shown = [_named_on(front, one) for one in drawn]
        panels.append(
            Panel(dataset_name(dataset or ""), label, score_label, (*shown, *_staircase(front)), lines, x_scale=scale)
        )
    return panels


def _placed(
    rows: pd.DataFrame, along: str, along_factor: float, up: str, up_factor: float, text: tuple[str, ...]
) -> list[Placed]:
    found = []
    for _, group in groups(rows, "model", "dataset", "num_examples"):
        x, y = point(group, along, along_factor), point(group, up, up_factor)
        if x and y:
            parts = [_NAMES[name](str(group[name].iloc[0])) for name in text]
            found.append(Placed(x.value, y, ", ".join(parts)))
    return found


def _front(drawn: Sequence[Series]) -> list[tuple[float, float]]:
    """The front of this study's points."""
    own = [one for one in drawn if not one.paper]
    points = [
        (float(x), y) for one in own for x, y in zip(one.x, one.y, strict=True) if x is not None and y is not None
    ]
    return pareto(points)


def _named_on(front: Sequence[tuple[float, float]], one: Series) -> Series:
    """The series with the names of its points on the front, each model's best: all would hide each other."""
    if not one.texts:
        return one
    best: dict[str, int] = {}
    for place, (x, y, text) in enumerate(zip(one.x, one.y, one.texts, strict=True)):
        if not one.paper and (x, y) in front and (text not in best or (y or 0.0) > (one.y[best[text]] or 0.0)):
            best[text] = place
    return replace(one, texts=tuple(text if best.get(text) == place else "" for place, text in enumerate(one.texts)))


def _named_worst(drawn: Sequence[Series]) -> list[Series]:
    """The series with the names of the points that were predicted worst."""
    errors = [
        (abs(math.log(y / float(x))), number, place)
        for number, one in enumerate(drawn)
        for place, (x, y) in enumerate(zip(one.x, one.y, strict=True))
        if x and y and float(x) > 0 and y > 0
    ]
    # Of equal errors the first ones.
    errors.sort(key=lambda one: (-one[0], *one[1:]))
    kept = {(number, place) for _, number, place in errors[:NAMED_PREDICTIONS]}
    return [
        replace(one, texts=tuple(text if (number, place) in kept else "" for place, text in enumerate(one.texts)))
        for number, one in enumerate(drawn)
    ]


def _staircase(front: Sequence[tuple[float, float]]) -> list[Series]:
    """A line through the front, which is reached only where a cell is; where fewer than two are on it there is none."""
    if len(front) < 2:
        return []
    corners = [front[0]]
    for (_, below), (cost, score) in pairwise(front):
        corners += [(cost, below), (cost, score)]
    return [Series("Pareto front", tuple(x for x, _ in corners), tuple(y for _, y in corners), Mark.path, "pareto")]


def _timed(chosen: Selection) -> Selection:
    """The rows with a column "work_seconds": generation, and training where there is any.

    It is the same in all repeats: the sum of both phases' medians, as in the tables.
    """

    def timed(rows: pd.DataFrame) -> pd.DataFrame:
        repeats = rows.groupby(["model", "variant", "dataset", "num_examples"], dropna=False)
        train, generate = (repeats[name].transform("median") for name in ("train_seconds", "generate_seconds"))
        trained = train.notna() | (rows["kind"] == "prompting")
        seconds = train.fillna(0) + generate
        return rows.assign(work_seconds=seconds.where(trained))

    return Selection(timed(chosen.own), timed(chosen.other), chosen.notes)
