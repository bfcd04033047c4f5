"""Scores against peak memory, time and energy, with the Pareto front; measured against predicted memory."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from peft_study.report.figures.drawing import Direction, Drawing, Line, Mark, Panel, Scale, Series
from peft_study.report.figures.memory import card_limit
from peft_study.report.figures.selection import Selection, quality, select, summarise, variant_label
from peft_study.report.figures.series import Point, finish, make_series
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study

PREDICTED = "predicted_peak_bytes"
_NAMES = {"model": model_name, "dataset": dataset_name}
_FRONT = "The Pareto front joins the cells that no other cell beats in both cost and score."
NAMED_PREDICTIONS = 10
"""Points of the predictions that have a name; more names would hide each other."""
_WORST = f"Only the {NAMED_PREDICTIONS} points whose peak is furthest from the predicted one, as a ratio, have a name."
_WHOLE = "Memory is the larger peak of training and generation."


def quality_memory(study: Study, other: Study | None = None) -> Drawing:
    """Draw the score against peak memory, with the Pareto front and a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen, label = select(study, other).with_comparable_memory("peak_bytes")
    panels = _against(chosen, "peak_bytes", label, card_limit(label, Direction.vertical))
    missing = "No finished cell with a score and a measured peak memory."
    return finish("quality-memory", "Score against peak memory", panels, chosen, missing, (_WHOLE, _FRONT))


def quality_time(study: Study, other: Study | None = None) -> Drawing:
    """Draw the score against the time of training and generation, with the Pareto front and a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = _summed(select(study, other), "work_seconds", "seconds")
    # Seconds depend on the machine, and a reader cannot see two machines in the points.
    devices = sorted({str(name) for name in chosen.rows["device"].dropna()})
    notes = [_FRONT]
    if len(devices) > 1:
        notes.insert(0, f"These times were measured on different devices: {', '.join(devices)}.")
    label = "training and generation, minutes"
    panels = _against(chosen, "work_seconds", label, scale=Scale.log)
    missing = "No finished cell with a score and a measured time."
    return finish("quality-time", "Score against time", panels, chosen, missing, notes)


def quality_energy(study: Study, other: Study | None = None) -> Drawing:
    """Draw the score against the card's energy for training and generation, with a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = _summed(select(study, other), "work_energy_wh", "energy_wh")
    label = "energy of the card in training and generation, Wh"
    panels = _against(chosen, "work_energy_wh", label, scale=Scale.log)
    missing = "No finished cell with a score and a measured energy. NVML measures it on a GPU."
    notes = ("The energy is of the whole card, with all other work on it.", _FRONT)
    return finish("quality-energy", "Score against energy", panels, chosen, missing, notes)


def predicted_memory(study: Study, other: Study | None = None) -> Drawing:
    """Draw the measured peak against the peak predicted before the run; on the diagonal they are equal.

    Args:
        study: rows of `rows.load`, with "predicted_peak_bytes" if cells recorded it.
        other: not used, because a prediction belongs to the same run.
    """
    chosen, label = select(study, None).with_comparable_memory("peak_bytes")
    drawn = []
    if PREDICTED in study.frame:
        predicted = chosen.only(lambda rows: rows[PREDICTED].notna())
        named_by = _distinct_columns(predicted.rows, "model", "dataset")
        for key in predicted.variants():
            rows = predicted.of_variant(key).rows
            if points := _points(rows, PREDICTED, "peak_bytes", named_by):
                drawn.append(make_series(variant_label(key), points, Mark.points, key))
    shown = _named_worst(drawn)
    # Both axes are logarithmic: a peak of 4 GB and one of 40 GB show the same relative error alike.
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
    """Find the points that no other point beats in both cost and score.

    Args:
        points: cost and score of each point.

    Returns:
        Those points, the cheapest first.
    """
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda pair: (pair[0], -pair[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def _against(
    chosen: Selection, cost: str, label: str, lines: tuple[Line, ...] = (), scale: Scale = Scale.linear
) -> list[Panel]:
    panels = []
    for title, selection in chosen.by_dataset():
        column, score_label = quality(selection.rows)
        named_by = _distinct_columns(selection.rows, "model")
        drawn = []
        for rows, paper, suffix in selection.sides:
            for key in selection.variants():
                of_variant = rows[rows["variant"] == key]
                if points := _points(of_variant, cost, column, named_by):
                    drawn.append(make_series(variant_label(key) + suffix, points, Mark.points, key, paper=paper))
        front = _front(drawn)
        shown = [_named_on(front, series) for series in drawn]
        panels.append(Panel(title, label, score_label, (*shown, *_staircase(front)), lines, x_scale=scale))
    return panels


def _distinct_columns(rows: pd.DataFrame, *columns: str) -> tuple[str, ...]:
    """Choose the columns that differ, because what all names share does not identify a point."""
    return tuple(column for column in columns if rows[column].nunique() > 1)


def _points(rows: pd.DataFrame, x_column: str, y_column: str, named_by: tuple[str, ...]) -> list[Point]:
    """Make a point of each configuration, with its values in some columns as its name."""
    points = []
    for _, group in rows.groupby(["model", "dataset", "num_examples"], dropna=False, sort=False):
        x, y = summarise(group, x_column), summarise(group, y_column)
        if x and y:
            names = [_NAMES[column](str(group[column].iloc[0])) for column in named_by]
            points.append(Point(x.value, y, ", ".join(names)))
    return points


def _front(drawn: Sequence[Series]) -> list[tuple[float, float]]:
    """Find the Pareto front of this study's points."""
    # The paper's peaks and scores are of its machine, so they do not decide which of our cells are best.
    points = [
        (float(x), y)
        for series in drawn
        if not series.paper
        for x, y in zip(series.x, series.y, strict=True)
        if x is not None and y is not None
    ]
    return pareto(points)


def _named_on(front: Sequence[tuple[float, float]], series: Series) -> Series:
    """Keep the names of the points on the front, one for each model, because more would hide each other."""
    best: dict[str, int] = {}
    for place, text in enumerate(series.texts):
        x, y = series.x[place], series.y[place]
        on_front = not series.paper and (x, y) in front
        if on_front and (text not in best or (y or 0.0) > (series.y[best[text]] or 0.0)):
            best[text] = place
    return _with_names_at(series, set(best.values()))


def _named_worst(drawn: Sequence[Series]) -> list[Series]:
    """Keep the names of the points with the largest prediction errors."""
    # All names of a study of the paper's size make an SVG of several MB.
    errors = [
        (abs(math.log(y / float(x))), number, place)
        for number, series in enumerate(drawn)
        for place, (x, y) in enumerate(zip(series.x, series.y, strict=True))
        if x and y and float(x) > 0 and y > 0
    ]
    # The sort breaks ties by position, so that the same rows always keep the same names.
    errors.sort(key=lambda error: (-error[0], *error[1:]))
    worst = {(number, place) for _, number, place in errors[:NAMED_PREDICTIONS]}
    return [
        _with_names_at(series, {place for series_number, place in worst if series_number == number})
        for number, series in enumerate(drawn)
    ]


def _with_names_at(series: Series, places: set[int]) -> Series:
    texts = tuple(text if place in places else "" for place, text in enumerate(series.texts))
    return replace(series, texts=texts)


def _staircase(front: Sequence[tuple[float, float]]) -> list[Series]:
    """Draw the front as a staircase, because no cell reaches the space between two of its points."""
    if len(front) < 2:
        return []
    corners = [front[0]]
    for (_, below), (cost, score) in pairwise(front):
        corners += [(cost, below), (cost, score)]
    return [Series("Pareto front", tuple(x for x, _ in corners), tuple(y for _, y in corners), Mark.path, "pareto")]


def _summed(chosen: Selection, column: str, measure: str) -> Selection:
    """Add a column with a measure of generation plus that of training, if any.

    All replicates have the same value: the sum of the medians of both phases, as in the tables.
    """

    def summed(rows: pd.DataFrame) -> pd.DataFrame:
        replicates = rows.groupby(["model", "variant", "dataset", "num_examples"], dropna=False)
        train, generate = (replicates[f"{phase}_{measure}"].transform("median") for phase in ("train", "generate"))
        # A trained cell without its training's cost, as from W&B, would look as cheap as prompting.
        trained = train.notna() | (rows["kind"] == "prompting")
        return rows.assign(**{column: (train.fillna(0) + generate).where(trained)})

    return Selection(summed(chosen.rows), summed(chosen.compared), chosen.notes)
