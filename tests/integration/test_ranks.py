"""A cell on several processes: the same losses and candidates as on one, the same bytes again, and a truthful end."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch.distributed.tensor import DTensor

from peft_study.config.compose import compose_cell
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.compat import layers_of
from peft_study.models.families import FAMILIES
from peft_study.models.loading import base_of, load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.training.ranks import join, leave, rendezvous, shard_frozen_weights
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


def case(*arguments: str, slow: bool = True) -> Any:
    return pytest.param(arguments, marks=pytest.mark.slow if slow else (), id=" ".join(arguments))


LORA = ("model=tiny-llama", "method=lora", "method.adapter.lora_dropout=0")
SHARDED = "hardware.shard_weights=true"


@pytest.mark.parametrize(
    "arguments",
    [
        case(*LORA, slow=False),
        case(*LORA, "training.micro_batch_size=1"),
        case("model=tiny-llama", "method=full", "training.memory=paper"),
        case("model=tiny-t5", "method=full"),
        case("model=tiny-codegen", "method=prefix"),
        case(*LORA, "quantization=nf4"),
        case(*LORA, "quantization=nf4", SHARDED, slow=False),
        case(*LORA, "training.micro_batch_size=1", "training.gradient_checkpointing=true", SHARDED),
        case("model=tiny-llama", "method=icl", "method.num_examples=2", SHARDED),
        case("model=tiny-t5", "method=ia3", SHARDED),
        case("model=tiny-codegen", "method=prefix", SHARDED),
        case("model=tiny-codegen", "method=prompt", SHARDED),
    ],
)
def test_two_processes_compute_what_one_does(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    alone = [argument for argument in arguments if argument != SHARDED]
    assert command(*CELL, *alone, f"output_dir={tmp_path / '1'}").code == 0
    ended = command(*CELL, *arguments, "hardware.gpus_per_cell=2", f"output_dir={tmp_path / '2'}")
    assert ended.code == 0, ended.err
    if "method=icl" not in arguments:
        runs = [steps(tmp_path / size) for size in ("1", "2")]
        assert [step["step"] for step in runs[1]] == [step["step"] for step in runs[0]]
        for name in ("loss", "validation_loss"):
            losses = [[step[name] for step in run if name in step] for run in runs]
            assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert candidates(tmp_path / "2") == candidates(tmp_path / "1")
    (file,) = (tmp_path / "2").glob("*/*/result.json")
    result = json.loads(file.read_text())
    assert result["provenance"]["processes"] == 2
    if "method=icl" not in arguments:
        (attempt,) = result["attempts"]
        assert attempt["micro_batch_size"] * attempt["gradient_accumulation"] * 2 == 8


def shard(rank: int, ports: Mapping[str, int], folder: str) -> None:
    """A rank of two that divides the weights of tiny-llama and writes how many bytes of its layers it keeps."""
    for quantization, port in ports.items():
        cell = compose_cell([*LORA, f"quantization={quantization}", "hardware=cpu"])
        compute = choose(cell.hardware.device, cell.training.precision)
        tokenizer = load_tokenizer(cell.model)
        base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
        model = attach(base, cell.method.kind, adapter_config(cell.method, FAMILIES[cell.model.family], "tiny"), seed=0)
        layers = layers_of(base_of(model))
        whole = sum(weight.nbytes for layer in layers for weight in layer.parameters() if not weight.requires_grad)
        ranks = join(rank, 2, rendezvous(2, port), compute.device, shards=True)
        shard_frozen_weights(model, compute.device)
        weights = [weight for layer in layers for weight in layer.parameters()]
        kept = sum(weight.to_local().nbytes for weight in weights if isinstance(weight, DTensor))
        assert all(isinstance(weight, DTensor) != weight.requires_grad for weight in weights)
        (Path(folder) / f"{quantization}-{rank}").write_text(json.dumps([whole, kept]))
        ranks.wait(compute.device)
        leave(ranks)


def test_each_process_keeps_its_share_of_the_frozen_weights(tmp_path: Path) -> None:
    # This process keeps the stores for both ranks.
    stores = {quantization: rendezvous(2) for quantization in ("none", "nf4")}
    ports = {quantization: store.port for quantization, store in stores.items()}
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=shard, args=(rank, ports, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    for quantization in stores:
        shares = [json.loads((tmp_path / f"{quantization}-{rank}").read_text()) for rank in range(2)]
        (whole, kept), (_, other) = shares
        assert kept + other == whole
        assert kept == pytest.approx(whole / 2, rel=0.01)


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


def follower_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The second process of a cell, as soon as it exists."""
    for _ in range(6000):
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):
                if "peft_study.cell.follower" in child.cmdline():
                    return child
        time.sleep(0.01)
    raise AssertionError("the cell starts no second process")


@pytest.mark.parametrize("interrupted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cell_does_not_wait_for_a_process_that_never_joins(tmp_path: Path, interrupted: bool) -> None:
    process = start(tmp_path)
    follower = follower_of(process)
    if interrupted:
        follower.suspend()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        with contextlib.suppress(psutil.NoSuchProcess):  # the cell has ended it already
            follower.resume()
    else:
        follower.kill()
    assert process.wait(60) == (128 + signal.SIGINT if interrupted else 1)
    (file,) = tmp_path.glob("*/*/result.json")
    result = json.loads(file.read_text())
    assert result["status"] == ("preempted" if interrupted else "failed")
    assert interrupted or "process 1 of the cell ended with code -9" in result["reason"]


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["hardware.gpus_per_cell=3"], "hardware.gpus_per_cell"),
        ([SHARDED], "hardware.shard_weights"),
        ([SHARDED, "hardware.gpus_per_cell=2", "method=full"], "hardware.shard_weights"),
        ([SHARDED, "hardware.gpus_per_cell=2", "quantization=int8"], "quantization.bits"),
    ],
)
def test_processes_that_cannot_share_a_cell_are_refused(
    command: Command, arguments: Sequence[str], setting: str
) -> None:
    ended = command("model=tiny-llama", *arguments)
    assert ended.code == 2
    assert setting in ended.err
