"""Judges candidates by the tests of their problems. Each test runs once, and both comparators judge that run."""

import hashlib
import re
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from peft_study.data.jsonl import has_utf8_form
from peft_study.judging.compare import Comparator, parsed, same_output, same_value
from peft_study.judging.inputs import Candidate
from peft_study.judging.package_rules import CANDIDATE_SECONDS
from peft_study.judging.problems import Case, Problem, ProblemId
from peft_study.sandbox.capture import STDERR_TAIL_BYTES
from peft_study.sandbox.jobs import Ending, Job, Kind, TestResult
from peft_study.sandbox.pool import Pool

JUDGE_VERSION = 5
"""Increased if a verdict may change, so that stored verdicts are made again."""
_MOST_REASON = 300  # length of a reason. A program that forges records can influence the text
# Python prints no "Traceback" for an error of syntax.
_UNCAUGHT = re.compile(rb"^Traceback \(most recent call last\)|^(Syntax|Indentation|Tab)Error\b", re.MULTILINE)


Place = tuple[ProblemId, int]
"""The id of a problem and the index of a candidate."""


class Verdict(StrEnum):
    """The outcome of one test."""

    passed = "pass"
    failed = "fail"
    """The program ran to its end with a wrong answer, or an assertion did not hold or was never reached."""
    error = "error"
    """An exception, a signal, a nonzero exit code, or no function of the required name."""
    timeout = "timeout"
    memory = "memory"
    output_limit = "output_limit"
    sandbox_error = "sandbox_error"
    """The sandbox failed, not the candidate."""


@dataclass(frozen=True)
class Judgement:
    """A candidate's verdicts.

    Attributes:
        problem_id: the id of the problem.
        index: position among the candidates of the problem.
        verdicts: by comparator, one verdict per test, in the order of the problem.
        seconds: wall-clock time, summed over the tests. Identical candidates share the time of the one that ran.
        trouble: the reason of the first sandbox error. Empty without one.
        reasons: one per test that asserts: what did not hold, with its line. "" for a test that passed. Empty if no
            test has a reason.
    """

    problem_id: ProblemId
    index: int
    verdicts: Mapping[Comparator, tuple[Verdict, ...]]
    seconds: float
    trouble: str = ""
    reasons: tuple[str, ...] = ()

    def passed(self, comparator: Comparator) -> bool:
        """Return whether every test passed."""
        return all(verdict is Verdict.passed for verdict in self.verdicts[comparator])

    def share(self, comparator: Comparator) -> float:
        """Return the share of tests passed, from 0 to 1."""
        verdicts = self.verdicts[comparator]
        return sum(verdict is Verdict.passed for verdict in verdicts) / len(verdicts)

    @property
    def place(self) -> Place:
        """The problem and the candidate."""
        return self.problem_id, self.index

    @property
    def is_broken(self) -> bool:
        """Whether a test could not run, so that the outcome is unknown."""
        return any(Verdict.sandbox_error in verdicts for verdicts in self.verdicts.values())


@dataclass(eq=False)  # by identity, because it is part of a job's key
class _Tally:
    """The verdicts on one source for one problem, and the candidates with that source."""

    problem: Problem
    source: str
    indices: list[int]
    verdicts: dict[int, Mapping[Comparator, Verdict]] = field(default_factory=dict)
    seconds: float = 0.0
    timeouts: int = 0
    trouble: str = ""
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def is_out_of_time(self) -> bool:
        # The package's checker would have been killed, and then counts all tests as failed.
        return self.problem.package_rules and self.seconds > CANDIDATE_SECONDS

    @property
    def is_complete(self) -> bool:
        return len(self.verdicts) == len(self.problem.cases)

    def add(self, case: int, result: TestResult) -> None:
        self.verdicts[case] = verdicts_of(self.problem, self.problem.cases[case], result)
        self.seconds += result.seconds
        self.timeouts += result.ending is Ending.timeout
        if result.ending is Ending.sandbox_error and not self.trouble:
            self.trouble = result.detail or "no reason given"
        elif result.detail:
            self.reasons[case] = result.detail[:_MOST_REASON]

    def judgement_of(self, index: int) -> Judgement:
        """The judgement of a candidate, once all tests have verdicts."""
        cases = range(len(self.problem.cases))
        if self.is_out_of_time and not self.trouble:
            self.verdicts = {case: _all(Verdict.timeout) for case in cases}
        return Judgement(
            problem_id=self.problem.id,
            index=index,
            verdicts={
                comparator: tuple(self.verdicts[case][comparator] for case in cases) for comparator in Comparator
            },
            seconds=self.seconds,
            trouble=self.trouble,
            reasons=tuple(self.reasons.get(case, "") for case in cases) if self.reasons else (),
        )


def judge(
    problems: Mapping[ProblemId, Problem],
    candidates: Iterable[Candidate],
    pool: Pool,
    *,
    give_up_after_timeouts: int | None = None,
) -> Generator[Judgement]:
    """Judge candidates, several at once. Candidates of a problem with the same source run once.

    Args:
        problems: by id. They include the problem of every candidate.
        candidates: drawn lazily, as the pool has room.
        pool: runs the tests.
        give_up_after_timeouts: after this number of timeouts of a candidate, its remaining tests count as timeouts
            without a run. None runs all tests, so that the share of tests passed is exact.

    Yields:
        each candidate once, in order of completion.
    """
    # By digest, because the sources of a whole study would take much memory.
    tallies: dict[tuple[ProblemId, bytes], _Tally] = {}
    judgements: deque[Judgement] = deque()

    def jobs() -> Iterator[tuple[Hashable, Job]]:
        for candidate in candidates:
            problem = problems[candidate.problem_id]
            key = (problem.id, hashlib.sha256(candidate.source.encode("utf-8", "surrogatepass")).digest())
            tally = tallies.get(key)
            if tally is None:
                tally = tallies[key] = _Tally(problem, candidate.source, [candidate.index])
                for case, job in _jobs_of(tally, give_up_after_timeouts):
                    yield (tally, case), job
                # If no test ran, no result comes back that closes the tally.
                if tally.is_complete:
                    judgements.extend(_close(tally))
            elif tally.is_complete:
                judgements.append(tally.judgement_of(candidate.index))
            else:
                tally.indices.append(candidate.index)

    # A generator, so that sources are read as the pool has room, and candidates with a running source join its tally.
    for key, result in pool.run(jobs()):
        tally, case = cast(tuple[_Tally, int], key)
        tally.add(case, result)
        if tally.is_complete:
            judgements.extend(_close(tally))
        while judgements:
            yield judgements.popleft()
    yield from judgements


def judge_all(
    problems: Mapping[ProblemId, Problem],
    sources: Mapping[ProblemId, Sequence[str]],
    pool: Pool,
    on_progress: Callable[[int], None] | None = None,
) -> dict[ProblemId, list[Judgement]]:
    """Judge all candidates of some problems.

    Args:
        problems: by id.
        sources: by problem id, the candidates in order. Problems that `problems` lacks are left out.
        pool: runs the tests.
        on_progress: called after each candidate with the number of candidates judged.

    Returns:
        by problem id, the judgements in the order of the candidates.
    """
    candidates = (
        Candidate(problem_id, index, source)
        for problem_id, programs in sources.items()
        if problem_id in problems
        for index, source in enumerate(programs)
    )
    judgements: dict[ProblemId, list[Judgement]] = {identity: [] for identity in sources if identity in problems}
    for num_judged, judgement in enumerate(judge(problems, candidates, pool), start=1):
        judgements[judgement.problem_id].append(judgement)
        if on_progress is not None:
            on_progress(num_judged)
    return {identity: sorted(rows, key=lambda row: row.index) for identity, rows in judgements.items()}


def verdicts_of(problem: Problem, case: Case, result: TestResult) -> dict[Comparator, Verdict]:
    """Return the verdicts of both comparators on one test.

    Under `strict`, a program must exit with code 0. Under `apps`, as in the published checker, `sys.exit` with any code
    is a normal end, and only an uncaught exception is an error.
    """
    if result.ending is not Ending.exited:
        return _all(Verdict(result.ending.value))
    if problem.kind is Kind.asserts:
        return _all(_asserted(result))
    if problem.kind is Kind.script:
        return {comparator: _printed(comparator, case, result) for comparator in Comparator}
    if result.exit_code != 0 or result.reply is None:
        return _all(Verdict.error)
    # The program can write to the reply's descriptor, so the reply may be anything.
    try:
        returned = parsed(result.reply)
    except (ValueError, RecursionError):
        return _all(Verdict.error)
    return {
        comparator: _pass_if(same_value(comparator, returned, case.expected, wrapped=problem.wrapped))
        for comparator in Comparator
    }


def _printed(comparator: Comparator, case: Case, result: TestResult) -> Verdict:
    if result.exit_code != 0 and not (comparator is Comparator.apps and _chose_to_exit(result)):
        return Verdict.error
    return _pass_if(same_output(comparator, result.stdout, case.expected))


def _chose_to_exit(result: TestResult) -> bool:
    """Whether an exit code comes from `sys.exit`. An exception would leave a traceback on standard error."""
    # Only the end of that stream is kept. If the stream is full, the start of a traceback may be cut off.
    raised = _UNCAUGHT.search(result.stderr) or (result.exit_code == 1 and len(result.stderr) >= STDERR_TAIL_BYTES)
    return (result.exit_code or 0) > 0 and not raised


def _asserted(result: TestResult) -> Verdict:
    if result.proved:
        return Verdict.passed
    # An assertion that the sandbox evaluates as a whole fails by its exception.
    failed = result.exit_code == 0 or b"AssertionError" in result.stderr.rstrip().rpartition(b"\n")[2]
    return Verdict.failed if failed else Verdict.error


def _pass_if(equal: bool) -> Verdict:
    return Verdict.passed if equal else Verdict.failed


def _all(verdict: Verdict) -> dict[Comparator, Verdict]:
    """The same verdict by both comparators."""
    return dict.fromkeys(Comparator, verdict)


def _jobs_of(tally: _Tally, give_up_after_timeouts: int | None) -> Iterator[tuple[int, Job]]:
    cases = tally.problem.cases
    if not has_utf8_form(tally.source):
        # A lone surrogate has no UTF-8 form, so no file can hold the source and no interpreter can read it.
        tally.verdicts = {index: _all(Verdict.error) for index in range(len(cases))}
        return
    for index, case in enumerate(cases):
        if tally.is_out_of_time or (give_up_after_timeouts is not None and tally.timeouts >= give_up_after_timeouts):
            tally.verdicts[index] = _all(Verdict.timeout)
        else:
            yield index, tally.problem.job(tally.source, case)


def _close(tally: _Tally) -> list[Judgement]:
    """Return the judgements of a complete tally once, and release its source."""
    judgements = [tally.judgement_of(index) for index in tally.indices]
    tally.indices, tally.source = [], ""
    return judgements
