"""The memory policy: the fastest division of a batch that fits, and what it says where none does."""

import pytest
import torch

from peft_study.cell.division import by_prediction
from peft_study.config.compose import compose_cell
from peft_study.config.identity import cell_name
from peft_study.config.schema import CellConfig, Precision
from peft_study.cost.policy import choose_memory, recorded
from peft_study.cost.predict import estimate
from peft_study.models.precision import Compute
from peft_study.results.schema import RunResult, Status

SHALLOW = [
    "method=lora",
    "model=codellama-7b-python",
    "model.architecture.num_hidden_layers=2",
    "generation.batch_size=1",
]
# Far above what generation takes, so that training decides.
SHALLOW += ["dataset.max_target_tokens=448", "generation.num_beams=1", "generation.num_candidates=1"]


def cell_of(*overrides: str) -> CellConfig:
    return compose_cell([*SHALLOW, *overrides])


def budget_for(*overrides: str) -> int:
    """The smallest budget that holds a cell with this division."""
    predicted = estimate(cell_of(*overrides))
    assert predicted is not None
    return predicted.peak_bytes + predicted.overhead_bytes


def division(cell: CellConfig, budget: int | None) -> tuple[int, bool]:
    chosen = choose_memory(cell, budget).training
    return chosen.micro_batch_size, chosen.gradient_checkpointing


RECOMPUTED = "training.gradient_checkpointing=true"


def test_auto_takes_the_fastest_division_that_fits() -> None:
    budgets = [
        budget_for(),
        budget_for("training.micro_batch_size=4"),
        budget_for("training.micro_batch_size=1"),
    ]

    assert budgets == sorted(budgets, reverse=True)
    assert division(cell_of(), None) == (8, False)
    assert division(cell_of(), budgets[0]) == (8, False)
    assert division(cell_of(), budgets[0] - 1) == (4, False)
    assert division(cell_of(), budgets[2]) == (1, False)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["training.memory=fast"], (8, False)),
        (["training.memory=paper"], (8, False)),
        (["training.memory=small"], (1, True)),
        (["training.memory=small", "method=prefix"], (1, False)),
        (["training.memory=small", "training.micro_batch_size=2"], (2, False)),
        (["training.memory=fast", RECOMPUTED], (8, True)),
    ],
    ids=str,
)
def test_a_policy_divides_the_batch_unless_a_setting_does(overrides: list[str], expected: tuple[int, bool]) -> None:
    assert division(cell_of(*overrides), 1) == expected


def test_advice_names_the_policy_that_would_fit() -> None:
    small = budget_for("training.memory=small", "training.micro_batch_size=1", RECOMPUTED)

    choice = choose_memory(cell_of("training.memory=fast"), small)

    assert choice.fits is False
    assert "training.memory=small" in (choice.advice or "")
    assert choose_memory(cell_of("training.memory=fast"), None).advice is None


def test_a_cell_that_fits_in_no_way_says_so() -> None:
    choice = choose_memory(cell_of(), 10**8)

    assert choice.fits is False
    assert choice.exceeds_even_without_overhead
    assert "training.memory=small" not in (choice.advice or "")


def test_a_batch_that_cannot_be_divided_has_advice() -> None:
    # Eight GPUs leave each a sample, and prefix tuning does not recompute activations.
    choice = choose_memory(cell_of("method=prefix", "hardware.gpus_per_cell=8"), 10**8)

    assert choice.fits is False
    assert choice.reason == "the smallest, which exceeds the budget"


def test_a_micro_batch_above_a_gpus_share_is_that_share() -> None:
    settings = ("hardware.gpus_per_cell=4", RECOMPUTED)
    choice = choose_memory(cell_of(*settings), None)

    assert choice.predicted == choose_memory(cell_of(*settings, "training.micro_batch_size=2"), None).predicted
    assert (choice.training.batch_size, choice.training.micro_batch_size) == (8, 2)
    assert recorded(choice, gpus=4)["gradient_accumulation"] == 1


def test_the_policy_makes_no_other_cell() -> None:
    names = {cell_name(cell_of(f"training.memory={policy}")) for policy in ("auto", "fast", "small", "paper")}

    assert len(names) == 1


def test_a_result_says_what_was_chosen_and_why() -> None:
    record = recorded(choose_memory(cell_of("training.memory=small"), None))

    assert (record["micro_batch_size"], record["gradient_accumulation"], record["gradient_checkpointing"]) == (1, 8, 1)
    assert record["memory_policy"] == "small"
    assert record["peak_bytes"] == max(int(record[f"{phase}_peak_bytes"]) for phase in ("load", "train", "generate"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["training.memory=small"], (1, True)),
        (["training.memory=auto"], (8, False)),
        (["training.memory=small", "training.micro_batch_size=4"], (4, False)),
        (["training.memory=small", "method=icl"], (8, False)),
        # peft's prefix tuning cannot recompute activations.
        (["training.memory=small", "method=prefix"], (1, False)),
        (["training.memory=small", "hardware.gpus_per_cell=2"], (1, True)),
    ],
)
def test_small_divides_a_batch_on_a_cpu_without_a_prediction(overrides: list[str], expected: tuple[int, bool]) -> None:
    cell = compose_cell(["model=tiny-llama", *overrides])
    result = RunResult("cell", "study", Status.running)

    training = by_prediction(cell, Compute(torch.device("cpu"), Precision.fp32), result).training

    assert (training.micro_batch_size or training.batch_size, training.gradient_checkpointing) == expected
    assert training.batch_size == cell.training.batch_size
    assert result.predicted == {}
