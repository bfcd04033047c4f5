"""Gradients of fp16 that overflow: a few steps are skipped, and many in a row end the run."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

import peft_study.cell.run as cell_run
from peft_study.results.schema import Status
from peft_study.results.store import CellFolder
from peft_study.training import loop
from tests.conftest import QUICK, Command


@pytest.mark.parametrize(
    ("overflows", "status"),
    [(loop.OVERFLOWS - 1, Status.ok), (loop.OVERFLOWS, Status.diverged)],
)
def test_a_run_ends_after_many_overflows_in_a_row(
    command: Command,
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overflows: int,
    status: Status,
) -> None:
    # Only a GPU has fp16 and its scaler. This scaler is torch's own for the CPU, and a hook overflows gradients.
    prepare, train = Accelerator.__init__, loop.train

    def with_scaler(self: Accelerator, *arguments: Any, **named: Any) -> None:
        prepare(self, *arguments, **named)
        self.scaler = torch.amp.GradScaler("cpu")

    def overflowing(model: Any, *arguments: Any, **named: Any) -> Any:
        parameter = next(parameter for parameter in model.parameters() if parameter.requires_grad)
        steps = iter(range(overflows))
        parameter.register_hook(lambda gradient: gradient * math.inf if next(steps, None) is not None else gradient)
        return train(model, *arguments, **named)

    monkeypatch.setattr(Accelerator, "__init__", with_scaler)
    monkeypatch.setattr(cell_run, "train", overflowing)

    ended = command(
        "model=tiny-llama", f"dataset.path={small_data}", *QUICK, "training.epochs=7", "training.micro_batch_size=8"
    )

    (file,) = tmp_path.glob("multirun/*/*/result.json")
    result = CellFolder(file.parent).read_result()
    assert result is not None
    assert result.status is status
    assert ended.code == (0 if status is Status.ok else 1)
    if status is Status.diverged:
        assert f"{loop.OVERFLOWS} steps in a row at step {loop.OVERFLOWS}" in (result.reason or "")
