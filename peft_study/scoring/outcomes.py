"""Scores of candidates from the verdicts on their tests."""

from collections.abc import Mapping, Sequence

from peft_study.judging.compare import Comparator
from peft_study.judging.judge import Judgement, Verdict
from peft_study.judging.problems import ProblemId
from peft_study.metrics.pass_at_k import by_level, score_tests
from peft_study.metrics.scores import Scores, mean_of
from peft_study.scoring.answers import Answers, ScoreTable, Values
from peft_study.scoring.running import Tested

KS = (1, 2, 5, 10)
"""Cut-offs of pass@k and top@k. A cut-off above the number of candidates is left out."""
PREFIXES = {Comparator.strict: "", Comparator.apps: "apps_"}
"""The strict comparator gives the headline scores. Those of the published comparator are reported beside them."""
PACKAGE_PREFIX, PACKAGE_VERDICTS = "apps_package_", "apps_package"
"""Scores and verdicts under the rules of the checker in the study's package."""


def add_test_scores(answers: Answers, tested: Tested, table: ScoreTable) -> None:
    """Add verdicts, and scores of the samples whose tests all ran.

    Args:
        answers: the candidates.
        tested: their verdicts.
        table: receives scores and verdicts.
    """
    for index, sample in enumerate(answers.samples):
        table.verdicts[index] |= _verdicts(tested, sample.id, compared=sample.tests is not None)
    judged = _complete(answers, tested.judged)
    if not judged:
        return
    # Assertions and checks hold or do not hold. Only outputs are compared, so only they have two comparators.
    compared = any(answers.samples[index].tests is not None for index in judged)
    # pass@k is undefined for fewer than k candidates.
    ks = [k for k in KS if k <= min(len(answers.programs[index]) for index in judged)]
    for comparator, prefix in PREFIXES.items():
        if comparator is Comparator.strict or compared:
            outcomes = [_outcomes(judgements, comparator) for judgements in judged.values()]
            _add_outcomes(answers, list(judged), _named(outcomes, ks, prefix, sampled=answers.sampled), table)
    complete = _complete(answers, tested.by_package)
    by_package = {index: complete[index] for index in judged if index in complete}
    # Always by `apps`: that checker has no other comparison.
    if by_package:
        outcomes = [_outcomes(judgements, Comparator.apps) for judgements in by_package.values()]
        scores = _named(outcomes, ks, PACKAGE_PREFIX, sampled=answers.sampled)
        _add_outcomes(answers, list(by_package), scores, table)


def _verdicts(tested: Tested, sample_id: str, *, compared: bool) -> dict[str, list[list[str]]]:
    """The verdicts of a sample as predictions.jsonl records them."""
    judgements = tested.judged.get(sample_id, ())
    # If no output is compared, both comparators give the same verdicts.
    comparators = list(PREFIXES) if compared else [Comparator.strict]
    verdicts = {
        str(comparator): [_texts(judgement, comparator) for judgement in judgements]
        for comparator in (comparators if judgements else ())
    }
    by_package = tested.by_package.get(sample_id, ())
    if by_package:
        verdicts[PACKAGE_VERDICTS] = [_texts(judgement, Comparator.apps) for judgement in by_package]
    return verdicts


def _complete(answers: Answers, judged: Mapping[ProblemId, Sequence[Judgement]]) -> dict[int, Sequence[Judgement]]:
    """Judgements by the sample's position. A sample with a sandbox error is left out: its outcome is unknown."""
    return {
        index: judgements
        for index, sample in enumerate(answers.samples)
        if (judgements := judged.get(sample.id)) and not any(judgement.is_broken for judgement in judgements)
    }


def _texts(judgement: Judgement, comparator: Comparator) -> list[str]:
    return [str(verdict) for verdict in judgement.verdicts[comparator]]


def _outcomes(judgements: Sequence[Judgement], comparator: Comparator) -> list[list[bool]]:
    return [[verdict is Verdict.passed for verdict in judgement.verdicts[comparator]] for judgement in judgements]


def _named(outcomes: Sequence[list[list[bool]]], ks: Sequence[int], prefix: str, *, sampled: bool) -> Scores:
    """Scores of tests under the comparator's prefix."""
    # Sampled candidates are interchangeable, so pass@k and the mean over candidates use all of them. A search ranks its
    # candidates, so its first candidate is the answer, and pass@k is not defined.
    scores = score_tests(outcomes, ks)
    firsts = scores if sampled else score_tests([candidates[:1] for candidates in outcomes], [1])
    prefixes = ("top@", "pass@") if sampled else ("top@",)
    samples: list[Values] = []
    for values, first in zip(scores.samples, firsts.samples, strict=True):
        kept = {name: value for name, value in values.items() if name.startswith(prefixes)}
        kept["tests_passed_share"] = first["tests_passed_share"]
        samples.append({f"{prefix}{name}": value for name, value in kept.items()})
    return Scores(mean_of(samples), samples)


def _add_outcomes(answers: Answers, indices: Sequence[int], scores: Scores, table: ScoreTable) -> None:
    """Add scores of tests, for the corpus and for each level of difficulty."""
    table.add(scores, indices)
    for index, values in zip(indices, scores.samples, strict=True):
        table.kept[index] |= values
    levels = [answers.samples[index].level for index in indices]
    if all(level is not None for level in levels):
        for level, means in by_level(scores.samples, [str(level) for level in levels]).items():
            table.metrics |= {f"{level}/{name}": value for name, value in means.items()}
            for index, values, sample_level in zip(indices, scores.samples, levels, strict=True):
                if sample_level == level:
                    table.means[index] |= {f"{level}/{name}": value for name, value in values.items()}
