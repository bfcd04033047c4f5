"""A cell's scores from its candidates: references, tests of three kinds, levels, what cannot be run."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from peft_study.config.schema import ExecutionChoice, ScoringConfig
from peft_study.data import minipy
from peft_study.data.samples import Check, ProgramTests, Sample
from peft_study.errors import UserError
from peft_study.metrics.codebleu import CONVENTIONS, corpus_score
from peft_study.scoring import running
from peft_study.scoring.checks import run_checks, text_of
from peft_study.scoring.needs import check_sandbox
from peft_study.scoring.problems import problem_of, problems_of, source_of
from peft_study.scoring.score import Answers, Scored, score

QUICK = ScoringConfig(workers=1, wall_seconds=2, cpu_seconds=1, resamples=200)


def scored(
    samples: Sequence[Sample], programs: Sequence[Sequence[str]], *, sampled: bool = True, **changes: Any
) -> Scored:
    settings = ScoringConfig(**(vars(QUICK) | changes))
    return score(Answers(samples, ["prompt"] * len(samples), programs, sampled), settings)


def contest(number: int, level: str, **changes: Any) -> Sample:
    """Print the double of a number, twice tested."""
    tests = ProgramTests(("1\n", "4\n"), ("2\n", "8\n"))
    values: dict[str, Any] = {"level": level, "tests": tests} | changes
    return Sample(f"test-{number}", "double it", "print(2 * int(input()))", **values)


RIGHT = "print(int(input()) * 2)"
HALF = "print(2)"
WRONG = "print('no')"
RAISES = "raise ValueError"


def test_programs_are_scored_by_level() -> None:
    samples = [contest(0, "introductory"), contest(1, "introductory"), contest(2, "interview")]

    result = scored(samples, [[RIGHT, WRONG], [HALF, RAISES], [WRONG, RIGHT]])

    metrics = result.metrics
    assert (metrics["pass@1"], metrics["pass@2"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (metrics["top@1"], metrics["top@2"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert metrics["tests_passed_share"] == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert (metrics["introductory/pass@1"], metrics["interview/pass@2"]) == (0.25, 1.0)
    assert "pass@5" not in metrics
    assert metrics["em@1"] == 0.0
    assert result.predictions[1].verdicts["strict"] == [["pass", "fail"], ["error", "error"]]
    assert result.predictions[1].scores["tests_passed_share"] == 0.25
    assert [prediction.level for prediction in result.predictions] == ["introductory", "introductory", "interview"]
    assert result.execution["programs"] == 6
    assert result.execution["level"] in {"A", "B"}
    low, high = result.intervals["pass@1"]
    assert low <= 1 / 3 <= high


def test_predictions_record_the_counts_of_codebleu() -> None:
    samples = [Sample(f"test-{n}", "double it", f"y = {n} * x\nprint(y)", level=None) for n in range(3)]

    result = scored(samples, [["print(2 * x)"], ["y = 1 * x\nprint(y)"], ["pass"]])

    for convention in CONVENTIONS:
        name = f"codebleu_{convention.name}"
        counts = np.array([prediction.counts[name] for prediction in result.predictions])
        assert result.metrics[name] == pytest.approx(float(corpus_score(counts.sum(axis=0), convention)))


def test_both_comparators_score_one_run() -> None:
    sample = contest(0, "interview", tests=ProgramTests(("",), ("1\n2\n",)))

    metrics = scored([sample], [["print(2); print(1)"]]).metrics

    assert (metrics["pass@1"], metrics["apps_pass@1"]) == (0.0, 1.0)


def test_pass_at_k_needs_sampled_candidates() -> None:
    sample = contest(0, "interview")

    drawn, searched = (scored([sample], [[RIGHT, WRONG]], sampled=sampled).metrics for sampled in (True, False))

    assert (drawn["pass@1"], drawn["tests_passed_share"]) == (0.5, 0.5)
    assert searched["tests_passed_share"] == 1.0
    assert not any("pass@" in name for name in searched)
    assert searched["top@1"] == drawn["top@1"] == 1.0


def test_samples_without_tests_or_reference_are_left_out_of_those_scores() -> None:
    untested = contest(1, "interview", tests=None)
    unanswered = Sample("test-2", "double it", "", level="interview", tests=ProgramTests(("3\n",), ("6\n",)))

    result = scored([contest(0, "interview"), untested, unanswered], [[RIGHT], [untested.answer], [WRONG]])

    assert result.metrics["em@1"] == 0.5
    assert result.metrics["pass@1"] == 0.5
    assert result.execution["samples_without_tests"] == 1
    assert [bool(prediction.verdicts) for prediction in result.predictions] == [True, False, True]


def test_line_ends_change_only_the_raw_match() -> None:
    samples = [
        Sample("test-0", "add", "x = 1\ny = x", published_answer="x = 1\r\ny = x"),
        Sample("test-1", "add", "x = 1\ny = x"),
    ]
    written = [["x = 1\ny = x", "x = 1\r\ny = x"], ["x = 1\ry = x", "x = 1\ny = x"]]

    result = scored(samples, written, sampled=False)

    assert [(prediction.matched, prediction.matched_raw) for prediction in result.predictions] == [
        ([True, True], [False, True])
    ] * 2
    assert result.metrics["codebleu"] == 1.0
    assert [prediction.reference for prediction in result.predictions] == [sample.reference for sample in samples]


def test_malformed_tests_leave_out_only_their_sample(caplog: pytest.LogCaptureFixture) -> None:
    senseless = contest(1, "interview", tests=ProgramTests((["a"],), ("1",), fn_name="no name"))

    result = scored([contest(0, "interview"), senseless], [[RIGHT], [RIGHT]])

    assert result.metrics["pass@1"] == 1.0
    assert "test-1 cannot be scored by its tests" in caplog.text


def test_assertions_are_one_verdict_each() -> None:
    sample = Sample("test-3", "add", "", assertions="assert add(1, 2) == 3\nassert add(2, 2) == 4")

    result = scored([sample], [["def add(a, b): return a + b", "def add(a, b): return 3", "import sys; sys.exit(0)"]])

    assert result.predictions[0].verdicts == {"strict": [["pass", "pass"], ["pass", "fail"], ["fail", "fail"]]}
    assert result.metrics["pass@1"] == pytest.approx(1 / 3)
    assert "apps_pass@1" not in result.metrics
    assert "em@1" not in result.metrics


LIST = Check("xs = [3, 1, 2]", "_", "[1, 2, 3]")
IN_PLACE = Check("xs = [3, 1, 2]", "xs", "[1, 2, 3]")
UNIQUE = Check("xs = [3, 1, 3]", "_", "{1, 3}")


@pytest.mark.parametrize(
    ("check", "answer", "verdict"),
    [
        (LIST, "sorted(xs)", "pass"),
        (LIST, " sorted(xs) ", "pass"),
        (LIST, "tuple(sorted(xs))", "fail"),
        (LIST, "xs.sort()", "fail"),
        (LIST, "sorted(ys)", "error"),
        (LIST, "sorted(", "error"),
        (LIST, "", "error"),
        (LIST, "while True: pass", "timeout"),
        (IN_PLACE, "xs.sort()", "pass"),
        (IN_PLACE, "xs = sorted(xs)", "pass"),
        (IN_PLACE, "sorted(xs)", "fail"),
        (UNIQUE, "set(xs)", "pass"),
        (UNIQUE, "frozenset(xs)", "fail"),
        (UNIQUE, "[1, 3]", "fail"),
        (LIST, "__import__('os')._exit(0)", "error"),
        # What a check expects is nowhere near the answer; text that looks like it is another value.
        (LIST, "'list(1, 2, 3)'", "fail"),
    ],
)
def test_an_answer_is_scored_by_its_checks(check: Check, answer: str, verdict: str) -> None:
    result = scored([Sample("test-0", "sort", "sorted(xs)", (check,))], [[answer]])

    assert result.predictions[0].verdicts == {"strict": [[verdict]]}


def test_each_answer_of_minipy_passes_only_its_own_checks() -> None:
    samples = minipy.generate("test")[:60]
    answers = [[sample.answer, other.answer] for sample, other in zip(samples, [*samples[1:], samples[0]], strict=True)]

    result = scored(samples, answers, sampled=True, wall_seconds=8)

    assert result.metrics["top@1"] == 1.0
    assert result.metrics["tests_passed_share"] == 0.5


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ({3, 1}, {1, 3}, True),
        ({"b": 1, "a": [2]}, {"a": [2], "b": 1}, True),
        ([1, 2], (1, 2), False),
        (1, True, False),
        (1, 1.0, False),
        ([1, [2, {3}]], [1, [2, {3}]], True),
        ("1", 1, False),
    ],
)
def test_equal_values_have_equal_text(first: Any, second: Any, equal: bool) -> None:
    assert (text_of(first) == text_of(second)) is equal


def test_each_check_starts_with_new_names() -> None:
    assert run_checks("xs.pop()", [["xs = [1, 2]", "xs"], ["xs = [3]", "_"]]) == ["list(1)", "3"]


def test_only_checks_need_a_harness() -> None:
    assert source_of(contest(0, "interview"), RIGHT) == RIGHT
    assert problem_of(Sample("x", "do", "it")) is None
    assert problems_of([Sample("x", "do", "it")]) == {}


def no_sandbox(*_arguments: Any, **_named: Any) -> None:
    raise UserError("only level C is reached", hint="--accept-level-c")


@pytest.mark.parametrize(
    ("sample", "choice", "refused"),
    [
        (Sample("x", "sort", "sorted(xs)", (LIST,)), ExecutionChoice.auto, False),
        (Sample("x", "sort", "sorted(xs)", (LIST,)), ExecutionChoice.always, True),
        (contest(0, "interview"), ExecutionChoice.auto, True),
        (contest(0, "interview"), ExecutionChoice.never, False),
    ],
)
def test_a_machine_without_a_sandbox(
    sample: Sample, choice: ExecutionChoice, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "Pool", no_sandbox)
    settings = ScoringConfig(execution=choice)
    if refused:
        with pytest.raises(UserError, match="only level C"):
            scored([sample], [[RIGHT]], execution=choice)
        with pytest.raises(UserError, match="only level C") as caught:
            check_sandbox([sample], settings)
        assert "scoring.execution=never" in (caught.value.hint or "")
        return
    check_sandbox([sample], settings)

    result = scored([sample], [[sample.answer]], execution=choice)

    assert result.metrics["em@1"] == 1.0
    assert result.execution == {}
    assert not any("top@" in name for name in result.metrics)


def test_scores_are_numbers_and_intervals_hold_them() -> None:
    samples = [Sample(f"test-{index}", "say", f"print({index}) if x else f({index})") for index in range(20)]

    result = scored(samples, [[sample.answer if index % 2 else "print(x)"] for index, sample in enumerate(samples)])

    assert result.metrics["em@1"] == result.metrics["raw_em@1"] == 0.5
    assert result.metrics["codebleu"] == result.metrics["codebleu_strict"]
    for name in ("em@1", "codebleu", "codebleu_pypi", "codebleu_codexglue"):
        low, high = result.intervals[name]
        value = result.metrics[name]
        assert value is not None
        assert low < value < high
    assert all(value is None or math.isfinite(value) for value in result.metrics.values())
    assert scored(samples, [["x"]] * 20, resamples=0).intervals == {}


def test_phrasings_of_a_question_are_resampled_together() -> None:
    """20 questions, each phrased five times with the same outcome: about as wide as 20 samples."""
    samples = [Sample(f"test-{n}", "sort", f"xs.sort(key={n // 5})", cluster=str(n // 5)) for n in range(100)]
    programs = [[sample.answer if n // 5 < 8 else "pass"] for n, sample in enumerate(samples)]

    clustered = scored(samples, programs)
    apart = scored([replace(sample, cluster=None) for sample in samples], programs)

    assert [line.cluster for line in clustered.predictions[:6]] == ["0"] * 5 + ["1"]
    for name in ("em@1", "codebleu"):
        widths = [ends[1] - ends[0] for ends in (result.intervals[name] for result in (clustered, apart))]
        assert widths[0] == pytest.approx(widths[1] * math.sqrt(5), rel=0.12), name
