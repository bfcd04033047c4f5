"""What a shell left in the environment: a cell computes the same bytes, or the reason why it cannot run is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peft_study.cell.environment import one_process
from tests.conftest import Command

# Of torchrun, Open MPI, and `accelerate launch`.
LEFT_OVER = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29515",
    "TORCHELASTIC_RUN_ID": "none",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "PMI_RANK": "0",
    "PMI_SIZE": "2",
    "MPI_LOCALRANKID": "0",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}
FILES = ("predictions.jsonl", "metrics.jsonl", "adapter/adapter_model.safetensors")
TRAINED = [
    "model=tiny-llama",
    "training.epochs=1",
    "dataset.limit=8",
    "dataset.test_limit=2",
    "dataset.max_new_tokens=4",
]
CELL = [*TRAINED, "generation.num_beams=2", "generation.num_candidates=2", "hardware=cpu"]


def files_of(folder: Path) -> dict[str, bytes]:
    """What a cell computed."""
    (result,) = folder.glob("*/*/result.json")
    return {name: (result.parent / name).read_bytes() for name in FILES}


# A cell that waits for other processes hears no signal, so that only the thread method ends it.
@pytest.mark.timeout(120, method="thread")
def test_a_cell_is_one_process_whatever_variables_a_distributed_job_left(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = [*CELL, f"dataset.path={small_data}"]
    assert command(*cell, "output_dir=without").code == 0
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)

    ended = command(*cell, "output_dir=with")

    assert ended.code == 0, ended.err
    assert files_of(tmp_path / "with") == files_of(tmp_path / "without")
    (log,) = (tmp_path / "with").glob("*/*/log.txt")
    assert all(name in log.read_text() for name in LEFT_OVER)
    assert {name: os.environ[name] for name in LEFT_OVER} == LEFT_OVER


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_PROCID", "SUBMITIT_EXECUTOR", "CUDA_VISIBLE_DEVICES", "RANKS"])
def test_other_variables_stay_while_a_cell_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    with one_process():
        assert os.environ[name] == "1"


def test_a_variable_that_a_cell_sets_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)

    with one_process():
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"

    assert "ACCELERATE_MIXED_PRECISION" not in os.environ


def python(*arguments: str, level: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a module of the package with an optimization level of the interpreter."""
    environment = {**os.environ, "PYTHONOPTIMIZE": level, "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["peft_study"], ["peft_study", "plan"]])
def test_an_interpreter_without_docstrings_is_refused(arguments: list[str], tmp_path: Path) -> None:
    ended = python(*arguments, "model=tiny-llama", level="2", folder=tmp_path)

    assert ended.returncode == 2, ended.stderr
    assert "PYTHONOPTIMIZE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "multirun").exists()


@pytest.mark.slow
def test_an_interpreter_without_assertions_computes_the_same(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = [*CELL, f"dataset.path={small_data}"]
    assert command(*cell, "output_dir=with").code == 0

    ended = python("peft_study", *cell, "output_dir=without", level="1", folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert files_of(tmp_path / "without") == files_of(tmp_path / "with")
