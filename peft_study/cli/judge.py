"""Run candidate programs against the tests of their problems, each test in a sandbox, and write the verdicts."""

import argparse
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from peft_study.console.exit import EXIT_FAILED, EXIT_OK, run_command
from peft_study.console.messages import print_line, spinner
from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.judging.display import JudgingDisplay, Scores, print_scores
from peft_study.judging.inputs import Candidate, Problems, read_candidates, read_problems
from peft_study.judging.judge import Judgement, judge
from peft_study.judging.package_rules import PACKAGES, package_limits
from peft_study.judging.records import Place, Resumed, VerdictFile, fingerprint, key_of
from peft_study.sandbox.cores import available_cores
from peft_study.sandbox.jobs import Kind, Limits
from peft_study.sandbox.packages import versioned
from peft_study.sandbox.pool import Pool

_DEFAULTS = Limits()
_MOST_NAMED = 20


@dataclass(frozen=True)
class Arguments:
    """The command line.

    Attributes:
        problems: file of problems.
        candidates: file of candidates.
        out: file of verdicts.
        comparator: whose verdicts come first.
        workers: tests at once; None is one a core.
        limits: of every test.
        accept_level_c: see `Pool`.
        packages: that programs may import, see `Pool`.
        apps_package_rules: judge every candidate a second time under the rules of `package_rules`.
        give_up_after_timeouts: see `judge`.
    """

    problems: Path
    candidates: Path
    out: Path
    comparator: Comparator
    workers: int | None
    limits: Limits
    accept_level_c: bool
    packages: tuple[str, ...]
    apps_package_rules: bool
    give_up_after_timeouts: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a file of candidates.

    Returns:
        the exit code: 0 where every candidate was judged, whatever the verdicts; 1 where the sandbox failed on some; 2
        where the command, a file or the machine is at fault; 128 and the signal's number after an interrupt.
    """
    given = _given(arguments)
    return run_command(lambda: run(given), interrupted="what was judged stays, and the same command goes on")


def run(given: Arguments) -> int:
    """Judge what is not judged yet, tell how it went, and print the scores.

    Returns:
        the exit code.

    Raises:
        UserError: a file or the machine does not allow it.
    """
    with spinner("reading problems and candidates ..."):
        problems = read_problems(given.problems)
        candidates = read_candidates(given.candidates, problems.ids)
    _refuse_overwriting(given)
    tested = _tested(problems, candidates)
    code = _judge(problems, tested, given)
    if given.apps_package_rules:
        code = max(code, _judge(*_under_package_rules(problems, tested, given)))
    return code


def _under_package_rules(
    problems: Problems, tested: Sequence[Candidate], given: Arguments
) -> tuple[Problems, list[Candidate], Arguments]:
    """What is judged the second time; problems with assertions are left out."""
    compared = {
        identity: problem.under_package_rules()
        for identity, problem in problems.judged.items()
        if problem.kind is not Kind.asserts
    }
    candidates = [candidate for candidate in tested if candidate.problem_id in compared]
    print_line(
        f"under the rules of the study's package: {len(candidates):,} candidates, into {_package_out(given.out)}"
    )
    return (
        replace(problems, judged=compared),
        candidates,
        replace(
            given,
            out=_package_out(given.out),
            comparator=Comparator.apps,
            limits=package_limits(given.limits),
            packages=PACKAGES,
        ),
    )


def _package_out(out: Path) -> Path:
    return out.with_name(f"{out.stem}.package{out.suffix}")


def _judge(problems: Problems, tested: Sequence[Candidate], given: Arguments) -> int:
    keys = _keys(problems, tested, given)
    tests = {identity: len(problem.cases) for identity, problem in problems.judged.items()}
    most_workers = max(1, sum(tests[one.problem_id] for one in tested))
    with (
        Pool(
            min(given.workers or available_cores(), most_workers),
            given.limits,
            accept_level_c=given.accept_level_c,
            packages=given.packages,
        ) as pool,
        VerdictFile(given.out, given.comparator, keys, tests) as file,
    ):
        print_line(f"sandbox level {pool.level}: {', '.join(pool.layers)}")
        kept = file.keep(pool.level)
        _tell(kept, given.out)
        judged = dict(kept.judged)
        left = [one for one in tested if (one.problem_id, one.index) not in judged]
        verdicts = judge(problems.judged, left, pool, give_up_after_timeouts=given.give_up_after_timeouts)
        with closing(verdicts), JudgingDisplay(len(tested), len(judged)) as display:
            for one in verdicts:
                file.add(one, pool.level)
                judged[one.problem_id, one.index] = one
                display.judged(passed=one.passed(given.comparator))
        file.finish()
    return _close(judged.values(), given)


def _tested(problems: Problems, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that can be judged; those of problems without tests are left out and counted."""
    if problems.untested:
        untested = sum(one.problem_id in problems.untested for one in candidates)
        print_line(f"left out: {len(problems.untested):,} problems without tests, and {untested:,} candidates for them")
    if problems.unasserted:
        unasserted = sum(candidate.problem_id in problems.unasserted for candidate in candidates)
        names = ", ".join(map(repr, problems.unasserted[:_MOST_NAMED]))
        more = ", ..." if len(problems.unasserted) > _MOST_NAMED else ""
        print_line(
            f"left out: {len(problems.unasserted):,} problems whose tests assert nothing, or only in functions that "
            f"nothing calls ({names}{more}), and {unasserted:,} candidates for them"
        )
    tested = [one for one in candidates if one.problem_id in problems.judged]
    if not tested:
        print_line("there is no candidate to judge")
    return tested


def _keys(problems: Problems, candidates: Iterable[Candidate], given: Arguments) -> dict[Place, str]:
    of_problem: dict[object, str] = {}
    keys: dict[Place, str] = {}
    for one in candidates:
        if one.problem_id not in of_problem:
            problem = problems.judged[one.problem_id]
            of_problem[one.problem_id] = fingerprint(
                problem, given.limits, given.give_up_after_timeouts, versioned(given.packages)
            )
        keys[one.problem_id, one.index] = key_of(of_problem[one.problem_id], one.source)
    return keys


def _refuse_overwriting(given: Arguments) -> None:
    outs = [given.out, *([_package_out(given.out)] if given.apps_package_rules else [])]
    for file, out in itertools.product((given.problems, given.candidates), outs):
        with suppress(OSError):  # what does not open is said where it is opened
            if out.samefile(file):
                raise UserError("the verdicts would replace what is read", where=str(out), hint="--out FILE elsewhere")


def _tell(kept: Resumed, out: Path) -> None:
    if kept.judged:
        print_line(f"{out} has verdicts on {len(kept.judged):,} of these candidates, which stand")
    if kept.dropped:
        print_line(
            f"{out}: {kept.dropped:,} lines were dropped, which do not stand: another source, problem or limit, or a "
            "sandbox that was weaker or failed"
        )
    if kept.old is not None:
        print_line(f"the file as it was, with what was dropped, is kept as {kept.old}")
    if kept.torn:
        print_line(f"{out}: the last line was cut off and was dropped")


def _close(judged: Iterable[Judgement], given: Arguments) -> int:
    found = list(judged)
    order = sorted(Comparator, key=lambda comparator: comparator is not given.comparator)
    print_scores({str(comparator): _scores(found, comparator) for comparator in order}, str(given.out))
    broken = [one for one in found if one.is_broken]
    if broken:
        first = broken[0]
        print_line(
            f"the sandbox failed on {len(broken):,} of {len(found):,} candidates, which the same command tries again; "
            f"the first: problem {first.problem_id!r}, candidate {first.index}: {first.trouble}"
        )
    return EXIT_FAILED if broken else EXIT_OK


def _scores(judged: Sequence[Judgement], comparator: Comparator) -> Scores:
    scores = Scores(len(judged))
    for one in judged:
        scores.passed += one.passed(comparator)
        scores.share += one.share(comparator)
        for verdict in one.verdicts[comparator]:
            scores.verdicts[verdict] = scores.verdicts.get(verdict, 0) + 1
    return scores


def _given(arguments: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m peft_study judge", description=__doc__)
    parser.add_argument("--problems", type=Path, required=True, metavar="FILE", help="JSON lines: problems with tests")
    parser.add_argument(
        "--candidates", type=Path, required=True, metavar="FILE", help="JSON lines: programs by problem"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a line of verdicts for each candidate")
    parser.add_argument(
        "--comparator",
        type=Comparator,
        choices=list(Comparator),
        default=Comparator.strict,
        help="whose verdicts come first; the other's are in each line as well; default: strict",
    )
    parser.add_argument("--workers", type=_count, metavar="N", help="tests at once; default: one a core")
    for name, default, unit in (
        ("cpu-seconds", _DEFAULTS.cpu_seconds, "CPU time of a test"),
        ("wall-seconds", _DEFAULTS.wall_seconds, "time of a test"),
        ("memory-mb", _DEFAULTS.memory_bytes / 2**20, "memory of a test, in MiB"),
        ("output-kb", _DEFAULTS.output_bytes / 2**10, "output of a test, in KiB"),
    ):
        parser.add_argument(
            f"--{name}", type=_amount, default=default, metavar="X", help=f"{unit}; default: {default:g}"
        )
    parser.add_argument(
        "--give-up-after-timeouts",
        type=_count,
        metavar="N",
        help="after N timeouts of a candidate, take its tests that have not begun for timeouts too; default: run all",
    )
    parser.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="NAME",
        help="an installed package that programs may import, such as numpy; default: the standard library alone",
    )
    parser.add_argument(
        "--apps-package-rules",
        action="store_true",
        help="judge a second time as the checker of the study's package does, into OUT with .package before its suffix",
    )
    parser.add_argument(
        "--accept-level-c", action="store_true", help="go on where this machine contains nothing but resources"
    )
    given = parser.parse_args(arguments)
    try:
        limits = replace(
            _DEFAULTS,
            cpu_seconds=given.cpu_seconds,
            wall_seconds=given.wall_seconds,
            memory_bytes=max(1, round(given.memory_mb * 2**20)),
            output_bytes=max(1, round(given.output_kb * 2**10)),
        )
    except (UserError, OverflowError) as error:
        parser.error(f"{error.what if isinstance(error, UserError) else error} (--cpu-seconds to --output-kb)")
    return Arguments(
        given.problems,
        given.candidates,
        given.out,
        given.comparator,
        given.workers,
        limits,
        given.accept_level_c,
        tuple(sorted(set(given.package))),
        given.apps_package_rules,
        given.give_up_after_timeouts,
    )


def _count(text: str) -> int:
    return int(_checked(text, int, lambda value: value >= 1, "a number from 1 up"))


def _amount(text: str) -> float:
    return _checked(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def _checked(text: str, kind: Callable[[str], float], holds: Callable[[float], bool], what: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value
