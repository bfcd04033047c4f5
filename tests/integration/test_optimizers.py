"""`training.optimizer`, `training.schedule`, `training.weight_decay` and `model.attention`."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import bitsandbytes
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.optimization import Adafactor

from tests.conftest import Command

QUICK = [
    "training.epochs=2",
    "training.evaluations_per_epoch=1",
    "dataset.test_limit=1",
    "dataset.max_new_tokens=4",
    "generation.num_beams=1",
    "generation.num_candidates=1",
    "hardware=cpu",
    "method.adapter.lora_dropout=0.0",
]
CLASSES = {
    "adafactor": Adafactor,
    "adamw": torch.optim.AdamW,
    "adamw_8bit": bitsandbytes.optim.AdamW,
    "paged_adamw": bitsandbytes.optim.AdamW,
    "paged_adamw_8bit": bitsandbytes.optim.AdamW,
}


def steps_of(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.glob("single/*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU:UserWarning")
@pytest.mark.parametrize("name", CLASSES)
def test_an_optimizer_is_the_librarys(name: str, command: Command, small_data: Path, tmp_path: Path) -> None:
    used: list[tuple[str, float]] = []

    def watch(optimizer: torch.optim.Optimizer, *_: object) -> None:
        used.append((type(optimizer).__name__, float(optimizer.param_groups[0]["weight_decay"])))

    hook = register_optimizer_step_post_hook(watch)
    try:
        cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK, "training.epochs=1"]
        ended = command(*cell, f"training.optimizer={name}", "training.weight_decay=0.01")
    finally:
        hook.remove()

    assert ended.code == 0, ended.err
    assert {kind for kind, _ in used} == {CLASSES[name].__name__}
    assert {decay for _, decay in used} == {0.01}
    losses = [step["loss"] for step in steps_of(tmp_path / "multirun") if "loss" in step]
    assert losses
    assert all(map(math.isfinite, losses))


@pytest.mark.parametrize(
    ("schedule", "share_left"),
    [
        ("linear", lambda done: 1 - done),
        ("cosine", lambda done: 0.5 * (1 + math.cos(math.pi * done))),
        ("constant", lambda done: 1.0),
    ],
)
def test_a_schedule_has_its_formula(
    schedule: str, share_left: Callable[[float], float], command: Command, small_data: Path, tmp_path: Path
) -> None:
    settings = ["training.warmup_fraction=0", "method.learning_rate=1e-3", f"training.schedule={schedule}"]
    assert command("model=tiny-llama", f"dataset.path={small_data}", *QUICK, *settings).code == 0

    rates = {int(step["step"]): step["learning_rate"] for step in steps_of(tmp_path / "multirun") if "loss" in step}
    # The rate logged with a step is the one that the step used.
    expected = {step: 1e-3 * share_left((step - 1) / max(rates)) for step in rates}
    assert len(rates) > 1
    assert rates == pytest.approx(expected, abs=1e-9)


def test_kernels_of_attention_agree(command: Command, small_data: Path, tmp_path: Path) -> None:
    losses = {}
    for kernel in ("sdpa", "eager"):
        cell = ["model=tiny-llama", f"dataset.path={small_data}", *QUICK, f"model.attention={kernel}"]
        assert command(*cell, f"output_dir={kernel}").code == 0
        losses[kernel] = [step["loss"] for step in steps_of(tmp_path / kernel) if "loss" in step]

    assert losses["sdpa"] == pytest.approx(losses["eager"], rel=1e-4)


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("training.optimizer=sgd", "training.optimizer"),
        ("training.schedule=step", "training.schedule"),
        ("training.weight_decay=-1", "training.weight_decay"),
        ("model.attention=flash_attention_2", "model.attention"),
        ("model.attention=flash", "model.attention"),
    ],
)
def test_wrong_values_are_refused(override: str, setting: str, command: Command, small_data: Path) -> None:
    ended = command("model=tiny-llama", f"dataset.path={small_data}", "hardware=cpu", override)

    assert ended.code == 2
    assert setting in ended.err
    assert "Traceback" not in ended.err
