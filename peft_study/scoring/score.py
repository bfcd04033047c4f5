"""All scores of a cell's candidates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_study.config.schema import ScoringConfig
from peft_study.data.examples import Shown
from peft_study.data.samples import Sample
from peft_study.metrics.exact_match import matches, raw_matches
from peft_study.metrics.intervals import mean_intervals, pooled_interval
from peft_study.metrics.registry import reference_scorers
from peft_study.results.predictions import Prediction
from peft_study.scoring.answers import Answers, ScoreTable, Values
from peft_study.scoring.needs import runs_tests

__all__ = ["Answers", "Scored", "score"]
SIMILARITY_DIGITS = 6
"""Decimals of recorded similarities; float32 has about seven digits."""


@dataclass(frozen=True)
class Scored:
    """What result.json and predictions.jsonl record about candidates.

    Attributes:
        metrics: the scores of the corpus, from 0 to 1.
        intervals: both ends of their 95 % intervals.
        execution: how programs were run. Empty if none was.
        predictions: one per sample.
    """

    metrics: Values
    intervals: dict[str, list[float]]
    execution: dict[str, Any]
    predictions: list[Prediction]


def score(answers: Answers, settings: ScoringConfig, on_progress: Callable[[int], None] = lambda _done: None) -> Scored:
    """Score candidates by their references, and by tests if the data has any.

    Exact match and CodeBLEU leave out samples without a reference. Scores of tests leave out samples without tests.

    Args:
        answers: the candidates.
        settings: what is run, under which limits, and how intervals are drawn.
        on_progress: called with the number of programs that have run.

    Returns:
        the scores, with a prediction per sample.

    Raises:
        UserError: programs must run, and this machine has no sandbox.
    """
    table = ScoreTable(len(answers.samples))
    _compare_with_references(answers, table, settings)
    execution: dict[str, Any] = {}
    if runs_tests(answers.samples, settings):
        execution = _run_tests(answers, table, settings, on_progress)
    if settings.resamples:
        intervals = mean_intervals(table.means, settings.resamples, _clusters(answers.samples))
        for name, interval in intervals.items():
            table.add_interval(name, interval)
    return Scored(
        metrics=table.metrics,
        intervals=table.intervals,
        execution=execution,
        predictions=[_prediction(answers, index, table) for index in range(len(answers.samples))],
    )


def _compare_with_references(answers: Answers, table: ScoreTable, settings: ScoringConfig) -> None:
    # A problem of APPS may have no solution. An empty reference would count every empty candidate as a hit.
    indices = [index for index, sample in enumerate(answers.samples) if sample.answer.strip()]
    if not indices:
        return
    samples = [answers.samples[index] for index in indices]
    candidates = [answers.programs[index] for index in indices]
    references = [sample.reference for sample in samples]
    for scorer in reference_scorers():
        scores = scorer(candidates, references)
        table.add(scores, indices)
        for pool in scores.pools if settings.resamples else ():
            interval = pooled_interval(pool.counts, pool.score, settings.resamples, _clusters(samples))
            for name in pool.names:
                table.add_interval(name, interval)


def _clusters(samples: Sequence[Sample]) -> list[str] | None:
    """The cluster of each sample, None if every sample is a cluster by itself."""
    # Several phrasings of one question succeed or fail together, so they are drawn together.
    clusters = [sample.cluster or sample.id for sample in samples]
    return clusters if len(set(clusters)) < len(clusters) else None


def _run_tests(
    answers: Answers, table: ScoreTable, settings: ScoringConfig, on_progress: Callable[[int], None]
) -> dict[str, Any]:
    """Run tests, add their scores, and return how programs were run."""
    # Imported late: judging and sandbox are more than twenty modules, and most cells need none of them.
    from peft_study.scoring.outcomes import add_test_scores
    from peft_study.scoring.running import run_tests

    tested = run_tests(answers.samples, answers.programs, settings, on_progress)
    if tested is None:
        return {}
    add_test_scores(answers, tested, table)
    return tested.record


def _prediction(answers: Answers, index: int, table: ScoreTable) -> Prediction:
    sample, programs = answers.samples[index], list(answers.programs[index])
    shown = answers.shown[index] if answers.shown else Shown()
    return Prediction(
        id=sample.id,
        prompt=answers.prompts[index],
        reference=sample.reference,
        candidates=programs,
        matched=matches(programs, sample.reference),
        matched_raw=raw_matches(programs, sample.reference),
        scores=table.recorded[index],
        verdicts=table.verdicts[index],
        counts=table.counts[index],
        level=sample.level,
        cluster=sample.cluster,
        example_rows=list(shown.rows),
        example_similarities=[round(similarity, SIMILARITY_DIGITS) for similarity in shown.similarities],
    )
