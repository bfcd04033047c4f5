"""Judging in the sandbox: forgeries fail, and the honest candidate after each passes."""

import itertools
from collections.abc import Iterator

import pytest

from peft_study.judging.compare import Comparator
from peft_study.judging.inputs import Candidate
from peft_study.judging.judge import Judgement, Verdict, judge, judge_all
from peft_study.judging.problems import Problem, problem_of_assertions, problem_of_inputs
from peft_study.sandbox.jobs import Limits
from peft_study.sandbox.pool import Pool
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


def test_forgeries_fail_and_the_honest_program_passes(pool: Pool) -> None:
    # Equal sources would be run once.
    honest = [f"{HONEST}# {number}\n" for number in range(len(FORGERIES))]
    sources = [source for pair in zip(FORGERIES.values(), honest, strict=True) for source in pair]

    found = judge_all(PROBLEMS, dict.fromkeys(("call", "flat", "check"), sources), pool)

    for identity, judged in found.items():
        for comparator in Comparator:
            through = [
                name
                for name, judgement in zip(FORGERIES, judged[::2], strict=True)
                if Verdict.passed in judgement.verdicts[comparator] or judgement.is_broken
            ]
            assert through == [], identity
            assert all(judgement.passed(comparator) for judgement in judged[1::2])


def test_a_call_is_judged_by_the_value_of_its_object(pool: Pool) -> None:
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


def test_candidates_are_read_lazily(pool: Pool) -> None:
    drawn = itertools.count()
    endless = (Candidate("script", index, f"print({index})") for index in drawn)

    first = list(itertools.islice(judge(PROBLEMS, endless, pool), 5))

    # With two workers, a candidate may be overtaken.
    assert len({judgement.index for judgement in first}) == 5
    assert next(drawn) < 40


def test_candidates_of_unknown_problems_are_left_out(pool: Pool) -> None:
    told: list[int] = []
    found: dict[int | str, list[Judgement]] = judge_all(
        PROBLEMS, {"flat": [HONEST, "", HONEST], "untested": [HONEST]}, pool, told.append
    )

    assert told == [1, 2, 3]
    assert list(found) == ["flat"]
    assert [(judgement.index, judgement.passed(Comparator.strict)) for judgement in found["flat"]] == [
        (0, True),
        (1, False),
        (2, True),
    ]


def test_stateful_assertions_see_earlier_effects(pool: Pool) -> None:
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


OBJECTS = """
from dataclasses import dataclass
from enum import Enum
class Node:
    def __init__(self, x): self.x = x
@dataclass
class Point:
    x: int
    y: int
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
class Color(Enum):
    red = 1
    blue = 2
class Bag:
    def __init__(self, *x): self.x = x
    def __iter__(self): return iter(self.x)
kept = [1]
def f(x=0): return x + 1
def same(): return kept
def made(x=1): return {"a": x}
def count(n=3): yield from range(n)
def red(): return Color.red
def nothing(): return None
"""


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ("assert type(f(1)) == int", "pass"),
        ("assert type(f(1)) is int", "pass"),
        ("assert type(f(1)) in (int, float)", "pass"),
        ("assert type(f(1)) == str", "fail"),
        ("assert type(f(1)) not in (int, float)", "fail"),
        ("assert type(red()) == Color", "pass"),
        ("assert type(nothing()) == type(None)", "pass"),
        ("try:\n    f('x')\nexcept Exception as error:\n    caught = error\nassert type(caught) is TypeError", "pass"),
        ("assert Node(1) is not None", "pass"),
        ("assert Node(1) != None", "pass"),
        ("assert Node(1) == None", "fail"),
        ("assert Node(1) is None", "fail"),
        ("assert nothing() is not None", "fail"),
        ("assert Node(1) == Node(1)", "fail"),
        ("assert Node(1) != Node(1)", "pass"),
        ("assert Point(1, 2) + Point(3, 4) == Point(4, 6)", "pass"),
        ("assert Point(1, 2) + Point(3, 4) == Point(4, 7)", "fail"),
        ("assert [Point(1, 2)] == [Point(1, 2)]", "pass"),
        ("assert Point(1, 2) in [Point(0, 0), Point(1, 2)]", "pass"),
        ("assert Point(1, 2) in [Point(0, 0)]", "fail"),
        ("for x in (0, 2):\n    assert x in count() and x in made().keys() or x in Bag(2)", "fail"),
        ("for x in (0, 2):\n    assert x in count() and x not in Bag(1)", "pass"),
        ("assert red() == Color.red and red() is Color.red and red() != Color.blue", "pass"),
        ("assert red() == Color.blue", "fail"),
        ("assert made().keys() == {'a'}", "pass"),
        ("assert made().keys() == {'b'}", "fail"),
        ("assert made([1]).items() == made([1]).items()", "pass"),
        ("assert 1 in made().values()", "pass"),
        ("assert same() is same()", "pass"),
        ("assert made() is made()", "fail"),
        ("assert 2 in count() and 2 in Bag(1, 2)", "pass"),
        ("assert 3 in count()", "fail"),
        ("assert 3 not in count()", "pass"),
        ("assert count(2) == [0, 1]", "fail"),
        ("assert {'n': Node(1)} != {'n': 1}", "pass"),
        ("for x, want in [(1, 2), (2, 3)]:\n    assert f(x) == want", "pass"),
        ("for x, want in [(1, 2), (2, 4)]:\n    assert f(x) == want", "fail"),
    ],
)
def test_assertions_about_values_that_are_not_plain_data(pool: Pool, tests: str, verdict: str) -> None:
    problem = problem_of_assertions("objects", f"{tests}\n")
    assert problem is not None

    [judged] = judge_all({"objects": problem}, {"objects": [OBJECTS]}, pool)["objects"]

    assert judged.verdicts[Comparator.strict] == (verdict,), judged


@pytest.mark.parametrize(
    "tests",
    [
        "assert add(1, 2) == 3",
        "assert not add(1, 2) != 3",
        "assert add(1, 2) in (3, 4)",
        "assert 3 in [add(1, 2)]",
        "assert add(1, 2) is 3",
        "for want in [3]:\n    assert add(1, 2) == want",
        "assert type(add(1, 2)) == int",
        "assert add(1, 2) == int",
        "assert add(1, 2) >= 3",
    ],
)
def test_an_object_that_equals_everything_equals_no_literal(pool: Pool, tests: str) -> None:
    problem = problem_of_assertions("equal", f"{tests}\n")
    assert problem is not None
    source = ALWAYS_EQUAL.format(base="") + "    \nEqual.__ge__ = Equal.__eq__\n"

    [judged] = judge_all({"equal": problem}, {"equal": [source]}, pool)["equal"]

    assert judged.verdicts[Comparator.strict] == (Verdict.failed,)


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
