"""Running candidates against the tests of their samples."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft_study.config.schema import ExecutionChoice, ScoringConfig
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from peft_study.judging.judge import Judgement, judge_all
from peft_study.judging.package_rules import PACKAGES, package_limits
from peft_study.judging.problems import Problem, ProblemId
from peft_study.sandbox.jobs import Limits
from peft_study.sandbox.packages import check_packages
from peft_study.sandbox.pool import Pool
from peft_study.scoring.problems import problems_of, source_of, without_starter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tested:
    """What became of the tests.

    Attributes:
        judged: by sample id, the verdicts on each candidate, in order; samples without tests are not there.
        record: for result.json, how programs were contained, under which limits, and how many.
        by_package: as `judged`, under the rules of `package_rules`; empty where nobody wants it.
    """

    judged: Mapping[ProblemId, Sequence[Judgement]]
    record: dict[str, Any]
    by_package: Mapping[ProblemId, Sequence[Judgement]] = field(default_factory=dict)


def run_tests(
    samples: Sequence[Sample],
    programs: Sequence[Sequence[str]],
    settings: ScoringConfig,
    on_progress: Callable[[int], None],
) -> Tested | None:
    """Run every program against its sample's tests, where there are tests and the settings want it.

    Args:
        samples: what was asked.
        programs: whole programs, or answers, of each sample.
        settings: choice and limits.
        on_progress: told how many programs are done.

    Returns:
        None where nothing was run: no sample has tests, nobody wants it, or this machine has no sandbox and the
        samples have references to be scored by.

    Raises:
        UserError: this machine has no sandbox, and it is needed.
    """
    if settings.execution is ExecutionChoice.never:
        return None
    problems = problems_of(samples)
    if not problems:
        return None
    sources: dict[ProblemId, list[str]] = {
        sample.id: [source_of(sample, program) for program in of_sample]
        for sample, of_sample in zip(samples, programs, strict=True)
        if sample.id in problems
    }
    try:
        pool = _pool(settings, settings.workers)
    except UserError as error:
        if _is_needed(samples, settings) or error.where != "scoring.execution":
            raise
        logger.warning("nothing is run, references alone score: %s", error.what)
        return None
    with pool:
        judged = judge_all(problems, sources, pool, on_progress)
        record = {
            "level": str(pool.level),
            "layers": list(pool.layers),
            "denied": [str(reason) for reason in pool.denied],
        }
    by_package = _by_package(samples, programs, problems, settings)
    return Tested(judged, record | _record(samples, judged, by_package, settings), by_package)


def _by_package(
    samples: Sequence[Sample],
    programs: Sequence[Sequence[str]],
    problems: Mapping[ProblemId, Problem],
    settings: ScoringConfig,
) -> dict[ProblemId, list[Judgement]]:
    """Verdicts under the rules of the study's package, of samples whose outputs are compared."""
    if not settings.apps_package_rules:
        return {}
    compared: dict[ProblemId, Problem] = {
        sample.id: problems[sample.id].under_package_rules()
        for sample in samples
        if sample.tests is not None and sample.id in problems
    }
    if not compared:
        return {}
    sources: dict[ProblemId, list[str]] = {
        sample.id: [without_starter(sample, program) for program in of_sample]
        for sample, of_sample in zip(samples, programs, strict=True)
    }
    with Pool(
        settings.workers,
        package_limits(limits_of(settings)),
        accept_level_c=settings.accept_level_c,
        packages=PACKAGES,
    ) as pool:
        return judge_all(compared, sources, pool)


def check_sandbox(samples: Sequence[Sample], settings: ScoringConfig) -> None:
    """Refuse, before anything takes long, samples that could not be scored on this machine in the end.

    Raises:
        UserError: this machine has no sandbox, and it is needed.
    """
    if settings.execution is not ExecutionChoice.never and _is_needed(samples, settings):
        with _pool(settings, 1):
            pass


def _is_needed(samples: Sequence[Sample], settings: ScoringConfig) -> bool:
    """Whether nothing but tests can score the samples, or a person wants them run in any case."""
    by_tests_alone = any(sample.tests is not None or sample.assertions for sample in samples)
    return by_tests_alone or settings.execution is ExecutionChoice.always


def _pool(settings: ScoringConfig, workers: int | None) -> Pool:
    check_packages(settings.packages, "scoring.packages")
    if settings.apps_package_rules:
        check_packages(PACKAGES, "scoring.apps_package_rules")
    try:
        return Pool(workers, limits_of(settings), accept_level_c=settings.accept_level_c, packages=settings.packages)
    except UserError as error:
        raise UserError(
            error.what,
            where="scoring.execution",
            hint="scoring.execution=never, and python -m peft_study score on another machine; or, for code that you "
            "trust, scoring.accept_level_c=true",
        ) from error


def limits_of(settings: ScoringConfig) -> Limits:
    """The limits of one test."""
    return Limits(
        cpu_seconds=settings.cpu_seconds,
        wall_seconds=settings.wall_seconds,
        memory_bytes=settings.memory_mb * 2**20,
        output_bytes=settings.output_kb * 2**10,
    )


def _record(
    samples: Sequence[Sample],
    judged: Mapping[ProblemId, Sequence[Judgement]],
    by_package: Mapping[ProblemId, Sequence[Judgement]],
    settings: ScoringConfig,
) -> dict[str, Any]:
    of_all = [one for of_problem in judged.values() for one in of_problem]
    again = [one for of_problem in by_package.values() for one in of_problem]
    broken = {(one.problem_id, one.index): one.trouble for one in (*again, *of_all) if one.is_broken}
    trouble = next(iter(broken.values()), None)
    if broken:
        logger.warning("%d of %d programs could not be run: %s", len(broken), len(of_all), trouble)
    return {
        "cpu_seconds": settings.cpu_seconds,
        "wall_seconds": settings.wall_seconds,
        "memory_mb": settings.memory_mb,
        "output_kb": settings.output_kb,
        "programs": len(of_all),
        "samples_without_tests": len(samples) - len(judged),
        "sandbox_errors": len(broken),
        "trouble": trouble,
        "seconds_in_programs": round(sum(one.seconds for one in of_all), 3),
    }
