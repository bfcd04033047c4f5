"""MBPP (974 problems) and HumanEval (164): every published solution passes, and a copy that returns other values fails.

None of the published solutions has to be left out. The default tests take a few of them, the slow ones all.
"""

from collections.abc import Callable

import pytest

from peft_study.judging.compare import Comparator
from peft_study.judging.judge import Verdict, judge_all
from peft_study.sandbox.jobs import Limits
from peft_study.sandbox.pool import Pool
from tests.real_problems import RealProblem, humaneval, mbpp

EVERY = 25
WHOLE = ("MBPP/367", "MBPP/596", "MBPP/601", "MBPP/927")
"""Problems of MBPP whose assertions share a tree, or name something beside the function under test: one verdict."""
MUTE = "def {name}(*arguments, **named):\n    return None\n"
RAISING = "def {name}(*arguments, **named):\n    raise ValueError('no')\n"


def judged(problems: list[RealProblem], source: Callable[[RealProblem], str]) -> dict[str, tuple[Verdict, ...]]:
    """Verdicts by problem; the two comparators cannot differ on assertions."""
    by_id = {each.problem.id: each.problem for each in problems}
    limits = Limits(cpu_seconds=30, wall_seconds=60)  # one solution takes 4 s where the machine is busy
    with Pool(2, limits, accept_level_c=True) as pool:
        found = judge_all(by_id, {each.problem.id: [source(each)] for each in problems}, pool)
    verdicts = {str(identity): one.verdicts for identity, (one,) in found.items()}
    assert all(of[Comparator.strict] == of[Comparator.apps] for of in verdicts.values())
    return {identity: of[Comparator.strict] for identity, of in verdicts.items()}


def everything() -> list[RealProblem]:
    problems = [*mbpp(), *humaneval()]
    cases = {each.problem.id: len(each.problem.cases) for each in problems}
    assert (len(problems), [identity for identity in WHOLE if cases.pop(identity) != 1]) == (974 + 164, [])
    assert sum(cases.values()) == (974 - len(WHOLE)) * 3 + 164
    return problems


def assert_solutions_pass(problems: list[RealProblem]) -> None:
    verdicts = judged(problems, lambda each: each.solution)

    assert {identity: of for identity, of in verdicts.items() if set(of) != {Verdict.passed}} == {}
    assert len(verdicts) == len(problems)


def assert_mutants_fail(problems: list[RealProblem], source: Callable[[RealProblem], str], how: Verdict) -> None:
    """Not one assertion of any problem holds."""
    verdicts = judged(problems, source)

    assert {identity: of for identity, of in verdicts.items() if set(of) != {how}} == {}
    assert len(verdicts) == len(problems)


def test_solutions_of_some_problems_pass() -> None:
    assert_solutions_pass(everything()[::EVERY])


def test_other_values_for_some_problems_fail() -> None:
    assert_mutants_fail(everything()[::EVERY], lambda each: each.mutant, Verdict.failed)


def test_an_exception_in_some_problems_is_an_error() -> None:
    spoilt = lambda each: each.solution + "\n\n" + "".join(RAISING.format(name=name) for name in each.functions)  # noqa: E731

    assert_mutants_fail(everything()[::EVERY], spoilt, Verdict.error)


@pytest.mark.slow
def test_every_solution_passes() -> None:
    assert_solutions_pass(everything())


@pytest.mark.slow
def test_other_values_fail_everywhere() -> None:
    assert_mutants_fail(everything(), lambda each: each.mutant, Verdict.failed)


@pytest.mark.slow
def test_none_for_every_value_passes_no_problem() -> None:
    spoilt = {
        each.problem.id: each.solution + "\n\n" + "".join(MUTE.format(name=name) for name in each.functions)
        for each in everything()
    }
    verdicts = judged(everything(), lambda each: spoilt[each.problem.id])

    # Some assertions want None, but no problem wants nothing else.
    assert [identity for identity, of in verdicts.items() if set(of) == {Verdict.passed}] == []


@pytest.mark.slow
def test_no_program_passes_no_assertion() -> None:
    assert_mutants_fail(everything(), lambda each: "", Verdict.error)
