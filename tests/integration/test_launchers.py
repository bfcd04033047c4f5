"""A sweep tells how its cells ended, whatever launcher ran them in whatever processes."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from joblib.externals.loky import get_reusable_executor

from peft_study.results.schema import Status
from tests.conftest import Command, Ended
from tests.integration.test_sweep import results_of

# What Python imports when a worker of joblib starts: with it, the training of seed 0 ends its process.
FAULT = """
import os, sys
if "joblib.externals.loky.backend.popen_loky_posix" in sys.orig_argv:
    import peft_study.cell.run
    real = peft_study.cell.run.train
    def train(*arguments, seed, **named):
        if seed == 0:
            os._exit(7)
        return real(*arguments, seed=seed, **named)
    peft_study.cell.run.train = train
"""
PLUGINS = Path(__file__).parents[1] / "plugins"
CELL = ["model=tiny-llama", "generation.num_beams=2", "generation.num_candidates=2", "dataset.max_new_tokens=4"]


@pytest.fixture(scope="module", autouse=True)
def loky_launcher() -> Iterator[None]:
    """Hydra finds the launcher of the tests; its workers import torch once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGINS)
        module = importlib.import_module("hydra_plugins.peft_study_tests.loky_launcher")
        Plugins.instance().register(module.LokyLauncher)
        yield
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
    del sys.modules[module.__name__]


@pytest.fixture
def sweep(command: Command, small_data: Path) -> Callable[..., Ended]:
    """Run two cells, of seeds 0 and 1, with the launcher of the tests."""
    return partial(command, "--multirun", *CELL, f"dataset.path={small_data}", "hydra/launcher=loky")


def told(ended: Ended) -> dict[int, str]:
    """What the closing lines say of the cells that did not end well, by seed."""
    lines = re.findall(r"^tiny-llama_\S+_s(\d)-\w{8}: (?!results go to|ok after|interrupted)(.*)", ended.err, re.M)
    return {int(seed): says for seed, says in lines}


def test_cells_in_other_processes_are_done(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    ended = sweep("method=zero-shot", "seed=0,1")

    assert ended.code == 0, ended.err
    assert {seed: result.status for seed, result in results_of(tmp_path).items()} == {0: Status.ok, 1: Status.ok}
    assert "2 of 2 cells done" in ended.err
    assert ended.out.splitlines()[-1].split()[:3] == ["tiny-llama", "zero-shot", "2"]
    assert told(ended) == {}


def test_cells_that_fail_and_cells_that_are_refused_are_told(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    diverging = ["method=lora", "method.learning_rate=1e30", "training.epochs=1", "training.evaluations_per_epoch=1"]
    ended = sweep(*diverging, "seed=0")

    assert ended.code == 1
    assert results_of(tmp_path)[0].status is Status.diverged
    assert told(ended)[0].startswith("diverged: ")
    assert "0 of 1 cells done" in ended.err

    ended = sweep("method=zero-shot", "seed=1", "dataset.name=elsewhere", "dataset.path=nowhere")
    assert ended.code == 2
    assert told(ended)[1].startswith("failed: ")

    ended = sweep("method=full", "quantization=nf4", "seed=0,1")
    assert ended.code == 2
    assert {says.partition(":")[0] for says in told(ended).values()} == {"infeasible"}
    assert "0 of 2 cells done" in ended.err


def test_a_signal_to_a_worker_ends_its_cell_alone(sweep: Callable[..., Ended], tmp_path: Path) -> None:
    ended = sweep("method=zero-shot", "seed=0,1", "hydra.launcher.fault=terminate")

    assert ended.code == 1
    assert {seed: str(result.status) for seed, result in results_of(tmp_path).items()} == {0: "preempted", 1: "ok"}
    assert told(ended)[0].startswith("preempted: ")
    assert "1 of 2 cells done" in ended.err


def test_after_an_interrupt_the_cells_that_ended_are_told(sweep: Callable[..., Ended]) -> None:
    ended = sweep("method=zero-shot", "seed=0,1", "hydra.launcher.fault=interrupt")

    assert ended.code == 130
    assert told(ended) == {}
    assert "1 of 2 cells done" in ended.err


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("none", "1 are missing"),
        ("unknown", "1 are missing"),
        ("short", "2 are missing"),
        ("error", "OSError: the node is gone"),
        ("kill", "the launcher failed: "),
    ],
)
def test_a_launcher_that_loses_outcomes_is_told(sweep: Callable[..., Ended], fault: str, says: str) -> None:
    ended = sweep("method=zero-shot", "seed=0,1", f"hydra.launcher.fault={fault}")

    assert ended.code == 1
    assert says in ended.err
    assert "hydra/launcher=loky" in ended.err or fault == "error"
    assert "cells done" in ended.err
    assert "Traceback" not in ended.err
    if fault == "kill":
        assert "it left no result" in told(ended)[0]


@pytest.mark.parametrize("launcher", ["local", "basic", "loky"])
def test_a_sweeper_that_drops_outcomes_is_refused(command: Command, tmp_path: Path, launcher: str) -> None:
    ended = command("--multirun", *CELL, "seed=0,1", f"hydra/launcher={launcher}", "hydra/sweeper=basic")

    assert ended.code == 2
    assert "hydra/sweeper=basic" in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.slow
def test_joblib_returns_how_cells_ended(command: Command, small_data: Path, tmp_path: Path) -> None:
    trained = ["--multirun", *CELL, *JOBLIB, f"dataset.path={small_data}", "training.epochs=1"]

    ended = command(*trained, "seed=0,1", "output_dir=done")
    assert ended.code == 0, ended.err
    assert "2 of 2 cells done" in ended.err
    assert ended.out.splitlines()[-1].split()[:3] == ["tiny-llama", "lora", "2"]

    ended = command(*trained, "seed=0,1", "output_dir=done")
    assert ended.code == 0
    assert "2 of 2 cells done before" in ended.err

    ended = command(*trained, "seed=0", "method.learning_rate=1e30,1e-4")
    assert ended.code == 1
    assert told(ended)[0].startswith("diverged: ")
    assert "1 of 2 cells done" in ended.err


@pytest.mark.slow
def test_a_worker_of_joblib_that_dies_is_told(
    command: Command, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'fault'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    get_reusable_executor().shutdown(wait=True, kill_workers=True)

    ended = command("--multirun", *CELL, *JOBLIB, f"dataset.path={small_data}", "training.epochs=1", "seed=0,1")

    assert ended.code == 1
    assert "the launcher failed: TerminatedWorkerError" in ended.err
    assert told(ended)[0].startswith("failed: its process ended without a result; TerminatedWorkerError")
    assert results_of(tmp_path)[0].status is Status.failed
    assert "of 2 cells done" in ended.err
    assert "Traceback" not in ended.err
