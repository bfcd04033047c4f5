"""Runs candidates against the tests of their samples. Imported only for a cell that has tests."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from peft_study.config.schema import ScoringConfig
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from peft_study.judging.judge import Judgement, judge_all
from peft_study.judging.package_rules import PACKAGES, package_limits
from peft_study.judging.problems import Problem, ProblemId
from peft_study.sandbox.jobs import Limits
from peft_study.sandbox.packages import check_packages
from peft_study.sandbox.pool import Pool
from peft_study.scoring.needs import needs_sandbox
from peft_study.scoring.problems import problems_of, source_of, without_starter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tested:
    """The outcomes of tests.

    Attributes:
        judged: for each sample id, the judgement of each candidate, in order. Samples without tests are left out.
        record: what result.json says of the run: level of the sandbox, limits, number of programs.
        by_package: as `judged`, under the rules of `package_rules`. Empty unless the settings ask for it.
    """

    judged: Mapping[ProblemId, Sequence[Judgement]]
    record: dict[str, Any]
    by_package: Mapping[ProblemId, Sequence[Judgement]]


def run_tests(
    samples: Sequence[Sample],
    programs: Sequence[Sequence[str]],
    settings: ScoringConfig,
    on_progress: Callable[[int], None],
) -> Tested | None:
    """Run every program against the tests of its sample.

    Args:
        samples: the test split.
        programs: whole programs, or answers, of each sample.
        settings: limits, and whether a run is required.
        on_progress: called with the number of programs that have run.

    Returns:
        None if nothing ran: the tests of no sample can be read, or this machine has no sandbox and the samples have
        references to score by.

    Raises:
        UserError: a sandbox is needed, and this machine has none.
    """
    problems = problems_of(samples)
    if not problems:
        return None
    sources: dict[ProblemId, list[str]] = {
        sample.id: [source_of(sample, program) for program in candidates]
        for sample, candidates in zip(samples, programs, strict=True)
        if sample.id in problems
    }
    try:
        pool = open_pool(settings, settings.workers)
    except UserError as error:
        # A setting that is wrong is refused on every machine.
        if needs_sandbox(samples, settings) or error.where != "scoring.execution":
            raise
        logger.warning("tests do not run, scores come from references only: %s", error.what)
        return None
    with pool:
        judged = judge_all(problems, sources, pool, on_progress)
        # The level decides how far a verdict can be trusted, so each result says it.
        record = {"level": str(pool.level), "layers": list(pool.layers), "denied": list(map(str, pool.denied))}
    by_package = _by_package(samples, programs, problems, settings)
    return Tested(judged, record | _record(samples, judged, by_package, settings), by_package)


def _by_package(
    samples: Sequence[Sample],
    programs: Sequence[Sequence[str]],
    problems: Mapping[ProblemId, Problem],
    settings: ScoringConfig,
) -> dict[ProblemId, list[Judgement]]:
    """Judgements under the rules of the study's package, for samples whose tests compare outputs."""
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
        sample.id: [without_starter(sample, program) for program in candidates]
        for sample, candidates in zip(samples, programs, strict=True)
    }
    # A second pool, because these rules have other limits and packages.
    limits = package_limits(_limits(settings))
    with Pool(settings.workers, limits, accept_level_c=settings.accept_level_c, packages=PACKAGES) as pool:
        return judge_all(compared, sources, pool)


def open_pool(settings: ScoringConfig, workers: int | None) -> Pool:
    """Start a sandbox under the settings' limits.

    Args:
        settings: limits and packages.
        workers: number of workers, None for one per available core.

    Raises:
        UserError: a package is not available, or this machine cannot contain programs.
    """
    check_packages(settings.packages, "scoring.packages")
    if settings.apps_package_rules:
        check_packages(PACKAGES, "scoring.apps_package_rules")
    try:
        return Pool(workers, _limits(settings), accept_level_c=settings.accept_level_c, packages=settings.packages)
    except UserError as error:
        raise UserError(
            error.what,
            where="scoring.execution",
            hint="use scoring.execution=never and run python -m peft_study score on another machine, or set "
            "scoring.accept_level_c=true for code that you trust",
        ) from error


def _limits(settings: ScoringConfig) -> Limits:
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
    judgements = list(chain.from_iterable(judged.values()))
    # A candidate that fails in both runs counts once.
    broken = {
        (judgement.problem_id, judgement.index): judgement.trouble
        for judgement in chain(*by_package.values(), judgements)
        if judgement.is_broken
    }
    trouble = next(iter(broken.values()), None)
    if broken:
        logger.warning("%d of %d programs did not run: %s", len(broken), len(judgements), trouble)
    return {
        "cpu_seconds": settings.cpu_seconds,
        "wall_seconds": settings.wall_seconds,
        "memory_mb": settings.memory_mb,
        "output_kb": settings.output_kb,
        "programs": len(judgements),
        "samples_without_tests": len(samples) - len(judged),
        "sandbox_errors": len(broken),
        "trouble": trouble,
        "seconds_in_programs": round(sum(judgement.seconds for judgement in judgements), 3),
    }
