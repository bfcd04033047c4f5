"""Sweeps as a person runs them: cells in processes of their own, of which any may die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from peft_study.cell.attempt import new_result
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.sweep.command import plan_command
from peft_study.sweep.plan import PlannedCell, compose_all
from tests.conftest import QUICK, Command

# What Python imports at each start: with it, cells end in the ways that a real one may, by their seeds.
FAULTS = """
import os, signal, sys
if "peft_study.sweep.server" in sys.orig_argv:
    import peft_study.cell.run
    real = peft_study.cell.run.train
    def train(*arguments, seed, **named):
        if seed == 1:
            spoil()
        if seed == 6:
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        if seed == 2:
            raise RuntimeError("a fault of the test")
        if seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == 4:
            sys.exit(5)
        if seed == 5:
            os._exit(7)
        return real(*arguments, seed=seed, **named)
    def spoil():
        import random, torch
        import peft_study.data.minipy, peft_study.cell.run
        os.environ["OMP_NUM_THREADS"] = "nonsense"
        os.environ["HF_HUB_OFFLINE"] = "0"
        torch.manual_seed(7)
        random.seed(7)
        torch.use_deterministic_algorithms(False)
        torch.nn.Linear.forward = lambda self, values: values * float("nan")
        peft_study.cell.run.FAMILIES.clear()
        raise RuntimeError("spoiled")
    peft_study.cell.run.train = train
"""


def results_of(folder: Path) -> dict[int, RunResult]:
    """Results by seed."""
    found = [CellFolder(path.parent).read_result() for path in folder.glob("multirun/*/*/result.json")]
    return {result.config["seed"]: result for result in found if result is not None}


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells end as `FAULTS` says."""
    folder = tmp_path / "faults"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.mark.usefixtures("faults")
def test_a_cell_that_dies_takes_no_other_with_it(command: Command, small_data: Path, tmp_path: Path) -> None:
    sweep = ["--multirun", "model=tiny-llama", "hardware.cells_at_once=2", f"dataset.path={small_data}", *QUICK]

    ended = command(*sweep, "seed=2,3,4,5,7")

    results = results_of(tmp_path)
    assert {seed: result.status for seed, result in results.items()} == {
        2: Status.failed,
        3: Status.failed,
        4: Status.failed,
        5: Status.failed,
        7: Status.ok,
    }
    assert results[7].metrics
    reasons = {seed: result.reason or "" for seed, result in results.items()}
    assert reasons[2] == "RuntimeError: a fault of the test"
    assert reasons[3].startswith("its process was ended by SIGKILL")
    assert "SystemExit" in reasons[4]
    assert reasons[5].startswith("its process ended with exit code 7")
    assert ended.code == 1
    assert "1 of 5 cells done" in ended.err
    for seed in (2, 3, 4, 5):
        assert any(results[seed].cell_id in line and "failed: " in line for line in ended.err.splitlines())

    # The process that starts cells is needed only where a cell has to run.
    cell = [argument for argument in sweep if argument != "--multirun"]
    assert command(*cell, "seed=3").code == 0
    again = command(*sweep, "seed=7,3")
    assert again.code == 0
    assert f"{results[7].cell_id}: done before" in again.err
    assert f"{results[3].cell_id}: done before" in again.err


@pytest.mark.usefixtures("faults")
def test_nothing_of_a_cell_reaches_the_next(command: Command, small_data: Path, tmp_path: Path) -> None:
    cell = ["model=tiny-llama", "training.precision=fp32", f"dataset.path={small_data}", *QUICK]

    command("--multirun", "hardware.cells_at_once=1", "seed=1,8", *cell, "study.name=swept")
    alone = command("seed=8", "study.name=alone", *cell)

    assert alone.code == 0, alone.err
    after, by_itself = (next((tmp_path / "multirun" / study).glob("*_s8-*")) for study in ("swept", "alone"))
    spoiled = next((tmp_path / "multirun" / "swept").glob("*_s1-*"))
    assert "spoiled" in (json.loads((spoiled / "result.json").read_text())["reason"])
    for file in ("predictions.jsonl", "metrics.jsonl", "adapter/adapter_model.safetensors"):
        assert (after / file).read_bytes() == (by_itself / file).read_bytes()


@pytest.mark.usefixtures("faults")
def test_a_sweep_survives_the_end_of_the_process_that_starts_its_cells(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    cell = ["model=tiny-llama", "hardware.cells_at_once=1", f"dataset.path={small_data}", *QUICK]

    ended = command("--multirun", *cell, "seed=6,7")

    results = results_of(tmp_path)
    assert ended.code == 1
    assert results[6].status in (Status.preempted, Status.failed)
    assert results[7].status is Status.ok


def test_a_sweep_composes_its_cells_once(command: Command, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ["model=tiny-llama", "seed=1,2", f"dataset.path={small_data}", "retry=none"]
    for planned in plan_command(sweep):
        result = new_result(planned.cell, planned.folder)
        result.status = Status.oom
        CellFolder(planned.folder).write_result(result)
    plans: list[int] = []

    def counted(*arguments: Any) -> list[PlannedCell]:
        cells = compose_all(*arguments)
        plans.append(len(cells))
        return cells

    monkeypatch.setattr("peft_study.sweep.plan.compose_all", counted)

    assert command("--multirun", *sweep).code == 1
    assert plans == [2]


def test_a_folder_that_cannot_be_used_is_one_cells_failure(command: Command, small_data: Path, tmp_path: Path) -> None:
    sweep = ["model=tiny-llama", "method=zero-shot,full", "quantization=nf4", "seed=1,2", f"dataset.path={small_data}"]
    quick = ["hardware.cells_at_once=1", *QUICK]
    in_the_way = [tmp_path / cell.folder for cell in plan_command([*sweep, *quick]) if cell.cell.seed == 1]
    for file in in_the_way:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a person's file\n")

    ended = command("--multirun", *sweep, *quick)

    assert ended.code == 2, ended.err
    assert "1 of 4 cells done" in ended.err
    assert "its folder cannot be used" in ended.err
    assert "not recorded" in ended.err
    assert all(file.read_text() == "a person's file\n" for file in in_the_way)


def test_a_study_runs_without_saying_multirun_and_ends_with_a_table(
    command: Command, small_data: Path, tmp_path: Path
) -> None:
    ended = command(
        "+study=quickstart", "method=zero-shot,lora", "quantization=none", f"dataset.path={small_data}", *QUICK
    )

    assert ended.code == 0, ended.err
    rows = [line.split()[:3] for line in ended.out.splitlines() if line.startswith("tiny-llama")]
    assert rows == [["tiny-llama", "lora", "1"], ["tiny-llama", "zero-shot", "1"]]
    folders = sorted((tmp_path / "multirun" / "quickstart").glob("*/"))
    assert len(folders) == 2
    for folder in folders:
        assert json.loads((folder / "result.json").read_text())["study"] == "quickstart"
        assert (folder / "output.txt").is_file()
    assert "2 of 2 cells done" in ended.err


def test_each_cell_sees_a_gpu_of_its_own(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, seen = tmp_path / "tools", tmp_path / "seen"
    tools.mkdir()
    seen.mkdir()
    driver = tools / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0\necho 1\n")
    driver.chmod(0o755)
    (tools / "sitecustomize.py").write_text(
        "import os, pathlib, sys\n"
        "if 'peft_study.sweep.server' in sys.orig_argv:\n"
        "    import peft_study.sweep.child as child\n"
        "    real = child.run\n"
        "    def run(*arguments):\n"
        f"        pathlib.Path({str(seen)!r}, str(os.getpid())).write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "        return real(*arguments)\n"
        "    child.run = run\n"
    )
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tools), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    ended = command(
        "--multirun",
        "model=tiny-llama",
        "method=zero-shot",
        "seed=1,2,3",
        "dataset.limit=2",
        f"dataset.path={small_data}",
        *QUICK,
    )

    assert ended.code == 0, ended.err
    assert "3 cells, 2 at a time" in ended.err
    given = [file.read_text() for file in seen.iterdir()]
    assert len(given) == 3
    assert set(given) == {"0", "1"}


def test_cells_of_a_sweep_run_in_this_process_where_asked(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command(
        "--multirun",
        "hydra/launcher=basic",
        "model=tiny-llama",
        "method=zero-shot",
        "seed=1,2",
        "dataset.limit=2",
        f"dataset.path={small_data}",
        *QUICK,
    )

    assert ended.code == 0, ended.err
    assert set(results_of(tmp_path)) == {1, 2}
    assert "2 of 2 cells done" in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["method=lora,nosuch"], "method has no option 'nosuch'"),
        (["seed=1,2", "hardware.cells_at_once=0"], "hardware.cells_at_once must be at least 1, got 0"),
        (["seed=1,2", "hardware.gpus=some"], "hardware.gpus must be auto, none or distinct indices, got 'some'"),
        (["seed=1,2", "hardware.gpus=[9]", "hardware.cells_at_once=1"], "hardware.gpus must be auto or none"),
        (["+study=quickstart", "model=codegen-350m-mono"], "has no cell with model=codegen-350m-mono"),
    ],
)
def test_a_sweep_that_makes_no_sense_starts_nothing(
    command: Command, tmp_path: Path, arguments: list[str], says: str
) -> None:
    ended = command("--multirun", "model=tiny-llama", *arguments)

    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("multirun/*/*/result.json"))


LONG = ["model=tiny-llama", "seed=1,2", "training.epochs=400", "dataset.max_new_tokens=8", "hardware.cells_at_once=2"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a sweep in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "peft_study", "--multirun", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def until(condition: Callable[[], object], seconds: float = 120) -> bool:
    """Wait for a condition; say whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_ends_its_cells_and_goes_on(
    small_data: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    sweep = [*LONG, f"dataset.path={small_data}"]
    process = start(tmp_path, *sweep)
    trained = until(lambda: len(list(tmp_path.glob("multirun/*/*/checkpoints/*/complete"))) >= 2)
    children = psutil.Process(process.pid).children(recursive=True) if trained else []
    os.killpg(process.pid, sent)
    printed = process.communicate(timeout=120)[0]

    assert trained, printed
    assert len(children) == 3  # the cells, and the process that forked them
    assert until(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    assert process.returncode == (130 if sent is signal.SIGINT else -9)
    assert {result.status for result in results_of(tmp_path).values()} == {Status.preempted}
    if sent is signal.SIGINT:
        assert "the same command resumes" in printed
        assert "Traceback" not in printed
