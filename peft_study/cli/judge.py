"""Run candidate programs against the tests of their problems in a sandbox, and write the verdicts."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from peft_study.cli.judge_arguments import Arguments, parse
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.messages import print_line, spinner
from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.judging.display import JudgingDisplay, Scores, print_scores
from peft_study.judging.inputs import Candidate, Problems, read_candidates, read_problems
from peft_study.judging.judge import Judgement, Place, judge
from peft_study.judging.package_rules import PACKAGES, package_limits
from peft_study.judging.records import Resumed, VerdictFile, fingerprint, key_of
from peft_study.sandbox.cores import available_cores
from peft_study.sandbox.jobs import Kind
from peft_study.sandbox.packages import versioned
from peft_study.sandbox.pool import Pool

_MOST_NAMED = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a file of candidates.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 if every candidate was judged, whatever the verdicts; 1 if the sandbox failed on some; 2 if
        the command line, a file or the machine is wrong; 128 plus the signal's number after an interrupt.
    """
    options = parse(arguments)
    return run_command(lambda: _run(options), interrupted="the verdicts so far are kept, and the same command resumes")


def _run(options: Arguments) -> int:
    """Judge the candidates that have no verdicts yet, and print the scores. Return the exit code."""
    with spinner("reading problems and candidates ..."):
        problems = read_problems(options.problems)
        candidates = read_candidates(options.candidates, problems.ids)
    _refuse_overwriting(options)
    tested = _tested(problems, candidates)
    code = _judge(problems, tested, options)
    # A second run, because that checker changes how programs run and not only how outputs are compared.
    if options.apps_package_rules:
        code = max(code, _judge(*_under_package_rules(problems, tested, options)))
    return code


def _under_package_rules(
    problems: Problems, tested: Sequence[Candidate], options: Arguments
) -> tuple[Problems, list[Candidate], Arguments]:
    """Return what is judged the second time, without the problems that have assertions."""
    compared = {
        problem_id: problem.under_package_rules()
        for problem_id, problem in problems.judged.items()
        if problem.kind is not Kind.asserts
    }
    candidates = [candidate for candidate in tested if candidate.problem_id in compared]
    out, limits = _package_out(options.out), package_limits(options.limits)
    print_line(f"under the rules of the study's package: {len(candidates):,} candidates, into {out}")
    options = replace(options, out=out, comparator=Comparator.apps, limits=limits, packages=PACKAGES)
    return replace(problems, judged=compared), candidates, options


def _package_out(out: Path) -> Path:
    return out.with_name(f"{out.stem}.package{out.suffix}")


def _judge(problems: Problems, tested: Sequence[Candidate], options: Arguments) -> int:
    # A verdict of an earlier run is kept only under the same key (docs/scoring.md).
    keys = _keys(problems, tested, options)
    tests = {problem_id: len(problem.cases) for problem_id, problem in problems.judged.items()}
    # A worker without a test would only cost the start of a sandbox.
    most_workers = max(1, sum(tests[candidate.problem_id] for candidate in tested))
    workers = min(options.workers or available_cores(), most_workers)
    with (
        Pool(workers, options.limits, accept_level_c=options.accept_level_c, packages=options.packages) as pool,
        VerdictFile(options.out, options.comparator, keys, tests) as file,
    ):
        print_line(f"sandbox level {pool.level}: {', '.join(pool.layers)}")
        resumed = file.keep(pool.level)
        _print_resumed(resumed, options.out)
        judged = dict(resumed.judged)
        left = [candidate for candidate in tested if (candidate.problem_id, candidate.index) not in judged]
        verdicts = judge(problems.judged, left, pool, give_up_after_timeouts=options.give_up_after_timeouts)
        # Each verdict is written at once: an interrupt after hours must not lose them.
        with closing(verdicts), JudgingDisplay(len(tested), len(judged)) as display:
            for judgement in verdicts:
                file.add(judgement, pool.level)
                judged[judgement.place] = judgement
                display.judged(passed=judgement.passed(options.comparator))
        file.finish()
    return _close(judged.values(), options)


def _tested(problems: Problems, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates whose problems have tests. Print how many others there are."""
    # Left out rather than counted as failed: APPS has such problems.
    if problems.untested:
        untested = sum(candidate.problem_id in problems.untested for candidate in candidates)
        print_line(f"left out: {len(problems.untested):,} problems without tests, and {untested:,} candidates for them")
    # Any program would pass these.
    if problems.unasserted:
        unasserted = sum(candidate.problem_id in problems.unasserted for candidate in candidates)
        names = ", ".join(map(repr, problems.unasserted[:_MOST_NAMED]))
        more = ", ..." if len(problems.unasserted) > _MOST_NAMED else ""
        print_line(
            f"left out: {len(problems.unasserted):,} problems whose tests assert nothing, or only in functions that "
            f"nothing calls ({names}{more}), and {unasserted:,} candidates for them"
        )
    tested = [candidate for candidate in candidates if candidate.problem_id in problems.judged]
    if not tested:
        print_line("--candidates names no problem that can be judged, so nothing runs")
    return tested


def _keys(problems: Problems, candidates: Iterable[Candidate], options: Arguments) -> dict[Place, str]:
    # Once for each problem: its tests may be megabytes.
    of_problem: dict[object, str] = {}
    keys: dict[Place, str] = {}
    for candidate in candidates:
        problem_id = candidate.problem_id
        if problem_id not in of_problem:
            of_problem[problem_id] = fingerprint(
                problems.judged[problem_id], options.limits, options.give_up_after_timeouts, versioned(options.packages)
            )
        keys[problem_id, candidate.index] = key_of(of_problem[problem_id], candidate.source)
    return keys


def _refuse_overwriting(options: Arguments) -> None:
    outs = [options.out, *([_package_out(options.out)] if options.apps_package_rules else [])]
    for file, out in itertools.product((options.problems, options.candidates), outs):
        with suppress(OSError):  # a file that does not exist is reported when it is opened
            # Not by name: one of them may be a link.
            if out.samefile(file):
                what = f"--out must not be a file that is read, got {out}"
                raise UserError(what, where=str(out), hint="--out OTHER_FILE")


def _print_resumed(resumed: Resumed, out: Path) -> None:
    if resumed.judged:
        print_line(f"{out} has verdicts on {len(resumed.judged):,} of these candidates, which are kept")
    if resumed.dropped:
        print_line(
            f"{out}: {resumed.dropped:,} lines were dropped: the source, the problem or a limit changed, or the "
            "sandbox was weaker or failed"
        )
    if resumed.old is not None:
        print_line(f"the old file, with the dropped lines, is kept as {resumed.old}")
    if resumed.torn:
        print_line(f"{out}: the last line was cut off and was dropped")


def _close(judged: Iterable[Judgement], options: Arguments) -> int:
    judgements = list(judged)
    # Python's sort is stable, so the other comparators keep their order behind the chosen one.
    order = sorted(Comparator, key=lambda comparator: comparator is not options.comparator)
    with suppress(BrokenPipeError):  # the output may be closed (`| head`), and a second judgement may follow
        print_scores({str(comparator): _scores(judgements, comparator) for comparator in order}, str(options.out))
    broken = [judgement for judgement in judgements if judgement.is_broken]
    if broken:
        first = broken[0]
        print_line(
            f"the sandbox failed on {len(broken):,} of {len(judgements):,} candidates, which the same command tries "
            f"again; the first: problem {first.problem_id!r}, candidate {first.index}: {first.trouble}"
        )
    return EXIT_FAILED if broken else EXIT_OK


def _scores(judged: Sequence[Judgement], comparator: Comparator) -> Scores:
    scores = Scores(len(judged))
    for judgement in judged:
        scores.passed += judgement.passed(comparator)
        scores.share += judgement.share(comparator)
        for verdict in judgement.verdicts[comparator]:
            scores.verdicts[verdict] = scores.verdicts.get(verdict, 0) + 1
    return scores
