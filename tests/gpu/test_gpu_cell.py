"""Cells on a GPU: 16-bit training, quantised bases, memory by phase, a budget that is enforced."""

from pathlib import Path

import pytest
import torch

from peft_study.cost.nvml import Card
from peft_study.results.schema import MemoryKind, Status
from tests.conftest import Command
from tests.integration.test_cell import only_cell

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
QUICK = ["training.epochs=1", "dataset.max_new_tokens=8", "hardware.device=cuda"]


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("model", "method", "quantization"),
    [
        ("tiny-llama", "lora", "none"),
        ("tiny-llama", "full", "none"),
        ("tiny-llama", "lora", "nf4"),
        ("tiny-codegen", "lora", "int8"),
        ("tiny-t5", "lora", "none"),
    ],
)
def test_a_cell_trains_and_generates(
    command: Command, small_data: Path, tmp_path: Path, model: str, method: str, quantization: str, precision: str
) -> None:
    # Full fine-tuning has the model's rate: a larger one spoils what it has learnt.
    rate = [] if method == "full" else ["method.learning_rate=1e-2"]
    ended = command(
        f"model={model}",
        f"method={method}",
        f"quantization={quantization}",
        f"training.precision={precision}",
        f"dataset.path={small_data}",
        *rate,
        *QUICK,
    )

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.status is Status.ok
    assert result.memory_kind is MemoryKind.cuda_allocated
    assert result.training["best_validation_loss"] < result.training["initial_validation_loss"]  # type: ignore[operator]
    for cost in result.phases.values():
        assert cost.peak_bytes is not None
        assert cost.reserved_bytes is not None
        assert cost.reserved_bytes >= cost.peak_bytes


def test_nvml_counts_energy_and_the_memory_of_the_process(command: Command, small_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    ended = command("model=tiny-llama", "method=lora", f"dataset.path={small_data}", *QUICK)

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    card = Card.of(torch.device("cuda", 0))
    assert card is not None
    for name in ("train", "generate"):
        cost = result.phases[name]
        assert cost.tokens_per_second is not None
        # Old cards count no energy, and a container may hide the process.
        if card.energy_wh() is not None:
            assert cost.energy_wh is not None
            # No card draws more than 1.5 kW.
            assert 0 <= cost.energy_wh <= 1500 * cost.seconds / 3600 + 0.1
        if card.process_bytes() is not None:
            assert cost.process_bytes is not None
            assert cost.reserved_bytes is not None
            # The context of CUDA comes on top of what torch reserves.
            assert cost.process_bytes > cost.reserved_bytes


def test_the_share_of_a_known_cards_peak_is_recorded(command: Command, small_data: Path, tmp_path: Path) -> None:
    stated = ["hardware.peak_tflops=100", "training.precision=fp16"]
    ended = command("model=tiny-llama", "method=lora", f"dataset.path={small_data}", *QUICK, *stated)

    assert ended.code == 0, ended.err
    result = only_cell(tmp_path / "multirun").read_result()
    assert result is not None
    assert result.provenance["peak_flops"] == 100e12
    utilization = result.rates()["train_flop_utilization"]
    assert utilization is not None
    assert 0 < utilization < 1


def test_a_budget_makes_a_large_card_refuse(command: Command, small_data: Path, tmp_path: Path) -> None:
    ended = command(
        "model=codellama-7b-python",
        "model.weights=random",
        "model.tokenizer=tiny",
        f"dataset.path={small_data}",
        "hardware.memory_budget_gb=4",
        *QUICK,
    )

    assert ended.code == 2
    assert "hardware.memory_budget_gb" in ended.err
    assert not (tmp_path / "multirun").exists()
