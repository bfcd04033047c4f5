"""benchmarks.gpu on the CPU: its rows with shrunken models, its time limit, and what an error leaves."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import driver
from benchmarks.gpu.record import RowRecord
from benchmarks.gpu.rows import FIGURE1, MEMORY, TRAINING, Row, benchmark_rows, memory_arms, prediction_rows
from benchmarks.gpu.summary import add_predictions, row_line
from peft_study.config.compose import compose_cell
from peft_study.report.read.paper import rows as paper_rows

ROOT = Path(__file__).parents[2]
START_SECONDS = 20
"""What Python takes to start and end the benchmark's processes on a busy machine."""


def run_benchmark(folder: Path, *arguments: str) -> tuple[dict[str, Any], float]:
    """The benchmark's JSON and its seconds."""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads((folder / "gpu.json").read_text(encoding="utf-8")), time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "phases"),
    [
        (
            "memory codet5p-220m|memory codellama-34b",
            ["load", *(f"train {arm}" for arm in memory_arms()), "generate"],
        ),
        ("training codellama-7b lora nf4", ["load", "floor", "padded to limits", "padded to longest"]),
        ("generation", ["load", "warm-up", "one at a time, prefix 1024", "project, prefix 1024"]),
        ("tests bf16", ["pytest"]),
    ],
)
def test_rows_run_on_shrunken_models(tmp_path: Path, rows: str, phases: Sequence[str]) -> None:
    result, _ = run_benchmark(tmp_path, "--seconds", "280", "--rows", rows)

    assert result["rows"]
    for row in result["rows"]:
        assert row["status"] == "ok", row
        assert set(phases) <= row["phases"].keys()
        assert row["versions"]["torch"] == torch.__version__
        assert row["command"].startswith("python -m benchmarks.gpu")
        assert str(tmp_path) not in row["command"]
        for phase in row["phases"].values():
            assert len(phase.get("step_seconds", [0] * 5)) == 5
            assert phase.get("peak_bytes", 1) > 0
        if row["kind"] == MEMORY:
            for prediction in row["predictions"].values():
                assert prediction["estimate"]["peak_bytes"] > 0


@pytest.mark.slow
def test_the_benchmark_ends_in_time_and_keeps_what_it_has(tmp_path: Path) -> None:
    result, seconds = run_benchmark(tmp_path, "--seconds", "30")

    assert seconds < 30 + START_SECONDS
    assert [row["name"] for row in result["rows"]] == [row.name for row in benchmark_rows("cpu", tiny=True)]
    assert result["rows"][-1]["status"] == "no time left"


def test_a_row_over_its_limit_is_ended_and_the_next_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LEAST_LIMIT", 0.0)
    rows = [Row(name, TRAINING, seconds=0.1) for name in ("first", "second")]
    benchmark = driver.Driver(rows, 60, tmp_path, "command")

    assert not benchmark.run()

    result = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["status"]) for row in result["rows"]] == [("first", "killed"), ("second", "killed")]
    assert all(process.poll() is not None for process in benchmark.processes)


@pytest.mark.slow
def test_a_row_that_dies_leaves_what_it_printed(tmp_path: Path) -> None:
    driver.Driver([Row("row", "unknown kind", seconds=30)], 60, tmp_path, "command").run()

    (row,) = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"]
    assert row["status"] == "failed with exit code 1"
    assert "KeyError: 'unknown kind'" in row["output_end"]
    assert "KeyError: 'unknown kind'" in (tmp_path / "gpu.log").read_text(encoding="utf-8")


def test_an_error_ends_its_phase_alone(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    results = RowRecord(path, {"name": "row"})

    with results.phase("large") as entry:
        entry["asked_bytes"] = 10**15
        torch.empty(10**15)
    with results.phase("wrong"):
        torch.ones(2) @ torch.ones(3)
    with results.phase("right") as entry:
        entry["sum"] = 1

    phases = json.loads(path.read_text(encoding="utf-8"))["phases"]
    assert {name: phase["status"] for name, phase in phases.items()} == {
        "large": "oom",
        "wrong": "failed",
        "right": "ok",
    }
    assert "torch.ones(3)" in phases["wrong"]["error"]
    assert phases["right"]["sum"] == 1


def test_a_row_that_is_killed_leaves_the_phase_it_was_in(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    with RowRecord(path, {"name": "row"}).phase("long"):
        assert json.loads(path.read_text(encoding="utf-8"))["phases"] == {"long": {"status": "running"}}


def test_the_memory_rows_are_those_of_figure_1() -> None:
    paper = {(line["model"], line["method"], line["quantization"]) for line in paper_rows("figure1")}

    assert {(model.removesuffix("-python"), *rest) for model, *rest, _ in FIGURE1} == paper


def test_every_row_composes() -> None:
    rows = benchmark_rows("cuda", tiny=False)

    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        if row.overrides:
            cell = compose_cell([*row.overrides, *memory_arms()["small"]])
            assert cell.training.gradient_checkpointing
            assert cell.training.micro_batch_size == 1


@pytest.mark.parametrize("workers", [1, 3, 100])
def test_every_arm_is_predicted_once(workers: int) -> None:
    rows = benchmark_rows("cuda", tiny=False)

    names = [name for row in prediction_rows(rows, workers) for name in row.cells]

    assert len(names) == len(set(names)) == len(FIGURE1) * len(memory_arms())


def test_predictions_stand_beside_what_was_measured() -> None:
    result = {
        "name": "memory",
        "status": "oom",
        "wall_seconds": 3.2,
        "phases": {
            "load": {"status": "ok", "peak_bytes": 4_000_000_000, "memory_kind": "cuda_allocated"},
            "train paper": {
                "status": "ok",
                "peak_bytes": 10_000_000_000,
                "memory_kind": "cuda_allocated",
                "median_step_seconds": 0.25,
            },
            "train small": {"status": "oom", "error": "Traceback\nOutOfMemoryError: CUDA out of memory"},
            "generate": {"status": "ok", "peak_bytes": 5_000_000_000, "memory_kind": "cpu_peak_rss"},
        },
        "predictions": {
            "paper": {"estimate": {"train_peak_bytes": 9_700_000_000, "generate_peak_bytes": 6_000_000_000}},
            "small": None,
        },
    }

    add_predictions(result)

    phases: Any = result["phases"]
    assert phases["train paper"]["predicted_to_measured"] == 0.97
    assert "predicted_bytes" not in phases["load"]
    assert phases["generate"]["predicted_bytes"] == 6_000_000_000
    assert "predicted_to_measured" not in phases["generate"], "a resident set is another quantity"
    assert re.search(r"10\.00 GB.*9\.70.*0\.25 s", row_line(result))
    assert "OutOfMemoryError" in row_line(result)
