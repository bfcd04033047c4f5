"""All scores of a cell's candidates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_study.config.schema import ScoringConfig
from peft_study.data.samples import Sample
from peft_study.judging.compare import Comparator
from peft_study.judging.judge import Judgement, Verdict
from peft_study.metrics.exact_match import matches, raw_matches
from peft_study.metrics.intervals import mean_intervals, pooled_interval
from peft_study.metrics.pass_at_k import by_level, score_tests
from peft_study.metrics.registry import reference_scorers
from peft_study.metrics.scores import Pool, Scores, mean_of
from peft_study.results.store import Prediction
from peft_study.scoring.running import Tested, run_tests

KS = (1, 2, 5, 10)
"""Cut-offs of pass@k and top@k; those that there are too few candidates for are left out."""
PREFIXES = {Comparator.strict: "", Comparator.apps: "apps_"}
"""The strict comparator's scores are the headline; the published one's stand beside them."""
PACKAGE_PREFIX, PACKAGE_VERDICTS = "apps_package_", "apps_package"
"""Scores and verdicts under the rules of the checker that the study's package used."""

Values = dict[str, float | None]


@dataclass(frozen=True)
class Answers:
    """A test split and what a model made of it; all sequences are as long.

    Attributes:
        samples: what was asked.
        prompts: the text that the model read.
        programs: its candidates, as whole programs, best first; as many for each sample.
        sampled: they were drawn, not searched for.
    """

    samples: Sequence[Sample]
    prompts: Sequence[str]
    programs: Sequence[Sequence[str]]
    sampled: bool


@dataclass(frozen=True)
class Scored:
    """What result.json and predictions.jsonl say about candidates.

    Attributes:
        metrics: the corpus' scores, from 0 to 1.
        intervals: both ends of their 95 % intervals.
        execution: how programs were run; empty where none was.
        predictions: one a sample.
    """

    metrics: Values
    intervals: dict[str, list[float]]
    execution: dict[str, Any]
    predictions: list[Prediction]


@dataclass
class _Table:
    """Scores as they come in: the corpus', and by sample what they are means of, what is kept, what they pool."""

    metrics: Values
    intervals: dict[str, list[float]]
    means: list[Values]
    kept: list[Values]
    counts: list[dict[str, list[float]]]

    @classmethod
    def empty(cls, samples: int) -> "_Table":
        means, kept = ([Values() for _ in range(samples)] for _ in range(2))
        return cls({}, {}, means, kept, [{} for _ in range(samples)])


def score(answers: Answers, settings: ScoringConfig, on_progress: Callable[[int], None] = lambda _done: None) -> Scored:
    """Score candidates by their references, and by tests where the data has any.

    A sample without a reference is left out of exact match and CodeBLEU, one without tests out of theirs.

    Args:
        answers: what the model wrote.
        settings: what is run, under which limits, and how intervals are drawn.
        on_progress: told how many programs were run.

    Raises:
        UserError: programs must be run, and this machine has no sandbox.
    """
    number = len(answers.samples)
    table = _Table.empty(number)
    _compare_with_references(answers, table, settings)
    tested = run_tests(answers.samples, answers.programs, settings, on_progress)
    if tested is not None:
        _look_at_tests(answers, tested, table)
    if settings.resamples:
        drawn = mean_intervals(table.means, settings.resamples, clusters=_clusters(answers.samples))
        table.intervals |= {
            name: [found.low, found.high]
            for name, found in drawn.items()
            if found.low is not None and found.high is not None
        }
    return Scored(
        metrics=table.metrics,
        intervals=table.intervals,
        execution={} if tested is None else tested.record,
        predictions=[_prediction(answers, index, table, tested) for index in range(number)],
    )


def _compare_with_references(answers: Answers, table: _Table, settings: ScoringConfig) -> None:
    known = [index for index, sample in enumerate(answers.samples) if sample.answer.strip()]
    if not known:
        return
    samples = [answers.samples[index] for index in known]
    candidates = [answers.programs[index] for index in known]
    references = [sample.reference for sample in samples]
    for scorer in reference_scorers():
        scores = scorer(candidates, references)
        _add(scores, known, table)
        for index, values in zip(known, scores.recorded, strict=bool(scores.recorded)):
            table.kept[index] |= values
        for pool in scores.pools:
            for index, row in zip(known, pool.counts.tolist(), strict=True):
                table.counts[index][pool.names[0]] = row
            if settings.resamples:
                _add_interval(pool, table, settings.resamples, _clusters(samples))


def _add_interval(pool: Pool, table: _Table, resamples: int, clusters: Sequence[str] | None) -> None:
    interval = pooled_interval(pool.counts, pool.score, resamples, clusters=clusters)
    if interval.low is not None and interval.high is not None:
        table.intervals |= {name: [interval.low, interval.high] for name in pool.names}


def _clusters(samples: Sequence[Sample]) -> list[str] | None:
    """What each sample belongs to; None where each stands for itself."""
    clusters = [sample.cluster or sample.id for sample in samples]
    return clusters if len(set(clusters)) < len(clusters) else None


def _look_at_tests(answers: Answers, tested: Tested, table: _Table) -> None:
    known = [
        index
        for index, sample in enumerate(answers.samples)
        if (of_sample := tested.judged.get(sample.id)) and not any(one.is_broken for one in of_sample)
    ]
    if not known:
        return
    # Assertions and checks hold or do not; only outputs are compared, and therefore in two ways.
    compared = any(answers.samples[index].tests is not None for index in known)
    ks = [k for k in KS if k <= min(len(answers.programs[index]) for index in known)]
    for comparator, prefix in PREFIXES.items():
        if comparator is Comparator.strict or compared:
            outcomes = [_outcomes(tested.judged[answers.samples[index].id], comparator) for index in known]
            _add_outcomes(answers, known, _named(outcomes, ks, prefix, sampled=answers.sampled), table)
    by_package = {
        index: of_sample
        for index in known
        if (of_sample := tested.by_package.get(answers.samples[index].id))
        and not any(judged.is_broken for judged in of_sample)
    }
    if by_package:
        outcomes = [_outcomes(of_sample, Comparator.apps) for of_sample in by_package.values()]
        scores = _named(outcomes, ks, PACKAGE_PREFIX, sampled=answers.sampled)
        _add_outcomes(answers, list(by_package), scores, table)


def _add_outcomes(answers: Answers, known: Sequence[int], scores: Scores, table: _Table) -> None:
    """Add scores of tests, for the whole and for each level."""
    _add(scores, known, table)
    for index, of_sample in zip(known, scores.samples, strict=True):
        table.kept[index] |= of_sample
    levels = [answers.samples[index].level for index in known]
    if all(level is not None for level in levels):
        for level, means in by_level(scores.samples, [str(level) for level in levels]).items():
            table.metrics |= {f"{level}/{name}": value for name, value in means.items()}
            for index, of_sample, of in zip(known, scores.samples, levels, strict=True):
                if of == level:
                    table.means[index] |= {f"{level}/{name}": value for name, value in of_sample.items()}


def _texts(judged: Judgement, comparator: Comparator) -> list[str]:
    return [str(verdict) for verdict in judged.verdicts[comparator]]


def _outcomes(of_sample: Sequence[Judgement], comparator: Comparator) -> list[list[bool]]:
    return [[verdict is Verdict.passed for verdict in one.verdicts[comparator]] for one in of_sample]


def _named(outcomes: Sequence[list[list[bool]]], ks: Sequence[int], prefix: str, *, sampled: bool) -> Scores:
    """Scores of tests under the comparator's prefix.

    Drawn candidates are as good as each other; of those that were searched for, the first is the answer. The estimate
    of pass@k and an average over candidates therefore are for drawn ones alone.
    """
    scores = score_tests(outcomes, ks)
    firsts = scores if sampled else score_tests([candidates[:1] for candidates in outcomes], [1])
    counted = ("top@", "pass@") if sampled else ("top@",)
    samples: list[Values] = []
    for own, first in zip(scores.samples, firsts.samples, strict=True):
        kept = {name: value for name, value in own.items() if name.startswith(counted)}
        kept["tests_passed_share"] = first["tests_passed_share"]
        samples.append({f"{prefix}{name}": value for name, value in kept.items()})
    return Scores(mean_of(samples), samples)


def _add(scores: Scores, known: Sequence[int], table: _Table) -> None:
    table.metrics |= scores.metrics
    for index, own in zip(known, scores.samples, strict=True):
        table.means[index] |= own


def _prediction(answers: Answers, index: int, table: _Table, tested: Tested | None) -> Prediction:
    sample, programs = answers.samples[index], list(answers.programs[index])
    of_sample = [] if tested is None else tested.judged.get(sample.id, [])
    by_package = [] if tested is None else tested.by_package.get(sample.id, [])
    # Where no output was compared, both comparators say the same.
    comparators = list(PREFIXES) if sample.tests is not None else [Comparator.strict]
    return Prediction(
        id=sample.id,
        prompt=answers.prompts[index],
        reference=sample.reference,
        candidates=programs,
        matched=matches(programs, sample.reference),
        matched_raw=raw_matches(programs, sample.reference),
        scores=table.kept[index],
        verdicts={
            str(comparator): [_texts(judged, comparator) for judged in of_sample]
            for comparator in (comparators if of_sample else ())
        }
        | ({PACKAGE_VERDICTS: [_texts(judged, Comparator.apps) for judged in by_package]} if by_package else {}),
        counts=table.counts[index],
        level=sample.level,
        cluster=sample.cluster,
    )
