"""Judging in the sandbox: candidates that try to pass without the answer do not, and the next honest one still does."""

import itertools
from collections.abc import Iterator

import pytest

from peft_study.execution.compare import Comparator
from peft_study.execution.inputs import Candidate
from peft_study.execution.jobs import Limits
from peft_study.execution.judge import Judged, Verdict, judge, judge_all
from peft_study.execution.problems import Problem, problem_of_assertions, problem_of_inputs
from peft_study.execution.sandbox import Pool
from tests.forgeries import ALWAYS_EQUAL, FORGERIES

HONEST = "def add(a, b):\n    return a + b\n"
SCRIPT = problem_of_inputs("script", ["1 2", "3 4"], ["3", "7"])
CALL = problem_of_inputs("call", [[1, 2], [3, 4]], [[3], [7]], "add")
FLAT = problem_of_assertions("flat", "assert add(1, 2) == 3\nassert add(3, 4) == 7\n")
CHECK = problem_of_assertions(
    "check", "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(3, 4) == 7\n\ncheck(add)\n"
)
PROBLEMS = {problem.id: problem for problem in (SCRIPT, CALL, FLAT, CHECK) if problem}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, Limits(cpu_seconds=2, wall_seconds=4), accept_level_c=True) as opened:
        yield opened


def test_no_forgery_passes_a_test_and_the_honest_one_behind_it_does(pool: Pool) -> None:
    # Equal sources would be run once.
    honest = [f"{HONEST}# {number}\n" for number in range(len(FORGERIES))]
    sources = [source for pair in zip(FORGERIES.values(), honest, strict=True) for source in pair]

    found = judge_all(PROBLEMS, dict.fromkeys(("call", "flat", "check"), sources), pool)

    for identity, judged in found.items():
        for comparator in Comparator:
            through = [
                name
                for name, one in zip(FORGERIES, judged[::2], strict=True)
                if Verdict.passed in one.verdicts[comparator] or one.is_broken
            ]
            assert through == [], identity
            assert all(one.passed(comparator) for one in judged[1::2])


def test_a_call_is_judged_by_what_its_object_is(pool: Pool) -> None:
    """A subclass is read as its base: 3 that claims to be everything is 3."""
    source = ALWAYS_EQUAL.format(base="(int)").replace("return Equal()", "return Equal(3)")

    [judged] = judge_all(PROBLEMS, {"call": [source]}, pool)["call"]

    assert judged.verdicts[Comparator.strict] == (Verdict.passed, Verdict.failed)


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nfor line in sys.stdin.buffer:\n    print(sum(map(int, line.split())))",
        "total = 0\ndef main():\n    global total\n    total += sum(map(int, input().split()))\n    print(total)\n"
        "if __name__ == '__main__':\n    main()",
        "print(sum(map(int, stdin.readline().split())))\nexit()",
        "h = []\nfor x in map(int, input().split()):\n    heappush(h, x)\nstdout.write(str(sum(h)))",
        "from __future__ import annotations\nimport os\nprint(sum(map(int, os.read(0, 100).split())))",
        "np = [*map(int, open(0).read().split())]\nprint(sum(np))",
        "import sys\nsys.setrecursionlimit(5000)\ndef f(n):\n    return n and 1 + f(n - 1)\n"
        "f(3000)\nprint(sum(map(int, input().split())))",
    ],
    ids=["buffer", "main and globals", "published names", "heapq", "future", "a variable np", "recursion"],
)
def test_right_programs_that_other_checkers_reject_pass(pool: Pool, source: str) -> None:
    [judged] = judge_all(PROBLEMS, {"script": [source]}, pool)["script"]

    assert judged.verdicts == dict.fromkeys(Comparator, (Verdict.passed, Verdict.passed))


def test_candidates_are_drawn_as_they_are_judged(pool: Pool) -> None:
    drawn = itertools.count()
    endless = (Candidate("script", index, f"print({index})") for index in drawn)

    first = list(itertools.islice(judge(PROBLEMS, endless, pool), 5))

    # With two workers, a candidate may be overtaken.
    assert len({one.index for one in first}) == 5
    assert next(drawn) < 40


def test_candidates_of_unknown_problems_are_left_out(pool: Pool) -> None:
    found: dict[int | str, list[Judged]] = judge_all(
        PROBLEMS, {"flat": [HONEST, "", HONEST], "untested": [HONEST]}, pool
    )

    assert list(found) == ["flat"]
    assert [(one.index, one.passed(Comparator.strict)) for one in found["flat"]] == [(0, True), (1, False), (2, True)]


def test_stateful_assertions_see_what_happened_before(pool: Pool) -> None:
    tests = "s = Stack()\nassert s.push(1) == 1\nassert s.push(1) == 2\nassert len(s.items) == 2\n"
    source = (
        "class Stack:\n    items = []\n    def push(self, x):\n"
        "        self.items.append(x)\n        return len(self.items)\n"
    )
    problem: Problem | None = problem_of_assertions("stack", tests)
    assert problem is not None

    [judged] = judge_all({"stack": problem}, {"stack": [source]}, pool)["stack"]

    assert judged.verdicts[Comparator.strict] == (Verdict.passed,)


@pytest.mark.parametrize(
    ("tests", "source"),
    [
        ("xs = [3, 1]\nassert sort(xs) is None\nassert xs == [1, 3]\n", "def sort(x): x.sort()"),
        (
            "assert add('k', 1) is None\nassert get('k') == 1\n",
            "d = {}\ndef add(k, v): d[k] = v\ndef get(k): return d[k]",
        ),
        (
            "calls = []\ndef log(x):\n    calls.append(x)\n    return x\n"
            "assert f(log(1)) == 2\nassert len(calls) == 1\n",
            "def f(x): return x + 1",
        ),
    ],
    ids=["an argument", "a module's dict", "a record of calls"],
)
def test_assertions_that_depend_on_each_other_are_run_together(pool: Pool, tests: str, source: str) -> None:
    problem: Problem | None = problem_of_assertions("state", tests)
    assert problem is not None

    [judged] = judge_all({"state": problem}, {"state": [source]}, pool)["state"]

    assert judged.verdicts[Comparator.strict] == (Verdict.passed,)


def test_integer_keys_of_a_first_argument_come_back(pool: Pool) -> None:
    """JSON has text alone for keys."""
    problem = problem_of_inputs("keys", [[{"1": 2, "3": 4}, 5], [{"a": 2}, 5]], [{"2": 7}, {"a": 7}], "f")
    assert problem is not None

    found = judge_all(
        {"keys": problem},
        {"keys": ["def f(d, x): return {k * 2 if k == 1 else k: v + x for k, v in d.items() if k != 3}"]},
        pool,
    )

    assert found["keys"][0].verdicts[Comparator.strict] == (Verdict.passed, Verdict.passed)
