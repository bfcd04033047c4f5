"""Scoring finished cells again, from the command line."""

import json
import shutil
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_study.cli import score
from peft_study.results.predictions import Prediction
from peft_study.results.store import CellFolder
from peft_study.sandbox.jobs import Ending, Job, TestResult
from peft_study.sandbox.pool import Pool
from tests.conftest import Command, run_main, write_jsonl

QUICK = ["model=tiny-llama", "method=zero-shot", "dataset.max_new_tokens=8", "dataset.test_limit=4"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = score.main(list(arguments))
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one cell."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        assert run_main(monkeypatch, *QUICK) == 0
    return folder / "multirun"


@pytest.fixture
def cell(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CellFolder:
    """A finished cell, in the current folder's output folder."""
    shutil.copytree(finished, tmp_path / "multirun")
    monkeypatch.chdir(tmp_path)
    return CellFolder(next((tmp_path / "multirun" / "single").iterdir()))


def rewrite(folder: CellFolder, change: Callable[[Prediction], dict[str, Any]]) -> None:
    folder.write_predictions(
        [Prediction(**(vars(prediction) | change(prediction))) for prediction in folder.read_predictions()]
    )


def test_scores_follow_the_predictions_and_nothing_else_changes(cell: CellFolder, run: Run, tmp_path: Path) -> None:
    before = cell.read_result()
    assert before is not None
    code, out, err = run("multirun")
    assert (code, ": unchanged" in err) == (0, True), err
    code, out, err = run("multirun", "scoring.resamples=0")
    assert (code, ": unchanged" in err) == (0, False), err
    code, out, err = run("multirun", f"scoring.resamples={before.config['scoring']['resamples']}")
    rewrite(cell, lambda prediction: {"candidates": [prediction.reference, *prediction.candidates[1:]]})

    stands = cell.read_result()
    code, out, err = run(str(cell.path), "--dry-run")
    assert "EM@1 0.00 -> 100.00" in err
    assert "nothing was written" in err
    assert cell.read_result() == stands
    code, out, err = run(str(cell.path), "scoring.resamples=50")

    after = cell.read_result()
    assert after is not None
    assert code == 0, err
    assert "EM@1 0.00 -> 100.00" in err
    assert "tiny-llama" in out
    assert after.metrics["em@1"] == after.metrics["top@1"] == 1.0
    assert after.config["scoring"]["resamples"] == 50
    assert after.provenance["rescored"]["at"]
    assert (after.phases, after.parameters, after.data) == (before.phases, before.parameters, before.data)
    assert all(prediction.matched[0] for prediction in cell.read_predictions())


def test_a_cell_whose_data_changed_keeps_its_scores(
    command: Command, small_data: Path, tmp_path: Path, run: Run
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        (data / f"{split}.jsonl").write_text((small_data / f"{split}.jsonl").read_text())
    ended = command(*QUICK, f"dataset.path={data}")
    assert ended.code == 0, ended.err
    folder = CellFolder(next((tmp_path / "multirun" / "single").iterdir()))
    before = folder.read_result()
    assert before is not None
    write_jsonl(data / "test.jsonl", [{"nl": "another", "cmd": "sample()"}])

    # No sample of these had tests, so that the references in predictions.jsonl are all that is needed.
    code, _, err = run("multirun/single")

    after = folder.read_result()
    assert after is not None
    assert (code, after.metrics) == (0, before.metrics), err

    rewrite(folder, lambda _prediction: {"verdicts": {"strict": [["pass"]]}})
    code, _, err = run("multirun")
    assert code == 1
    assert "the data differs" in err
    assert folder.read_result() == after


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([".", "scoring.wall=3"], "known: accept_level_c, apps_package_rules, cpu_seconds"),
        ([".", "scoring.wall_seconds=-1"], "scoring.wall_seconds must be above 0 and at most 86,400, got -1.0"),
        ([".", "scoring.memory_mb=99999999999"], "scoring.memory_mb must be above 0 and at most"),
        (["nowhere"], "FOLDER must exist, got nowhere"),
        (["."], "must hold a finished cell"),
        ([".", "scoring.wall_second=3"], "wall_second"),
        ([".", "scoring.workers=many"], "many"),
    ],
)
def test_a_wrong_command_is_explained(
    arguments: list[str], says: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_an_unfinished_cell_is_passed_over(cell: CellFolder, run: Run) -> None:
    unfinished = cell.path.parent / "unfinished"
    unfinished.mkdir()
    record = json.loads((cell.path / "result.json").read_text()) | {"status": "preempted"}
    (unfinished / "result.json").write_text(json.dumps(record))

    code, _, err = run("multirun")

    assert code == 0
    assert "1 of 2 cells skipped: preempted" in err
    assert json.loads((unfinished / "result.json").read_text()) == record


DAMAGES: dict[str, Callable[[list[str]], list[str]]] = {
    "a line cut": lambda lines: [lines[0], lines[1][:40], *lines[2:]],
    "a line lost": lambda lines: lines[:-1],
    "a line twice": lambda lines: [*lines[:-1], lines[0]],
    "nothing": lambda _lines: [],
    "no candidates": lambda lines: [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"candidates": []})],
    "another id": lambda lines: [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"id": "test-999"})],
    "a number": lambda lines: [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"candidates": [1]})],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_predictions_change_no_score(cell: CellFolder, run: Run, damage: str) -> None:
    file = cell.path / "predictions.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in DAMAGES[damage](lines)))
    kept = {entry: entry.read_bytes() for entry in cell.path.glob("*.json*")}

    code, _, err = run(str(cell.path))

    assert code == 1
    assert "predictions.jsonl" in err
    assert "Traceback" not in err
    assert {entry: entry.read_bytes() for entry in cell.path.glob("*.json*")} == kept


def test_a_sandbox_that_fails_changes_no_score(cell: CellFolder, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = (cell.path / "result.json").read_bytes()

    def fails(_pool: Pool, jobs: Iterable[tuple[Hashable, Job]]) -> Iterator[tuple[Hashable, TestResult]]:
        for key, _job in jobs:
            yield key, TestResult(Ending.sandbox_error, None, b"", b"", None, False, 0.0, "a fault of the test")

    monkeypatch.setattr(Pool, "run", fails)

    code, _, err = run(str(cell.path))

    assert code == 1
    assert "programs could not be run: a fault of the test" in err
    assert (cell.path / "result.json").read_bytes() == kept
