"""The command that judges files of candidates: verdicts, bad input, and resuming after any end."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from peft_study.cli.judge import main
from tests.conftest import Ended, write_jsonl

SUM = "print(sum(map(int, input().split())))"
ADD = "def add(a, b):\n    return a + b\n"
SCRIPT = {"problem_id": 1, "input_output": {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}}
CALL = {"problem_id": "call", "input_output": {"inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]], "fn_name": "add"}}
ASSERTS = {"problem_id": "asserts", "tests": "assert add(1, 2) == 3\nassert add(3, 4) == 7\n"}
UNTESTED = {"problem_id": "none", "tests": ""}
SLEEPS = 8
SLOWLY = [f"import time\ntime.sleep(0.25)\n{SUM}  # {number}" for number in range(SLEEPS)]


class Study:
    """A folder with the command's three files."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd
        self.out = folder / "V.jsonl"

    def write(self, problems: list[Any], candidates: list[Any]) -> None:
        write_jsonl(self.folder / "P.jsonl", problems)
        write_jsonl(self.folder / "C.jsonl", candidates)

    def arguments(self, *more: str) -> list[str]:
        files = {"--problems": "P.jsonl", "--candidates": "C.jsonl", "--out": "V.jsonl"}
        given = [
            part for option, name in files.items() if option not in more for part in (option, str(self.folder / name))
        ]
        return [*given, "--workers", "2", "--accept-level-c", *more]

    def run(self, *more: str) -> Ended:
        self._capfd.readouterr()
        try:
            code = main(self.arguments(*more))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        printed = self._capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "peft_study", "judge", *self.arguments(*more)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def verdicts(self) -> dict[tuple[Any, int], list[str]]:
        return {(line["problem_id"], line["candidate"]): line["verdicts"] for line in self.lines()}


@pytest.fixture
def study(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Study:
    return Study(tmp_path, capfd)


def candidates(identity: Any, *sources: str) -> dict[str, Any]:
    return {"problem_id": identity, "candidates": list(sources)}


# --- verdicts ---


def test_one_line_for_each_candidate_of_each_kind(study: Study) -> None:
    study.write(
        [SCRIPT, CALL, ASSERTS, UNTESTED],
        [
            candidates("asserts", ADD, "def add(a, b): return 3", "1/0"),
            candidates("none", ADD, ADD),
            candidates(1, SUM, "print(3)", "print('", "while True: pass"),
            candidates("call", ADD, "class Solution:\n    def add(self, a, b):\n        return a + b\n", "x = 1"),
        ],
    )

    ended = study.run("--cpu-seconds", "0.5", "--wall-seconds", "2")

    assert ended.code == 0, ended.err
    assert study.verdicts() == {
        ("asserts", 0): ["pass", "pass"],
        ("asserts", 1): ["pass", "fail"],
        ("asserts", 2): ["error", "error"],
        (1, 0): ["pass", "pass"],
        (1, 1): ["pass", "fail"],
        (1, 2): ["error", "error"],
        (1, 3): ["timeout", "timeout"],
        ("call", 0): ["pass", "pass"],
        ("call", 1): ["pass", "pass"],
        ("call", 2): ["error", "error"],
    }
    assert list(study.verdicts()) == [(line["problem_id"], line["candidate"]) for line in study.lines()]
    first = study.lines()[0]
    assert (first["passed"], first["comparator"], 0 < first["seconds"] < 2) == (True, "strict", True)
    assert "left out: 1 problems without tests, and 2 candidates for them" in ended.err
    assert f"sandbox level {first['level']}" in ended.err
    assert "4 (40.00 %)" in ended.out


def test_memory_and_output_have_their_verdicts(study: Study) -> None:
    study.write(
        [SCRIPT],
        [candidates(1, "x = bytearray(300_000_000)", "while True: print('x' * 1000)", f"{SUM}\nprint(' ' * 3000)")],
    )

    assert study.run("--memory-mb", "100", "--output-kb", "4").code == 0
    assert [line["verdicts"] for line in study.lines()] == [["memory"] * 2, ["output_limit"] * 2, ["pass"] * 2]


def test_both_comparators_come_out_of_one_run(study: Study) -> None:
    study.write(
        [{"problem_id": 1, "input_output": {"inputs": ["x"], "outputs": ["1\n2\n"]}}],
        [candidates(1, "print(2); print(1)", "print(1); print(2); exit(3)", "print(1); print(2); 1/0")],
    )

    assert study.run().code == 0
    strict = study.lines()
    assert study.run("--comparator", "apps").code == 0
    apps = study.lines()

    assert [line["verdicts"] for line in strict] == [["fail"], ["error"], ["error"]]
    assert [line["verdicts"] for line in apps] == [["pass"], ["pass"], ["error"]]
    assert [line["passed"] for line in apps] == [True, True, False]
    assert [line["other"]["verdicts"] for line in strict] == [line["verdicts"] for line in apps]
    assert [line["other"]["verdicts"] for line in apps] == [line["verdicts"] for line in strict]
    assert [line["seconds"] for line in apps] == [line["seconds"] for line in strict], "judged once"


def test_equal_candidates_of_a_problem_are_run_once(study: Study) -> None:
    drawn = "import random, time\ntime.sleep(random.random() / 10)\n" + SUM
    study.write([SCRIPT, SCRIPT | {"problem_id": 2}], [candidates(1, drawn, SUM, drawn), candidates(2, drawn)])

    assert study.run().code == 0
    seconds = [line["seconds"] for line in study.lines()]
    assert seconds[0] == seconds[2] != seconds[3]


def test_integers_of_any_length(study: Study) -> None:
    long, other = "7" * 9_000, "7" * 8_999 + "8"
    study.write(
        [
            {"problem_id": 1, "input_output": {"inputs": [long], "outputs": [long]}},
            f'{{"problem_id": 2, "input_output": {{"inputs": [[{long}]], "outputs": [[{long}]], "fn_name": "f"}}}}',
            {"problem_id": 3, "prelude": f"A = {long}", "tests": f"assert f({long}) == {long}\nassert f(A) == {long}"},
        ],
        [
            candidates(1, "print(int(input()))", "print(int(input()) + 1)"),
            candidates(2, "def f(x): return x", "def f(x): return x + 1", f"def f(x): return {other}"),
            candidates(3, "def f(x): return x", "def f(x): return x + 1"),
        ],
    )

    assert study.run().code == 0
    assert [line["verdicts"] for line in study.lines()] == [
        ["pass"],
        ["fail"],
        ["pass"],
        ["fail"],
        ["fail"],
        ["pass"],
        ["fail"],
    ]


def test_after_some_timeouts_the_rest_may_be_given_up(study: Study) -> None:
    tests = {"inputs": ["x"] * 12, "outputs": ["x"] * 12}
    study.write([{"problem_id": 1, "input_output": tests}], [candidates(1, "while True: pass")])
    limits = ("--cpu-seconds", "0.2", "--wall-seconds", "0.4")

    assert study.run("--give-up-after-timeouts", "2", *limits).code == 0
    short = study.lines()[0]
    assert study.run(*limits).code == 0
    whole = study.lines()[0]

    assert short["verdicts"] == whole["verdicts"] == ["timeout"] * 12
    assert short["seconds"] < whole["seconds"] / 1.5, "the second run made all twelve"


def test_a_candidate_that_no_file_can_hold_is_an_error(study: Study) -> None:
    study.write([SCRIPT], ['{"problem_id": 1, "candidates": ["print(\'\\ud800\')", "x = \\"\\u0000\\"", ""]}'])

    assert study.run().code == 0
    assert [line["verdicts"] for line in study.lines()] == [["error"] * 2, ["error"] * 2, ["fail"] * 2]


def test_there_are_no_more_workers_than_tests(study: Study, start: Any) -> None:
    study.write([SCRIPT], [candidates(1, SUM, SLOWLY[0])])
    process = start(1, "--workers", "64")

    assert len(psutil.Process(process.pid).children()) <= 4
    process.communicate(timeout=60)
    assert study.verdicts() == {(1, 0): ["pass"] * 2, (1, 1): ["pass"] * 2}


def test_no_candidates_is_an_empty_file(study: Study) -> None:
    study.write([SCRIPT, UNTESTED], [candidates(1), candidates("none", SUM)])

    ended = study.run()

    assert (ended.code, study.out.read_bytes()) == (0, b"")
    assert "--candidates names no problem" in ended.err


# --- bad input ---


@pytest.mark.parametrize(
    ("problems", "given", "where", "what"),
    [
        ([SCRIPT, "{"], [candidates(1)], "P.jsonl, line 2", "not JSON"),
        ([SCRIPT, {"problem_id": 2, "tests": "assert ("}], [candidates(1)], "P.jsonl, line 2", "not Python"),
        ([SCRIPT], [candidates(1), "", {"problem_id": 1}], "C.jsonl, line 3", "problem_id must be unique, got 1"),
        ([SCRIPT], [candidates(2, SUM)], "C.jsonl, line 1", "unknown problem 2"),
        ([SCRIPT], [{"problem_id": 1, "candidates": [SUM, 3]}], "C.jsonl, line 1", "candidate 1 must be text, got int"),
        ([UNTESTED], [candidates("none")], "P.jsonl", "no problem has tests"),
    ],
)
def test_a_bad_line_ends_with_its_place_and_nothing_written(
    study: Study, problems: list[Any], given: list[Any], where: str, what: str
) -> None:
    study.write(problems, given)

    ended = study.run()

    assert ended.code == 2
    assert where in ended.err
    assert what in ended.err
    assert "Traceback" not in ended.err
    assert not study.out.exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--workers", "0"),
        ("--workers", "many"),
        ("--cpu-seconds", "nan"),
        ("--wall-seconds", "-1"),
        ("--memory-mb", "inf"),
        ("--output-kb", "0"),
        ("--memory-mb", "1e300"),
        ("--memory-mb", "1e12"),
        ("--cpu-seconds", "1e300"),
        ("--wall-seconds", "1e300"),
        ("--output-kb", "1e300"),
        ("--comparator", "lenient"),
        ("--give-up-after-timeouts", "0"),
    ],
)
def test_a_bad_option_is_refused(study: Study, option: tuple[str, str]) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])

    ended = study.run(*option)

    assert ended.code == 2
    assert option[0] in ended.err or option[0].strip("-").partition("-")[0] in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert not study.out.exists()


def test_a_file_that_cannot_take_verdicts_is_left_alone(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])
    notes = {"notes": b"a shopping list", "lines": b"milk\nbread\n", "results": b'{"problem_id": 1, "passed": true}\n'}
    for name, content in notes.items():
        (study.folder / name).write_bytes(content)
    before = {path: path.read_bytes() for path in study.folder.iterdir()}

    ends = {name: study.run("--out", str(study.folder / name)) for name in (*notes, "C.jsonl", "P.jsonl", ".")}
    ends["null"] = study.run("--out", "/dev/null")

    assert {name: ended.code for name, ended in ends.items()} == dict.fromkeys(ends, 2)
    assert {path: path.read_bytes() for path in study.folder.iterdir()} == before
    assert "does not hold verdicts" in ends["lines"].err
    assert "--out must not be a file that is read" in ends["C.jsonl"].err


def test_a_name_that_no_file_can_have_is_a_complaint(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])

    ended = study.run("--out", str(study.folder / ("a" * 300)))

    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert "cannot be written" in ended.err


def test_an_unfinished_line_of_something_else_is_left_alone(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])
    study.out.write_text('{"problem_id": 5, "candidates": ["precious"]}')

    ended = study.run()

    assert ended.code == 2
    assert "does not hold verdicts" in ended.err
    assert study.out.read_text() == '{"problem_id": 5, "candidates": ["precious"]}'


def test_verdicts_that_are_dropped_are_kept_beside(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM, "print(3)")])
    assert study.run().code == 0
    before = study.out.read_bytes()

    ended = study.run("--cpu-seconds", "3")

    assert "V.jsonl.old" in ended.err
    assert (study.folder / "V.jsonl.old").read_bytes() == before
    assert study.run("--cpu-seconds", "3").code == 0
    assert sorted(path.name for path in study.folder.glob("V*")) == ["V.jsonl", "V.jsonl.old"]


def test_why_an_assertion_does_not_hold_is_in_the_line(study: Study) -> None:
    right, wrong = ADD, "def add(a, b): return 3"
    unnamed = "def add(a, b):\n    return math.fsum([a, b])\n"
    raising = "def add(a, b):\n    raise KeyError('no\\nnumber\\x1b[2J!')\n"
    leaving = "def add(a, b):\n    raise SystemExit\n"
    study.write([ASSERTS], [candidates("asserts", right, wrong, unnamed, raising, leaving, "x = (", "import numpy")])

    assert study.run().code == 0
    assert [line.get("reasons") for line in study.lines()] == [
        None,
        ["", "line 2: does not hold"],
        ["NameError: name 'math' is not defined (line 2 of the program)"] * 2,
        ["KeyError: 'no\\nnumber\\x1b[2J!' (line 2 of the program)"] * 2,
        ["the tests ended by an exit that is not theirs (line 2 of the program)"] * 2,
        ["SyntaxError: '(' was never closed (line 1 of the program)"] * 2,
        ["ModuleNotFoundError: No module named 'numpy' (line 1 of the program)"] * 2,
    ]
    assert {tuple(line["verdicts"]) for line in study.lines()[2:4]} == {("error", "error")}


def test_an_exception_of_the_tests_is_told_by_their_line(study: Study) -> None:
    tests = "import json\n\n# A comment that is gone in the sandbox.\nassert f(1) == 2\n\nwant = json.loads('[')\n"
    study.write([{"problem_id": 1, "tests": tests}], [candidates(1, "def f(x):\n    return x + 1\n")])

    assert study.run().code == 0
    [reason] = study.lines()[0]["reasons"]
    assert reason.startswith("JSONDecodeError: ")
    assert reason.endswith(" (line 6 of the tests)")


def test_problems_that_assert_nothing_are_left_out_and_named(study: Study) -> None:
    silent = {"problem_id": "silent", "tests": "add(1, 2)"}
    study.write([ASSERTS, silent], [candidates("silent", ADD, "1/0"), candidates("asserts", ADD)])

    ended = study.run()

    assert (ended.code, study.verdicts()) == (0, {("asserts", 0): ["pass", "pass"]})
    assert "'silent'" in ended.err
    assert "2 candidates" in ended.err


def test_two_processes_do_not_write_one_file(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])
    with study.out.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = study.run()

    assert ended.code == 2
    assert "another process" in ended.err
    assert study.run().code == 0


# --- going on ---


def test_a_second_run_judges_nothing_again(study: Study) -> None:
    study.write([SCRIPT, CALL], [candidates(1, SUM, "print(3)"), candidates("call", ADD)])
    assert study.run().code == 0
    before = study.out.read_bytes()

    ended = study.run()

    assert (ended.code, study.out.read_bytes()) == (0, before)
    assert "verdicts on 3 of these candidates" in ended.err


@pytest.mark.parametrize(
    ("problems", "given", "options", "again"),
    [
        ([SCRIPT, CALL], [candidates(1, SUM, SUM + "\n"), candidates("call", ADD)], (), {(1, 1)}),
        ([SCRIPT, CALL], [candidates(1, "print(3)", SUM), candidates("call", ADD)], (), {(1, 0), (1, 1)}),
        (
            [SCRIPT, CALL | {"prelude": "import os"}],
            [candidates(1, SUM, "print(3)"), candidates("call", ADD)],
            (),
            {("call", 0)},
        ),
        ([SCRIPT, CALL], [candidates(1, SUM, "print(3)", "print(7)"), candidates("call", ADD)], (), {(1, 2)}),
        ([SCRIPT, CALL], [candidates("call", ADD)], (), set()),
        (
            [SCRIPT, CALL],
            [candidates(1, SUM, "print(3)"), candidates("call", ADD)],
            ("--cpu-seconds", "3"),
            {(1, 0), (1, 1), ("call", 0)},
        ),
    ],
    ids=["a source", "sources exchanged", "a problem", "one more", "fewer", "a limit"],
)
def test_only_what_changed_is_judged_again(
    study: Study, problems: list[Any], given: list[Any], options: tuple[str, ...], again: set[Any]
) -> None:
    study.write([SCRIPT, CALL], [candidates(1, SUM, "print(3)"), candidates("call", ADD)])
    assert study.run().code == 0
    before = {(line["problem_id"], line["candidate"]): line for line in study.lines()}

    study.write(problems, given)
    assert study.run(*options).code == 0
    after = {(line["problem_id"], line["candidate"]): line for line in study.lines()}

    assert {place for place, line in after.items() if line != before.get(place)} == again
    assert list(after) == [(row["problem_id"], index) for row in given for index in range(len(row["candidates"]))]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_torn_last_line_is_made_again(study: Study, kept: int) -> None:
    study.write([SCRIPT], [candidates(1, SUM, "print(3)", "print(7)")])
    assert study.run().code == 0
    whole = study.out.read_bytes().splitlines(keepends=True)
    for cut in (1, 12, 40, len(whole[kept]) - 1):
        study.out.write_bytes(b"".join(whole[:kept]) + whole[kept][:cut])

        ended = study.run()

        assert ended.code == 0
        assert "was cut off" in ended.err
        assert study.out.read_bytes().startswith(b"".join(whole[:kept]))
        assert study.verdicts() == {(1, 0): ["pass"] * 2, (1, 1): ["pass", "fail"], (1, 2): ["fail", "pass"]}


Starter = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(study: Study) -> Iterator[Starter]:
    """Starts the command in a process of its own, and waits until it has judged some candidates."""
    started: list[subprocess.Popen[str]] = []

    def begin(judged: int, *more: str) -> subprocess.Popen[str]:
        process = study.start(*more)
        started.append(process)
        deadline = time.monotonic() + 60
        while not study.out.exists() or study.out.read_bytes().count(b"\n") < judged:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["INT", "TERM", "KILL"]
)
def test_an_interrupted_run_goes_on(study: Study, start: Starter, number: signal.Signals, code: int) -> None:
    study.write([SCRIPT], [candidates(1, *SLOWLY)])
    process = start(2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    _, left = psutil.wait_procs(children, timeout=20)
    before = study.lines()

    ended = study.run()

    assert process.returncode == code
    assert "Traceback" not in err
    assert ("the same command resumes" in err) == (code > 0)
    assert left == []
    assert 2 <= len(before) < SLEEPS
    assert ended.code == 0
    assert f"verdicts on {len(before)} of these candidates" in ended.err
    assert [line["candidate"] for line in study.lines()] == list(range(SLEEPS))
    assert [line for line in study.lines() if line in before] == sorted(before, key=lambda line: line["candidate"])


def test_a_sandbox_that_fails_is_no_verdict(study: Study, start: Starter) -> None:
    study.write([SCRIPT], [candidates(1, SUM, "import time\ntime.sleep(3)\n" + SUM)])
    process = start(1, "--wall-seconds", "20")
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "sandbox_error" in study.verdicts()[1, 1]
    assert "the sandbox failed on 1 of 2 candidates" in err
    assert study.verdicts()[1, 0] == ["pass", "pass"]
    assert not study.lines()[1]["passed"]
    assert study.lines()[1]["trouble"]

    assert study.run("--wall-seconds", "20").code == 0
    assert study.verdicts() == {(1, 0): ["pass", "pass"], (1, 1): ["pass", "pass"]}


def test_a_folder_that_refuses_is_a_complaint(study: Study) -> None:
    study.write([SCRIPT], [candidates(1, SUM)])
    (study.folder / "file").write_text("")

    ended = study.run("--out", str(study.folder / "file" / "V.jsonl"))

    assert ended.code == 2
    assert "cannot be written" in ended.err
