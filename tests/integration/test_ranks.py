"""A cell on several processes: the same losses and candidates as on one, the same bytes again, and a truthful end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Command

# The last batch of an epoch has one sample, which leaves the second process without a share.
CELL = (
    "dataset=minipy",
    "dataset.limit=25",
    "dataset.test_limit=5",
    "dataset.max_new_tokens=8",
    "generation.num_beams=2",
    "generation.num_candidates=2",
    "generation.batch_size=2",
    "training.epochs=2",
    "training.evaluations_per_epoch=1",
    "hardware=cpu",
)


def steps(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.glob("*/*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def candidates(folder: Path) -> list[list[str]]:
    (file,) = folder.glob("*/*/predictions.jsonl")
    return [json.loads(line)["candidates"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("tiny-llama", ["method=lora", "method.adapter.lora_dropout=0"]),
        pytest.param("tiny-llama", ["method=lora", "training.micro_batch_size=1", "method.adapter.lora_dropout=0"],
                     marks=pytest.mark.slow),
        pytest.param("tiny-llama", ["method=full", "training.memory=paper"], marks=pytest.mark.slow),
        pytest.param("tiny-t5", ["method=full"], marks=pytest.mark.slow),
        pytest.param("tiny-codegen", ["method=prefix"], marks=pytest.mark.slow),
        pytest.param("tiny-llama", ["method=lora", "quantization=nf4", "method.adapter.lora_dropout=0"],
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_two_processes_compute_what_one_does(command: Command, tmp_path: Path, model: str, method: list[str]) -> None:
    for size in (1, 2):
        arguments = (
            f"model={model}",
            *method,
            *CELL,
            f"hardware.gpus_per_cell={size}",
            f"output_dir={tmp_path / str(size)}",
        )
        assert command(*arguments).code == 0
    alone, together = (steps(tmp_path / str(size)) for size in (1, 2))
    assert [step["step"] for step in together] == [step["step"] for step in alone]
    for name in ("loss", "validation_loss"):
        losses = [[step[name] for step in run if name in step] for run in (alone, together)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert candidates(tmp_path / "2") == candidates(tmp_path / "1")
    (result,) = (tmp_path / "2").glob("*/*/result.json")
    assert json.loads(result.read_text())["provenance"]["processes"] == 2


ARGUMENTS = ("model=tiny-llama", "method=lora", *CELL, "hardware.gpus_per_cell=2", "training.epochs=6")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "peft_study", *ARGUMENTS, f"output_dir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_step(folder: Path, number: int) -> None:
    for _ in range(6000):
        files = list(folder.glob("*/*/metrics.jsonl"))
        if files and files[0].read_text().count('"loss"') >= number:
            return
        time.sleep(0.05)
    raise AssertionError("the cell takes no steps")


@pytest.mark.slow
def test_an_interrupted_cell_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(whole).wait() == 0
    process = start(parts)
    wait_for_step(parts, 9)  # the second of six checkpoints is written after step 8
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert start(parts).wait() == 0
    adapters = [next(folder.glob("*/*/adapter/adapter_model.safetensors")).read_bytes() for folder in (whole, parts)]
    assert adapters[0] == adapters[1]
    assert steps(parts) == steps(whole)
    assert candidates(parts) == candidates(whole)


@pytest.mark.slow
def test_the_end_of_a_process_ends_the_cell(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_step(tmp_path, 3)
    (follower,) = (child for child in psutil.Process(process.pid).children() if "follower" in " ".join(child.cmdline()))
    follower.kill()
    assert process.wait(60) == 1
    (file,) = tmp_path.glob("*/*/result.json")
    result = json.loads(file.read_text())
    assert result["status"] == "failed"
    assert "process 1 of the cell ended with code -9" in result["reason"]


def test_the_processes_must_divide_the_batch(command: Command) -> None:
    ended = command("model=tiny-llama", "hardware.gpus_per_cell=3")
    assert ended.code == 2
    assert "hardware.gpus_per_cell" in ended.err
