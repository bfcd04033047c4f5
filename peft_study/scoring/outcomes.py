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
_APPS_PREFIX = "apps_"
_PACKAGE_PREFIX, _PACKAGE_VERDICTS = "apps_package_", "apps_package"


def add_test_scores(answers: Answers, tested: Tested, table: ScoreTable) -> None:
    """Add verdicts, and scores of the samples whose tests all ran.

    The strict comparator gives the headline scores. Those of the published comparator, and those under the rules of the
    checker in the study's package, are reported beside them.

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
    by_package = {
        index: judgements for index, judgements in _complete(answers, tested.by_package).items() if index in judged
    }
    # pass@k is undefined for fewer than k candidates.
    ks = [k for k in KS if k <= min(len(answers.programs[index]) for index in judged)]
    _add_scores(answers, judged, Comparator.strict, ks, "", table)
    # Assertions and checks hold or do not hold. Only outputs are compared, so only they have two comparators.
    if any(answers.samples[index].tests is not None for index in judged):
        _add_scores(answers, judged, Comparator.apps, ks, _APPS_PREFIX, table)
    # Always by `apps`: that checker has no other comparison.
    if by_package:
        _add_scores(answers, by_package, Comparator.apps, ks, _PACKAGE_PREFIX, table)


def _verdicts(tested: Tested, sample_id: str, *, compared: bool) -> dict[str, list[list[str]]]:
    """The verdicts of a sample as predictions.jsonl records them."""
    judgements = tested.judged.get(sample_id, ())
    by_package = tested.by_package.get(sample_id, ())
    verdicts: dict[str, list[list[str]]] = {}
    if judgements:
        # If no output is compared, both comparators give the same verdicts.
        for comparator in (Comparator.strict, Comparator.apps) if compared else (Comparator.strict,):
            verdicts[str(comparator)] = _texts(judgements, comparator)
    if by_package:
        verdicts[_PACKAGE_VERDICTS] = _texts(by_package, Comparator.apps)
    return verdicts


def _texts(judgements: Sequence[Judgement], comparator: Comparator) -> list[list[str]]:
    return [[str(verdict) for verdict in judgement.verdicts[comparator]] for judgement in judgements]


def _complete(answers: Answers, judged: Mapping[ProblemId, Sequence[Judgement]]) -> dict[int, Sequence[Judgement]]:
    """Judgements by the sample's position. A sample with a sandbox error is left out: its outcome is unknown."""
    return {
        index: judgements
        for index, sample in enumerate(answers.samples)
        if (judgements := judged.get(sample.id)) and not any(judgement.is_broken for judgement in judgements)
    }


def _add_scores(
    answers: Answers,
    judged: Mapping[int, Sequence[Judgement]],
    comparator: Comparator,
    ks: Sequence[int],
    prefix: str,
    table: ScoreTable,
) -> None:
    """Add scores of tests, for the corpus and for each level of difficulty."""
    outcomes = [
        [[verdict is Verdict.passed for verdict in judgement.verdicts[comparator]] for judgement in judgements]
        for judgements in judged.values()
    ]
    samples = _score_samples(outcomes, ks, prefix, sampled=answers.sampled)
    table.add(Scores(mean_of(samples), samples, recorded=samples), list(judged))
    levels = [level for index in judged if (level := answers.samples[index].level) is not None]
    if len(levels) < len(judged):
        return
    for level, means in by_level(samples, levels).items():
        table.metrics |= {f"{level}/{name}": value for name, value in means.items()}
    for index, level, scores in zip(judged, levels, samples, strict=True):
        table.means[index] |= {f"{level}/{name}": value for name, value in scores.items()}


def _score_samples(
    outcomes: Sequence[list[list[bool]]], ks: Sequence[int], prefix: str, *, sampled: bool
) -> list[Values]:
    """Scores of each sample's tests under the comparator's prefix."""
    # Sampled candidates are interchangeable, so pass@k and the mean over candidates use all of them. A search ranks its
    # candidates, so its first candidate is the answer, and pass@k is not defined.
    all_candidates = score_tests(outcomes, ks).samples
    if sampled:
        return [{f"{prefix}{name}": value for name, value in scores.items()} for scores in all_candidates]
    first_candidates = score_tests([candidates[:1] for candidates in outcomes], [1]).samples
    return [
        {f"{prefix}top@{k}": scores[f"top@{k}"] for k in ks}
        | {f"{prefix}tests_passed_share": first["tests_passed_share"]}
        for scores, first in zip(all_candidates, first_candidates, strict=True)
    ]
