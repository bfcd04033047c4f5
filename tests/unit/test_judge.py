"""Verdicts of results, and the file of verdicts across runs."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.judging.judge import Judgement, Verdict, verdicts_of
from peft_study.judging.problems import Problem, problem_of_assertions, problem_of_inputs
from peft_study.judging.records import VerdictFile, fingerprint, key_of
from peft_study.sandbox.capture import STDERR_TAIL_BYTES
from peft_study.sandbox.jobs import Ending, Level, Limits, TestResult

TRACEBACK = b'Traceback (most recent call last):\n  File "main.py", line 1, in <module>\nValueError: no\n'
SYNTAX = b'  File "main.py", line 1\n    def f(: pass\n          ^\nSyntaxError: invalid syntax\n'
BOTH = (Verdict.passed, Verdict.passed)


def made(problem: Problem | None) -> Problem:
    assert problem is not None
    return problem


SCRIPT = made(problem_of_inputs(1, ["x"], ["1\n2\n"]))
CALL = made(problem_of_inputs(2, [[1]], [[1, 2]], "f"))
ASSERTS = made(problem_of_assertions(3, "assert f()"))


def exited(code: int = 0, **more: Any) -> TestResult:
    return TestResult(Ending.exited, code, **more)


@pytest.mark.parametrize(
    ("problem", "result", "strict", "apps"),
    [
        (SCRIPT, exited(stdout=b"1\n2\n"), "pass", "pass"),
        (SCRIPT, exited(stdout=b"2\n1\n"), "fail", "pass"),
        (SCRIPT, exited(stdout=b"3\n"), "fail", "fail"),
        (SCRIPT, exited(3, stdout=b"1\n2\n"), "error", "pass"),
        (SCRIPT, exited(1, stdout=b"1\n2\n", stderr=b"goodbye\n"), "error", "pass"),
        (SCRIPT, exited(1, stdout=b"1\n2\n", stderr=TRACEBACK), "error", "error"),
        (SCRIPT, exited(1, stdout=b"1\n2\n", stderr=SYNTAX), "error", "error"),
        (SCRIPT, exited(1, stdout=b"1\n2\n", stderr=b"x" * STDERR_TAIL_BYTES), "error", "error"),
        (SCRIPT, exited(-11, stdout=b"1\n2\n"), "error", "error"),
        (SCRIPT, TestResult(Ending.timeout, -9, stdout=b"1\n2\n"), "timeout", "timeout"),
        (SCRIPT, TestResult(Ending.memory, -9, stdout=b"1\n2\n"), "memory", "memory"),
        (SCRIPT, TestResult(Ending.output_limit, -9, stdout=b"1\n2\n"), "output_limit", "output_limit"),
        (SCRIPT, TestResult(Ending.sandbox_error, detail="gone"), "sandbox_error", "sandbox_error"),
        (CALL, exited(reply=b"[1, 2]"), "pass", "pass"),
        (CALL, exited(reply=b"1"), "fail", "pass"),
        (CALL, exited(reply=b"3"), "fail", "fail"),
        (CALL, exited(reply=None), "error", "error"),
        (CALL, exited(reply=b""), "error", "error"),
        (CALL, exited(reply=b"[1, 2"), "error", "error"),
        (CALL, exited(reply=b"[" * 100_000), "error", "error"),
        (CALL, exited(reply=b"\xff"), "error", "error"),
        (CALL, exited(1, reply=b"[1, 2]"), "error", "error"),
        (ASSERTS, exited(proved=True), "pass", "pass"),
        (ASSERTS, exited(), "fail", "fail"),
        (ASSERTS, exited(1, stderr=TRACEBACK), "error", "error"),
        (ASSERTS, exited(1, stderr=TRACEBACK.replace(b"ValueError", b"AssertionError")), "fail", "fail"),
        (ASSERTS, exited(-9), "error", "error"),
        (ASSERTS, TestResult(Ending.timeout, -9), "timeout", "timeout"),
    ],
)
def test_the_verdict_of_a_result(problem: Problem, result: TestResult, strict: str, apps: str) -> None:
    verdicts = verdicts_of(problem, problem.cases[0], result)

    assert verdicts == {Comparator.strict: strict, Comparator.apps: apps}


def test_shares_and_passes_depend_on_the_comparator() -> None:
    mixed = (Verdict.passed, Verdict.failed, Verdict.timeout, Verdict.passed)
    judged = Judgement(1, 0, {Comparator.strict: mixed, Comparator.apps: (Verdict.passed,) * 4}, 0.5)

    assert (judged.passed(Comparator.strict), judged.share(Comparator.strict)) == (False, 0.5)
    assert (judged.passed(Comparator.apps), judged.share(Comparator.apps)) == (True, 1.0)
    assert not judged.is_broken


# --- the file of verdicts ---


def judgement(index: int, *verdicts: Verdict, trouble: str = "") -> Judgement:
    return Judgement("a", index, dict.fromkeys(Comparator, verdicts or BOTH), 0.25, trouble)


def keys(number: int) -> dict[tuple[int | str, int], str]:
    return {("a", index): f"key {index}" for index in range(number)}


TESTS = {"a": 2}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_verdict_of_a_weaker_sandbox_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "V.jsonl"
    for made_at, found_at, stands in (("B", "A", 0), ("B", "B", 1), ("B", "C", 1), ("C", "B", 0), ("A", "C", 1)):
        path.unlink(missing_ok=True)
        with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
            file.add(judgement(0), Level(made_at))
        with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
            resumed = file.keep(Level(found_at))
            file.finish()

        assert (len(resumed.judged), resumed.dropped, len(lines(path))) == (stands, 1 - stands, stands)
        assert [line["level"] for line in lines(path)] == [made_at] * stands


def test_a_candidate_with_a_sandbox_error_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "V.jsonl"
    with VerdictFile(path, Comparator.strict, keys(2), TESTS) as file:
        file.add(judgement(1), Level.A)
        file.add(judgement(0, Verdict.passed, Verdict.sandbox_error, trouble="gone"), Level.A)
        file.finish()
    assert [(line["candidate"], line["passed"], line.get("trouble")) for line in lines(path)] == [
        (0, False, "gone"),
        (1, True, None),
    ]

    with VerdictFile(path, Comparator.strict, keys(2), TESTS) as file:
        assert list(file.keep(Level.A).judged) == [("a", 1)]
        assert len(lines(path)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"{}\n",
        b"[1]\n",
        b"null\n",
        b"\xff\n",
        b'{"problem_id": 1}\n',
        b"[" * 100_000 + b"\n",
        b"milk",
        b"{",
        b'{"problem_id": 1}\nmilk',
        b'{"problem_id": 1, "passed": true}',
        b'{"problem_id": 5, "candidates": ["precious"]}',
        b'{"problem_id": 5, "candidates": ["preci',
        b'{"problem_id": 5, "candidate": 1}',
        b'{"problem_id": "a", "level": "A"',
        b'{"problem_id": null, "candidate": 1',
        b"1",
    ],
)
def test_a_file_without_verdicts_is_not_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "V.jsonl"
    path.write_bytes(content)
    torn = content == b"{"

    with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
        if torn:  # the first byte of a line, which a killed process may leave
            assert file.keep(Level.A).torn
        else:
            with pytest.raises(UserError, match="does not hold verdicts"):
                file.keep(Level.A)

    assert path.read_bytes() == (b"" if torn else content)


@pytest.mark.parametrize(
    "odd",
    [
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"seconds": -1.0},
        {"seconds": "1"},
        {"seconds": 10**400},
        {"candidate": float("inf")},
        {"candidate": False},
        {"candidate": 0.0},
        {"candidate": "0"},
        {"problem_id": True},
        {"problem_id": ["a"]},
        {"verdicts": []},
        {"verdicts": ["pass"]},
        {"verdicts": ["pass"] * 3},
        {"verdicts": "pass"},
        {"verdicts": ["pass", "won"]},
        {"verdicts": [["pass"], "pass"]},
        {"other": None},
        {"other": {"comparator": "strict", "verdicts": ["pass", "pass"]}},
        {"other": {"comparator": "apps", "verdicts": ["pass"]}},
        {"level": "D"},
        {"level": 1},
        {"key": None},
        {"key": ["key 0"]},
        {"reasons": ["only one"]},
        {"reasons": "ab"},
        {"trouble": 3},
    ],
    ids=str,
)
def test_a_malformed_line_is_dropped(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = tmp_path / "V.jsonl"
    with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
        file.add(judgement(0), Level.A)
    [line] = lines(path)
    path.write_text(json.dumps(line | odd) + "\n")

    with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
        resumed = file.keep(Level.A)

    assert (dict(resumed.judged), resumed.dropped, path.read_bytes()) == ({}, 1, b"")


def test_reasons_and_verdicts_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "V.jsonl"
    judged = replace(judgement(0, Verdict.passed, Verdict.failed), reasons=("", "line 2: does not hold"))
    with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
        file.add(judged, Level.A)
        assert file.keep(Level.A).judged == {("a", 0): judged}
    assert lines(path)[0]["reasons"] == ["", "line 2: does not hold"]


def test_the_file_is_copied_before_verdicts_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "V.jsonl"
    resumed, content = [], []
    for run in range(3):
        changed = {place: f"{key} of run {run}" for place, key in keys(2).items()}
        with VerdictFile(path, Comparator.strict, changed, TESTS) as file:
            resumed.append(file.keep(Level.A))
            file.add(judgement(0), Level.A)
            file.finish()
        content.append(path.read_bytes())

    assert [run.old and run.old.name for run in resumed] == [None, "V.jsonl.old", "V.jsonl.old2"]
    assert [(tmp_path / name).read_bytes() for name in ("V.jsonl.old", "V.jsonl.old2")] == content[:2]


def test_no_copy_is_made_for_sandbox_errors_alone(tmp_path: Path) -> None:
    path = tmp_path / "V.jsonl"
    with VerdictFile(path, Comparator.strict, keys(1), TESTS) as file:
        file.add(judgement(0, Verdict.sandbox_error, Verdict.passed, trouble="gone"), Level.A)
        assert file.keep(Level.A).old is None
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "V.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(path)
    with VerdictFile(link, Comparator.strict, keys(1), TESTS) as file:
        file.add(judgement(0), Level.A)
        file.finish()

    assert link.is_symlink()
    assert len(lines(path)) == 1


def test_a_file_that_is_replaced_before_it_is_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process may end before the lock is asked for. Without a check, lines would go into the removed file."""
    path = tmp_path / "V.jsonl"
    lock = fcntl.flock

    def replaced(file: Any, operation: int) -> None:
        (tmp_path / "new").touch()
        (tmp_path / "new").replace(path)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", replaced)

    with pytest.raises(UserError, match="another process"), VerdictFile(path, Comparator.strict, keys(1), TESTS):
        pass


def test_the_key_changes_with_everything_that_decides_a_verdict() -> None:
    limits = Limits()
    seen = {
        key_of(fingerprint(problem, limit, give_up), source)
        for problem, limit, give_up, source in (
            (SCRIPT, limits, None, "x"),
            (SCRIPT, limits, None, "y"),
            (SCRIPT, Limits(cpu_seconds=5), None, "x"),
            (SCRIPT, Limits(memory_bytes=1), None, "x"),
            (SCRIPT, limits, 3, "x"),
            (made(problem_of_inputs(1, ["x"], ["1\n2"])), limits, None, "x"),
            (made(problem_of_inputs(1, ["y"], ["1\n2\n"])), limits, None, "x"),
            (made(problem_of_inputs(1, ["x"], ["1\n2\n"], prelude="")), limits, None, "x"),
            (CALL, limits, None, "x"),
            (made(problem_of_inputs(2, [[1]], [[1, 2]], "g")), limits, None, "x"),
            (made(problem_of_inputs(2, [[1]], [[1, 2.0]], "f")), limits, None, "x"),
            (ASSERTS, limits, None, "x"),
            (SCRIPT, limits, None, "\ud800"),
        )
    }

    assert len(seen) == 13
    assert key_of(fingerprint(SCRIPT, Limits(), None), "x") in seen
