"""The record of a cell and its files."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from peft_study.results.predictions import Prediction
from peft_study.results.schema import SCHEMA_VERSION, MemoryKind, NewerSchemaError, PhaseCost, RunResult, Status
from peft_study.results.store import CellBusyError, CellFolder, write_atomically


def result(**changes: object) -> RunResult:
    values: dict[str, object] = {
        "cell_id": "cell-1",
        "study": "single",
        "status": Status.ok,
        "metrics": {"em@1": 0.25},
        "parameters": {"total": 10, "trainable": 2},
        "training": {"best_validation_loss": 1.5, "steps": 4},
        "data": {"sizes": {"test": 8}},
        "phases": {"train": PhaseCost(2.0, 1000, 2000)},
        "memory_kind": MemoryKind.cuda_allocated,
    }
    return RunResult(**(values | changes))  # type: ignore[arg-type]


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path / "cell")
    folder.write_result(result())

    assert folder.read_result() == result()


def test_a_number_that_is_not_finite_becomes_none_with_its_name(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    folder.write_result(result(training={"best_validation_loss": math.nan}, metrics={"em@1": math.inf}))

    record = json.loads((tmp_path / "result.json").read_text())

    assert record["training"]["best_validation_loss"] is None
    assert sorted(record["not_finite"]) == ["metrics.em@1", "training.best_validation_loss"]


def test_a_later_versions_result_is_refused() -> None:
    with pytest.raises(NewerSchemaError):
        RunResult.from_json(result().to_json() | {"schema_version": SCHEMA_VERSION + 1})


@pytest.mark.parametrize("record", [{}, {"schema_version": 1}, {"schema_version": 1, "status": "fine"}])
def test_what_is_no_result_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RunResult.from_json(record)


def test_predictions_read_back_whatever_the_text(tmp_path: Path) -> None:
    hostile = ["</script>", "a\nb", "\u2028", "\x00", '"', "é", "\ud800", "\N{PILE OF POO}"]
    predictions = [Prediction("test-0", "p", text, [text, "x"], [True, False]) for text in hostile]
    folder = CellFolder(tmp_path)

    folder.write_predictions(predictions)

    assert folder.read_predictions() == predictions
    assert len((tmp_path / "predictions.jsonl").read_text().split("\n")) == len(hostile) + 1


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    folder.append_candidates([{"index": 0, "candidates": ["a"]}])
    with (tmp_path / "predictions.jsonl.partial").open("a") as file:
        file.write('{"index": 1, "candid')

    assert folder.read_candidates(prompts=2, candidates=1) == {0: ["a"]}


def test_a_line_behind_one_cut_off_is_whole(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    (tmp_path / "predictions.jsonl.partial").write_text('{"index": 1, "candid')

    folder.append_candidates([{"index": 1, "candidates": ["b"]}])
    folder.append_candidates([{"index": 0, "candidates": ["a"]}])

    assert folder.read_candidates(prompts=2, candidates=1) == {1: ["b"], 0: ["a"]}


def test_rows_that_cannot_be_part_of_a_generation_are_passed_over(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    rows: list[dict[str, object]] = [
        {"index": 0, "candidates": ["a", "b"]},
        {"foo": 1},
        {"index": 1, "candidates": 5},
        {"index": 1, "candidates": ["only one"]},
        {"index": 7, "candidates": ["a", "b"]},
        {"index": "1", "candidates": ["a", "b"]},
    ]
    folder.append_candidates(rows)
    with (tmp_path / "predictions.jsonl.partial").open("ab") as file:
        file.write(b"\xff\xfe\n[1]\n")

    assert folder.read_candidates(prompts=2, candidates=2) == {0: ["a", "b"]}


def test_steps_after_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append_step(step, {"loss": 1.0})

    folder.forget_steps_after(2)

    assert [row["step"] for row in folder.read_steps()] == [1, 2]


def test_removing_work_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    folder = CellFolder(tmp_path / "cell")
    (folder.path / "link").symlink_to(outside)

    folder.remove_work()

    assert list(folder.path.iterdir()) == []
    assert (outside / "precious").exists()


HOLD = """
import sys, time
from pathlib import Path
from peft_study.results.store import CellFolder
with CellFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_cell_is_run_by_one_process_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CellBusyError), CellFolder(tmp_path).locked():
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with CellFolder(tmp_path).locked():
        pass


def test_a_reader_finds_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
