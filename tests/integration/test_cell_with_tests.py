"""Cells whose data is scored by running programs: sampled, run, scored, and refused early where they cannot be run."""

import json
from pathlib import Path
from typing import Any

import pytest

from peft_study.errors import UserError
from peft_study.results.schema import Status
from peft_study.results.store import CellFolder
from peft_study.scoring import running
from tests.conftest import Command, write_jsonl
from tests.unit.test_problems_with_assertions import MBPP_TASKS, function

QUICK = ["model=tiny-llama", "dataset.max_new_tokens=8", "scoring.workers=1"]


def cell_of(tmp_path: Path) -> CellFolder:
    return CellFolder(next((tmp_path / "multirun" / "single").iterdir()))


def contest(number: int, level: str) -> dict[str, Any]:
    return {
        "problem_id": number,
        "question": "Print the sum of two numbers.",
        "solutions": json.dumps(["a, b = map(int, input().split())\nprint(a + b)"]),
        "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
        "difficulty": level,
        "starter_code": "",
    }


def test_humaneval_is_gone_on_with_and_run(command: Command, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "humaneval.jsonl", [function(0), function(1)])

    ended = command(*QUICK, "dataset=humaneval", "method=zero-shot", f"dataset.path={tmp_path / 'humaneval.jsonl'}")

    assert ended.code == 0, ended.err
    folder = cell_of(tmp_path)
    result = folder.read_result()
    assert result is not None
    assert result.metrics["pass@1"] is not None
    assert (result.execution["programs"], result.execution["sandbox_errors"]) == (10, 0)
    assert result.execution["level"] in {"A", "B"}
    for prediction in folder.read_predictions():
        assert len(prediction.candidates) == 5
        assert all(program.startswith("def double(n):\n") for program in prediction.candidates)
        assert all(len(verdicts) == 1 for verdicts in prediction.verdicts["strict"])
    assert "Pass@1" in ended.out


def test_mbpp_is_trained_on_and_run(command: Command, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", MBPP_TASKS)

    ended = command(
        *QUICK, "dataset=mbpp", "method=lora", "training.epochs=1", f"dataset.path={tmp_path / 'all.jsonl'}"
    )

    assert ended.code == 0, ended.err
    result = cell_of(tmp_path).read_result()
    assert result is not None
    assert {"pass@1", "pass@5", "top@5", "tests_passed_share", "em@5", "codebleu"} <= result.metrics.keys()
    assert result.data["sizes"] == {"train": 2, "validation": 2, "test": 2}


def test_apps_is_scored_by_level(command: Command, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [contest(number, "interview") for number in range(502)])
    write_jsonl(tmp_path / "test.jsonl", [contest(0, "introductory"), contest(1, "competition")])

    ended = command(*QUICK, "dataset=apps", "method=zero-shot", f"dataset.path={tmp_path}")

    assert ended.code == 0, ended.err
    result = cell_of(tmp_path).read_result()
    assert result is not None
    assert {"introductory/pass@1", "competition/apps_tests_passed_share", "apps_pass@5"} <= result.metrics.keys()
    assert "interview/pass@1" not in result.metrics


def test_a_machine_without_a_sandbox_is_found_out_before_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sandbox(*_arguments: Any, **_named: Any) -> None:
        raise UserError("only level C is reached", hint="--accept-level-c")

    monkeypatch.setattr(running, "Pool", no_sandbox)
    write_jsonl(tmp_path / "all.jsonl", MBPP_TASKS)
    mbpp = [*QUICK, "dataset=mbpp", "method=lora", "training.epochs=1", f"dataset.path={tmp_path / 'all.jsonl'}"]

    ended = command(*mbpp)

    assert ended.code == 2
    assert "scoring.execution=never" in ended.err
    assert not (tmp_path / "multirun").exists()

    ended = command(*mbpp, "scoring.execution=never")
    assert ended.code == 0, ended.err
    result = cell_of(tmp_path).read_result()
    assert result is not None
    assert result.status is Status.ok
    assert "pass@1" not in result.metrics

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    from peft_study.cli.score import main

    assert main(["multirun", "scoring.execution=auto"]) == 0
    rescored = cell_of(tmp_path).read_result()
    assert rescored is not None
    assert rescored.metrics["pass@1"] is not None
