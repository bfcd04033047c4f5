"""Every metric by name. Titles, and the lists of metrics that outputs show, come from here.

A new metric is an entry here and a scorer in a file of its own (docs/extending.md).
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from peft_study.metrics.scores import Scores

ReferenceScorer = Callable[[Sequence[Sequence[str]], Sequence[str]], Scores]
"""From the candidates of every sample, best first, and the references, to scores."""

# By name, because most importers need titles and no scorer.
_REFERENCE_SCORERS = (
    ("peft_study.metrics.exact_match", "score_exact_match"),
    ("peft_study.metrics.codebleu", "score_first_candidates"),
)


class Shown(IntEnum):
    """When a cell's closing table and the leaderboard show a metric."""

    never = 0
    if_scored = 1
    always = 2


@dataclass(frozen=True)
class Metric:
    """A score from 0 to 1.

    Attributes:
        name: the key in `metrics` of result.json. The score of a level is prefixed by it: "introductory/pass@1".
        title: the heading in tables.
        short: the heading in the APPS table; None if that table does not show it.
        headline: the title in closing tables and on the leaderboard; None for `title`.
        shown: when closing tables and the leaderboard show it.
        in_overview: whether the report's overview table shows it.
        compared_as: the title in a comparison of two studies; None if it is not compared.
        axis: the label of a figure's axis; None if no figure shows it.
        quality_rank: its rank among the scores by which figures compare cells, 1 first; None if never used.
        published_as: the columns of the paper's CSV files that were computed like this metric.
    """

    name: str
    title: str
    short: str | None = None
    headline: str | None = None
    shown: Shown = Shown.never
    in_overview: bool = False
    compared_as: str | None = None
    axis: str | None = None
    quality_rank: int | None = None
    published_as: tuple[str, ...] = ()


_CUT = "as the package cut candidates"

METRICS: Sequence[Metric] = (
    Metric(
        "em@1",
        "EM@1",
        shown=Shown.always,
        in_overview=True,
        compared_as="EM@1",
        axis="EM@1, %",
        quality_rank=5,
        published_as=("em@1",),
    ),
    Metric(
        "em@10",
        "EM@10",
        shown=Shown.always,
        in_overview=True,
        compared_as="EM@10",
        axis="EM@10, %",
        quality_rank=1,
        published_as=("em@10",),
    ),
    # Table 3 of the paper holds scores of candidates that the package cut, so its columns stand under these, too.
    Metric("em_package@1", "EM@1", compared_as=f"EM@1 ({_CUT})", published_as=("em@1",)),
    Metric("em_package@10", "EM@10", compared_as=f"EM@10 ({_CUT})", published_as=("em@10",)),
    Metric(
        "codebleu",
        "CodeBLEU",
        shown=Shown.if_scored,
        in_overview=True,
        compared_as="CodeBLEU (strict)",
        axis="CodeBLEU, %",
    ),
    Metric(
        "codebleu_codexglue",
        "CodeBLEU",
        compared_as="CodeBLEU (paper's)",
        axis="CodeBLEU (as in the paper), %",
        published_as=("codebleu",),
    ),
    Metric("codebleu_package", "CodeBLEU", compared_as=f"CodeBLEU ({_CUT})", published_as=("codebleu",)),
    Metric(
        "pass@1",
        "Pass@1",
        short="P@1",
        shown=Shown.if_scored,
        in_overview=True,
        compared_as="Pass@1",
        axis="Pass@1, %",
        quality_rank=2,
    ),
    Metric("pass@2", "Pass@2", short="P@2"),
    Metric("pass@5", "Pass@5", short="P@5", shown=Shown.if_scored, compared_as="Pass@5"),
    Metric(
        "top@1",
        "Top@1",
        headline="first passes",
        shown=Shown.if_scored,
        in_overview=True,
        compared_as="Top@1",
        axis="first candidate passes, %",
        quality_rank=3,
    ),
    Metric(
        "tests_passed_share",
        "Tests passed",
        short="Avg",
        headline="tests passed",
        shown=Shown.if_scored,
        in_overview=True,
        compared_as="Tests passed",
        axis="tests passed, %",
        quality_rank=4,
    ),
    # The paper's APPS scores come from its package's checker, which runs programs in another way (docs/scoring.md).
    Metric("apps_package_tests_passed_share", "Tests passed", published_as=("avg_tests_passed",)),
    Metric("apps_package_pass@1", "Pass@1", published_as=("pass@1",)),
    Metric("apps_package_pass@2", "Pass@2", published_as=("pass@2",)),
    Metric("apps_package_pass@5", "Pass@5", published_as=("pass@5",)),
)
"""All metrics, in the order of tables."""

HEADLINES: Mapping[str, str] = {
    metric.name: metric.headline or metric.title for metric in METRICS if metric.shown is not Shown.never
}
"""Titles in closing tables and on the leaderboard."""
ALWAYS_SHOWN = frozenset(metric.name for metric in METRICS if metric.shown is Shown.always)
OVERVIEW: Mapping[str, str] = {metric.name: metric.title for metric in METRICS if metric.in_overview}
COMPARED: Mapping[str, str] = {metric.name: metric.compared_as for metric in METRICS if metric.compared_as is not None}
LEVEL_METRICS: Sequence[Metric] = tuple(
    sorted((metric for metric in METRICS if metric.short), key=lambda metric: metric.name != "tests_passed_share")
)
"""The metrics of the APPS table: the share of tests passed, then pass@k."""
QUALITY: Mapping[str, str] = {
    metric.name: str(metric.axis)
    for metric in sorted(
        (metric for metric in METRICS if metric.quality_rank is not None), key=lambda metric: metric.quality_rank or 0
    )
}
"""Axis labels of the scores by which figures compare cells, the preferred one first."""
_AXES = {metric.name: str(metric.axis) for metric in METRICS}
CODEBLEU: Mapping[str, str] = {name: _AXES[name] for name in ("codebleu_codexglue", "codebleu")}
"""Axis labels of CodeBLEU, the paper's convention first."""


def published_as(column: str) -> Iterator[str]:
    """Yield the metrics that are computed like a column of the paper's tables, the main one first."""
    return (metric.name for metric in METRICS if column in metric.published_as)


def reference_scorers() -> Iterator[ReferenceScorer]:
    """Yield the scorers that compare candidates with references, each imported when it is needed."""
    for module, name in _REFERENCE_SCORERS:
        yield getattr(importlib.import_module(module), name)
