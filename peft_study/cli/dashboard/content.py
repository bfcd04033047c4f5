"""What a study's dashboard shows, as data. `specification.py` turns it into W&B's format.

Metrics have the names of `peft_study.tracking.names`, so that every panel shows what a run logs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_study.config.schema import CellConfig, DatasetLayout, MethodKind
from peft_study.metrics.registry import HEADLINES, QUALITY
from peft_study.tracking.names import METRICS_PREFIX, PROMPTS, SECONDS, SERIES, TRAIN_STEP

METHOD, MODEL = "method.name", "model.name"
"""Config keys by which panels group runs."""
STATUS = "status"
PEAK = "memory/peak_gb"
CARD = "memory/device_gb"
_AXES = {series.name: series.axis for series in SERIES}
_WITH_TESTS = frozenset({DatasetLayout.apps, DatasetLayout.mbpp, DatasetLayout.humaneval})


@dataclass(frozen=True)
class Bars:
    """Bars of final values.

    Attributes:
        title: above the panel.
        metrics: names in the summary, one bar each.
        axis: label of the axis of values, without "%" because scores are shares.
        group: the config key by which runs are averaged into one bar, with whiskers from the lowest to the
            highest; None for a bar of each run.
    """

    title: str
    metrics: tuple[str, ...]
    axis: str
    group: str | None = None


@dataclass(frozen=True)
class Curves:
    """Lines of a history.

    Attributes:
        title: above the panel.
        metrics: names in the history.
        x: the metric of the x-axis.
        axis: label of the y-axis.
        group: the config key whose runs share a line; None for a line of each run.
    """

    title: str
    metrics: tuple[str, ...]
    x: str
    axis: str
    group: str | None = METHOD


@dataclass(frozen=True)
class Points:
    """A point for each run.

    Attributes:
        title: above the panel.
        x: name in the summary.
        y: name in the summary.
    """

    title: str
    x: str
    y: str


Panel = Bars | Curves | Points


@dataclass(frozen=True)
class Section:
    """Panels that belong together.

    Attributes:
        title: the heading.
        text: what the panels show, for readers of the report.
        panels: in their order.
        model: only the runs of this model; None for all runs.
        listed: whether the report shows the table of runs below the panels.
    """

    title: str
    text: str
    panels: tuple[Panel, ...]
    model: str | None = None
    listed: bool = False


@dataclass(frozen=True)
class Content:
    """A dashboard.

    Attributes:
        study: the group of the runs.
        score: the metric by which runs are ordered.
        columns: names in the summary that the table of runs shows.
        sections: in their order.
    """

    study: str
    score: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """The name of the workspace and of the report."""
        return f"peft-study {self.study}"


def content_of(cells: Sequence[CellConfig]) -> Content:
    """Choose the panels of a study.

    Args:
        cells: at least one, all of the same study.
    """
    scores = _scores(cells)
    trains = any(cell.method.kind is not MethodKind.prompting for cell in cells)
    score = scores[0]
    models = list(dict.fromkeys(cell.model.name for cell in cells))
    sections = [
        _leaderboard(score),
        *(_intervals(scores, model if len(models) > 1 else None) for model in models),
        _memory(trains=trains),
        *([_training()] if trains else []),
        _costs(score),
        _states(),
    ]
    ends, costs = (f"{score}_low", f"{score}_high"), (PEAK, SECONDS, "cost/generate_seconds")
    columns = (STATUS, *scores, *ends, *costs, "provenance/precision", "provenance/commit")
    return Content(cells[0].study.name, score, columns, tuple(sections))


def _scores(cells: Sequence[CellConfig]) -> list[str]:
    """The scores that every cell has. The first is the score by which cells are compared."""
    fewest = min(cell.generation.num_candidates for cell in cells)
    # Exact match says nothing for problems with tests, because no candidate repeats the reference program.
    if all(cell.dataset.layout in _WITH_TESTS for cell in cells):
        names = [name for name in QUALITY if not name.startswith("em@")]
    else:
        names = [name for name in QUALITY if name.startswith("em@") and int(name.partition("@")[2]) <= fewest]
    return [f"{METRICS_PREFIX}{name}" for name in names]


def _leaderboard(score: str) -> Section:
    title = _title(score)
    return Section(
        "Leaderboard",
        "A row is a cell. Bars are means of cells, and their whiskers the lowest and the highest cell.",
        (
            Bars(f"{title} by method", (score,), title, METHOD),
            Bars(f"{title} by model", (score,), title, MODEL),
        ),
        listed=True,
    )


def _intervals(scores: Sequence[str], model: str | None) -> Section:
    by_method = [Bars(f"{_title(score)} by method", (score,), _title(score), METHOD) for score in scores]
    first, title = scores[0], _title(scores[0])
    ends = Bars(f"{title}: low end, score and high end of each cell", (f"{first}_low", first, f"{first}_high"), title)
    return Section(
        "Scores with intervals" if model is None else f"Scores with intervals: {model}",
        "Whiskers are over seeds and settings. The ends of a cell's 95 % interval are those of its record.",
        (*by_method, ends),
        model=model,
    )


def _memory(*, trains: bool) -> Section:
    phases = ("memory/train_peak_gb", "memory/generate_peak_gb") if trains else ("memory/generate_peak_gb",)
    return Section(
        "Memory",
        "Peaks are those of torch's allocator, or of the process on a CPU. The last bar is the memory of the card.",
        (
            Bars("Peak memory by method, and the card's", (*phases, CARD), "GB", METHOD),
            Bars("Peak memory by model, and the card's", (*phases, CARD), "GB", MODEL),
            Curves("Memory while a cell runs", phases, SECONDS, "GB"),
        ),
    )


def _training() -> Section:
    return Section(
        "Training",
        "Lines are means of cells. The band is from the lowest to the highest cell.",
        tuple(
            Curves(title, (name,), x, _AXES[name])
            for title, name, x in (
                ("Training loss by method", "train/loss", TRAIN_STEP),
                ("Validation loss by method", "validation/loss", TRAIN_STEP),
                ("Speed by method", "throughput/tokens_per_second", SECONDS),
            )
        ),
    )


def _costs(score: str) -> Section:
    return Section(
        "Quality against cost",
        f"A point is a cell. The y-axis is {_title(score)}, the seconds are those of training and generation.",
        (
            Points(f"{_title(score)} against peak memory", PEAK, score),
            Points(f"{_title(score)} against time", SECONDS, score),
        ),
    )


def _states() -> Section:
    return Section(
        "States of cells",
        "The status of each cell stands in the table. A cell that failed has its reason in the notes of its run.",
        (Curves("Prompts with candidates", (PROMPTS,), SECONDS, _AXES[PROMPTS], group=None),),
        listed=True,
    )


def _title(score: str) -> str:
    # Without a unit: the runs hold shares from 0 to 1, which the report shows in percent.
    return HEADLINES[score.removeprefix(METRICS_PREFIX)]
