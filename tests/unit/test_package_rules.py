"""APPS under our rules and under those of the checker of the study's package; numpy in the sandbox."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from peft_study.cli.judge import main
from peft_study.config.schema import ScoringConfig
from peft_study.data.samples import ProgramTests, Sample
from peft_study.errors import UserError
from peft_study.judging import judge as judging
from peft_study.judging.compare import Comparator
from peft_study.judging.judge import judge_all
from peft_study.judging.package_rules import PACKAGES, package_limits
from peft_study.judging.problems import Problem, problem_of_assertions, problem_of_inputs
from peft_study.judging.records import fingerprint
from peft_study.sandbox.jobs import Ending, Job, Kind, Level, Limits, TestResult
from peft_study.sandbox.pool import Pool
from peft_study.scoring.score import Answers, score

STDIO = problem_of_inputs(1, ["3\n", "4\n"], ["6\n", "8\n"])
BLANK = problem_of_inputs(6, ["1\n\n2\n", "3\n\n4\n"], ["1 2\n", "3 4\n"])
CALL = problem_of_inputs(2, [[3], [4]], [[6], [8]], "double")
BODY = "n = int(input())\nprint(2 * n)\n"
PASS, FAIL, ERROR = ["pass"] * 2, ["fail"] * 2, ["error"] * 2
LIMITS = Limits(cpu_seconds=2, wall_seconds=4)
# The checker itself was run on the main guard, exit, stdin.buffer, numpy, the sleeps and the starter code; its patches
# of the streams, written out with unittest.mock, on what reads and writes. The other verdicts follow from its source.
PROGRAMS: Mapping[str, tuple[Problem | None, str, list[str], list[str]]] = {
    "plain": (STDIO, BODY, PASS, PASS),
    "main guard": (STDIO, 'if __name__ == "__main__":\n    print(2 * int(input()))\n', PASS, FAIL),
    "exit": (STDIO, f"{BODY}exit()\n", PASS, ERROR),
    "quit": (STDIO, f"{BODY}quit()\n", PASS, ERROR),
    "sys.exit": (STDIO, f"import sys\n{BODY}sys.exit()\n", PASS, PASS),
    "sys.exit with a code": (STDIO, f"import sys\n{BODY}sys.exit(1)\n", ERROR, PASS),
    "stdin.buffer": (STDIO, "import sys\nprint(2 * int(sys.stdin.buffer.read()))\n", PASS, ERROR),
    "stdin.readline": (STDIO, "import sys\ninput = sys.stdin.readline\nprint(2 * int(input()))\n", PASS, PASS),
    "stdin.readline keeps line ends": (STDIO, "import sys\nprint(2 * int(sys.stdin.readline()[:-1]))\n", PASS, PASS),
    "behind the last line": (
        STDIO,
        "import sys\na, b, c = (sys.stdin.readline() for _ in '123')\nprint(2 * int(a))\n",
        PASS,
        PASS,
    ),
    "blank line": (BLANK, "a = input()\ninput()\nprint(a, input())\n", PASS, PASS),
    "from sys import stdin": (STDIO, "from sys import stdin\nprint(2 * int(stdin.readline()))\n", PASS, PASS),
    "stdin without import": (STDIO, "input = stdin.readline\nprint(2 * int(input()))\n", PASS, PASS),
    "iteration of stdin": (STDIO, "from sys import stdin\nfor line in stdin:\n    print(2 * int(line))\n", PASS, FAIL),
    "from sys import stdout": (STDIO, "from sys import stdout\nstdout.write(str(2 * int(input())))\n", PASS, FAIL),
    "stdout.buffer": (STDIO, "import sys\nsys.stdout.buffer.write(b'%d' % (2 * int(input())))\n", PASS, ERROR),
    "resource": (STDIO, f"import resource\n{BODY}", PASS, ERROR),
    "no module of our own": (STDIO, f"io\n{BODY}", ERROR, ERROR),
    "open": (STDIO, "print(2 * int(open(0).read()))\n", PASS, PASS),
    "open by name": (STDIO, "print(2 * int(open('input.txt').read()))\n", ERROR, PASS),
    "numpy": (STDIO, "import numpy as np\nprint(int(np.array([2 * int(input())])[0]))\n", ERROR, PASS),
    "global": (STDIO, "t = 2\ndef f(n):\n    global t\n    return t * n\nprint(f(int(input())))\n", PASS, ERROR),
    "syntax": (STDIO, "print(2 *\n", ERROR, ERROR),
    "function": (CALL, "def double(n):\n    return 2 * n\n", PASS, PASS),
    "method": (CALL, "class Solution:\n    def double(self, n):\n        return 2 * n\n", PASS, PASS),
    "future": (STDIO, f"from __future__ import division\n{BODY}", PASS, ERROR),
    "function and future": (
        CALL,
        "from __future__ import annotations\ndef double(n):\n    return 2 * n\n",
        PASS,
        ERROR,
    ),
    "class without the method": (CALL, "class Solution: ...\ndef double(n):\n    return 2 * n\n", PASS, ERROR),
    "class named otherwise": (
        CALL,
        "class A:\n    def double(self, n):\n        return 2 * n\nSolution = A\n",
        PASS,
        ERROR,
    ),
    "function with numpy": (CALL, "def double(n):\n    return int(np.int64(2) * n)\n", ERROR, PASS),
    "function with a sum": (CALL, "def double(n):\n    return np.sum([n, n])\n", ERROR, PASS),
    "function with exit": (CALL, "def double(n):\n    return 2 * n\nexit()\n", ERROR, ERROR),
}


@pytest.fixture(scope="module")
def plain() -> Iterator[Pool]:
    with Pool(1, LIMITS) as pool:
        yield pool


@pytest.fixture(scope="module")
def package() -> Iterator[Pool]:
    with Pool(1, package_limits(LIMITS), packages=PACKAGES) as pool:
        yield pool


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_under_both_rules(name: str, plain: Pool, package: Pool) -> None:
    problem, source, strict, by_package = PROGRAMS[name]
    assert problem is not None

    (ours,) = judge_all({problem.id: problem}, {problem.id: [source]}, plain)[problem.id]
    (theirs,) = judge_all({problem.id: problem.under_package_rules()}, {problem.id: [source]}, package)[problem.id]

    assert list(ours.verdicts[Comparator.strict]) == strict
    assert list(theirs.verdicts[Comparator.apps]) == by_package


def test_the_tests_of_a_candidate_share_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of_inputs(3, ["1", "2", "3", "4"], ["1", "2", "3", "4"])
    assert problem is not None
    source = "import time\nn = input()\nif n != '1':\n    time.sleep(9)\nprint(n)\n"
    monkeypatch.setattr(judging, "CANDIDATE_SECONDS", 1.5)

    with Pool(1, Limits(wall_seconds=0.6), packages=PACKAGES) as pool:
        (ours,) = judge_all({3: problem}, {3: [source]}, pool)[3]
        (theirs,) = judge_all({3: problem.under_package_rules()}, {3: [source]}, pool)[3]

    assert list(ours.verdicts[Comparator.strict]) == ["pass", "timeout", "timeout", "timeout"]
    assert list(theirs.verdicts[Comparator.apps]) == ["timeout"] * 4


def test_the_time_of_a_candidate_excludes_imports_of_numpy(monkeypatch: pytest.MonkeyPatch, package: Pool) -> None:
    # The checker imports it once. 120 imports took 11.4 s, and all tests of a right program failed.
    numbers = [f"{number}\n" for number in range(120)]
    problem = problem_of_inputs(5, numbers, numbers)
    assert problem is not None
    monkeypatch.setattr(judging, "CANDIDATE_SECONDS", 5.0)

    (judged,) = judge_all({5: problem.under_package_rules()}, {5: ["print(input())\n"]}, package)[5]

    assert set(judged.verdicts[Comparator.apps]) == {"pass"}


def test_the_key_changes_with_the_rules_and_the_packages() -> None:
    assert STDIO is not None
    keys = [
        fingerprint(STDIO, LIMITS, None),
        fingerprint(STDIO.under_package_rules(), LIMITS, None),
        fingerprint(STDIO, LIMITS, None, ("numpy==2",)),
        fingerprint(STDIO, LIMITS, None, ("numpy==1",)),
    ]

    assert len(set(keys)) == len(keys)


def test_assertions_have_no_package_rules() -> None:
    problem = problem_of_assertions(4, "assert f(1) == 1")
    assert problem is not None

    with pytest.raises(UserError):
        problem.under_package_rules()


def test_scores_of_both_rules_are_recorded() -> None:
    sample = Sample(
        "test-0", "double", "", level="interview", tests=ProgramTests(("3\n",), ("6\n",)), starter_code="def f(n):\n"
    )
    behind_starter = f"{sample.starter_code.rstrip()}\n    return 2 * n\nprint(f(int(input())))\n"
    settings = ScoringConfig(workers=1, resamples=0, apps_package_rules=True)

    found = score(Answers([sample], ["?"], [[behind_starter, BODY]], sampled=True), settings)

    assert (found.metrics["pass@1"], found.metrics["apps_package_pass@1"]) == (1.0, 0.5)
    assert found.metrics["interview/apps_package_tests_passed_share"] == 0.5
    assert found.predictions[0].verdicts["apps_package"] == [["error"], ["pass"]]
    without = score(Answers([sample], ["?"], [[BODY]], sampled=True), ScoringConfig(workers=1, resamples=0))
    assert not any("apps_package" in name for name in without.metrics)


def test_a_sandbox_error_under_the_packages_rules_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample("test-0", "double", "", tests=ProgramTests(("3\n",), ("6\n",)))
    run = Pool.run

    def fail_with_packages(pool: Pool, jobs: Iterable[tuple[Hashable, Job]]) -> Iterator[tuple[Hashable, TestResult]]:
        for key, result in run(pool, jobs):
            yield key, TestResult(Ending.sandbox_error, detail="out of disk") if pool._packages else result

    monkeypatch.setattr(Pool, "run", fail_with_packages)

    found = score(
        Answers([sample], ["?"], [[BODY]], sampled=True),
        ScoringConfig(workers=1, resamples=0, apps_package_rules=True),
    )

    assert (found.execution["sandbox_errors"], found.execution["trouble"]) == (1, "out of disk")
    assert found.metrics["pass@1"] == 1.0
    assert "apps_package_pass@1" not in found.metrics


def test_the_command_writes_the_second_verdicts_beside_the_first(tmp_path: Path) -> None:
    tests = {"inputs": ["3\n"], "outputs": ["6\n"]}
    (tmp_path / "p.jsonl").write_text(json.dumps({"problem_id": 1, "input_output": tests}) + "\n")
    guarded = PROGRAMS["main guard"][1]
    (tmp_path / "c.jsonl").write_text(json.dumps({"problem_id": 1, "candidates": [guarded]}) + "\n")
    files = {"--problems": "p.jsonl", "--candidates": "c.jsonl", "--out": "v.jsonl"}
    command = [word for option, name in files.items() for word in (option, str(tmp_path / name))]

    assert main([*command, "--workers", "1", "--apps-package-rules"]) == 0

    rows = [json.loads((tmp_path / name).read_text()) for name in ("v.jsonl", "v.package.jsonl")]
    assert [row["verdicts"] for row in rows] == [["pass"], ["fail"]]
    assert [row["comparator"] for row in rows] == ["strict", "apps"]


@pytest.mark.parametrize("name", ["os.path", "../numpy", "pandas", ""])
def test_a_package_that_is_not_allowed_is_refused(name: str) -> None:
    with pytest.raises(UserError) as refused:
        Pool(1, LIMITS, packages=[name])

    assert refused.value.where == "packages"


ATTACKS = """
import importlib, os, sys, numpy
folder = os.path.dirname(os.path.realpath(numpy.__file__))
reached = []
for name in ("yaml", "pandas", "torch", "hydra", "peft_study", "pip"):
    try:
        importlib.import_module(name)
        reached.append(name)
    except ImportError:
        pass
for what, act in {
    "write": lambda: open(folder + "/x", "w"),
    "append": lambda: open(folder + "/__init__.py", "a"),
    "remove": lambda: os.remove(folder + "/__init__.py"),
    "rename": lambda: os.rename(folder, folder + "2"),
    "link": lambda: os.symlink("/", os.path.dirname(numpy.__file__) + "/../root"),
    "chmod": lambda: os.chmod(folder, 0o777),
}.items():
    try:
        act()
        reached.append(what)
    except OSError:
        pass
try:
    reached += [name for name in os.listdir(folder + "/..") if name not in ("numpy", "numpy.libs")]
except OSError:
    pass
print(reached, int(numpy.dot(numpy.eye(300), numpy.ones(300)).sum()))
"""


SCALARS = {
    "assert f(3) == 3": "pass",
    "assert f(3) == 4": "fail",
    "assert f(3) < 4": "pass",
    "assert f(3) is not None": "pass",
    "assert isinstance(f(3), int)": "fail",
    "assert [f(3)] == [3]": "pass",
    "import numpy as np\nassert np.all(f(3)) == True": "pass",
    "import numpy as np\nassert np.all(f(3)) is True": "fail",
    "import numpy as np\nassert np.longdouble(f(3)) == 4": "fail",
}


def test_scalars_of_numpy_are_judged_as_plain_values(package: Pool) -> None:
    source = "import numpy\ndef f(n):\n    return numpy.sum([n])\n"
    problems = {tests: problem_of_assertions(tests, tests) for tests in SCALARS}

    judged = judge_all(
        {tests: problem for tests, problem in problems.items() if problem is not None},
        {tests: [source] for tests in SCALARS},
        package,
    )

    assert {tests: str(judgement.verdicts[Comparator.strict][0]) for tests, (judgement,) in judged.items()} == SCALARS


@pytest.mark.parametrize("level", [Level.A, Level.B])
def test_only_the_folders_of_numpy_become_readable(level: Level) -> None:
    try:
        pool = Pool(1, LIMITS, level=level, packages=["numpy"])
    except UserError as refused:
        pytest.skip(f"no sandbox: {refused.what}")
    with pool:
        ((_, result),) = pool.run([(0, Job(ATTACKS, Kind.script))])

    assert result.stdout == b"[] 300\n", result.stderr
