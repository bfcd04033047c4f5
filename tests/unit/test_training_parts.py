"""The pieces of fine-tuning that need no model: schedule, batches, which checkpoint counts."""

import itertools
import json
import os
import time
from pathlib import Path

import pytest
import torch

from peft_study.config.schema import TrainingConfig
from peft_study.data.tokens import Encoded
from peft_study.training import resume
from peft_study.training.collate import Collator
from peft_study.training.ranks import Ranks
from peft_study.training.schedule import plan


@pytest.mark.parametrize(
    ("samples", "batch", "epochs", "evaluations", "total", "steps"),
    [
        (2135, 8, 5, 5, 1335, 25),
        (80, 8, 1, 5, 10, 5),
        (8, 8, 1, 5, 1, 1),
        (9, 8, 1, 1, 2, 1),
        (80, 8, 0.5, 5, 5, 2),
        (3, 8, 0.1, 5, 1, 1),
    ],
)
def test_evaluations_are_spread_and_the_last_step_is_one(
    samples: int, batch: int, epochs: float, evaluations: int, total: int, steps: int
) -> None:
    settings = TrainingConfig(batch_size=batch, epochs=epochs, evaluations_per_epoch=evaluations)

    schedule = plan(samples, settings)

    assert schedule.total_steps == total
    assert len(schedule.evaluation_steps) == steps
    assert max(schedule.evaluation_steps) == total
    assert min(schedule.evaluation_steps) >= 1


class RecordedExchanges:
    """Stands for the group of a single rank, and keeps the number formats that it exchanges."""

    def __init__(self) -> None:
        self.dtypes: list[torch.dtype] = []

    def allreduce(self, tensors: list[torch.Tensor]) -> "RecordedExchanges":
        self.dtypes += [tensor.dtype for tensor in tensors]
        return self

    def wait(self) -> None:
        """Nothing is pending."""


FORMAT_ORDERS = list(itertools.permutations([torch.float32, torch.bfloat16, torch.float16]))


@pytest.mark.parametrize("order", FORMAT_ORDERS, ids=str)
def test_every_rank_exchanges_number_formats_in_the_order_of_the_parameters(order: tuple[torch.dtype, ...]) -> None:
    weights = [torch.nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in order]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    exchanges = RecordedExchanges()

    Ranks(group=exchanges).add_gradients(weights)

    assert exchanges.dtypes == [torch.int32, *order]


SAMPLES = [Encoded((5, 6, 7), (8, 1), 0, 0), Encoded((5,), (9, 9, 9, 1), 0, 0)]


def test_a_decoders_prompt_carries_no_label() -> None:
    batch = Collator(pad_token_id=0, encoder_decoder=False)(SAMPLES)

    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 1], [5, 9, 9, 9, 1]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 8, 1], [-100, 9, 9, 9, 1]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1] * 5]


def test_padding_is_masked_and_carries_no_label() -> None:
    batch = Collator(pad_token_id=0, encoder_decoder=False)([SAMPLES[0], Encoded((5,), (1,), 0, 0)])

    assert batch["input_ids"][1].tolist() == [5, 1, 0, 0, 0]
    assert batch["attention_mask"][1].tolist() == [1, 1, 0, 0, 0]
    assert batch["labels"][1].tolist() == [-100, 1, -100, -100, -100]


def test_an_encoder_reads_the_prompt_and_the_decoder_the_target() -> None:
    batch = Collator(pad_token_id=0, encoder_decoder=True)(SAMPLES)

    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[8, 1, -100, -100], [9, 9, 9, 1]]
    assert batch["labels"].dtype == torch.long


def test_only_a_complete_checkpoint_counts(tmp_path: Path) -> None:
    for step, complete in ((5, True), (10, True), (15, False)):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        if complete:
            resume.mark_complete(checkpoint)
    (tmp_path / "checkpoint-notes").mkdir()

    last = resume.last_usable(tmp_path)

    assert last is not None
    assert resume.step_of(last) == 10


def test_a_checkpoint_that_was_damaged_since_does_not_count(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in ("adapter_model.safetensors", "training_state.safetensors"):
            (checkpoint / name).write_bytes(b"weights")
        resume.mark_complete(checkpoint)
    (tmp_path / "checkpoint-15" / "adapter_model.safetensors").unlink()
    (tmp_path / "checkpoint-10" / "adapter_model.safetensors").write_bytes(b"wei")

    last = resume.last_usable(tmp_path)

    assert last == tmp_path / "checkpoint-5"


def test_an_adapters_checkpoint_without_its_training_state_does_not_count(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-5"
    checkpoint.mkdir()
    (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
    resume.mark_complete(checkpoint)

    assert resume.last_usable(tmp_path) is None


@pytest.mark.parametrize(
    ("damaged", "usable"),
    [
        ((), 15),
        ((15,), 10),
        ((15, 10), 5),
        ((5,), None),  # the best of all three, whose weights the cell would use
    ],
)
def test_a_bit_that_changed_makes_a_checkpoint_useless(
    damaged: tuple[int, ...], usable: int | None, tmp_path: Path
) -> None:
    write_checkpoints(tmp_path, 5, 10, 15, best=5)
    for step in damaged:
        file = tmp_path / f"checkpoint-{step}" / "training_state.safetensors"
        file.write_bytes(bytes([file.read_bytes()[0] ^ 64]) + file.read_bytes()[1:])

    last = resume.last_usable(tmp_path)
    resume.remove_others(tmp_path, last)

    assert last == (None if usable is None else tmp_path / f"checkpoint-{usable}")
    assert names_in(tmp_path) == {f"checkpoint-{step}" for step in (5, 10, 15) if usable is not None and step <= usable}


def test_a_checkpoint_of_an_earlier_version_has_sizes_only(tmp_path: Path) -> None:
    write_checkpoints(tmp_path, 5, best=5)
    files = {
        path.name: path.stat().st_size for path in (tmp_path / "checkpoint-5").iterdir() if path.name != "complete"
    }
    (tmp_path / "checkpoint-5" / "complete").write_text(json.dumps(files))

    assert resume.last_usable(tmp_path) == tmp_path / "checkpoint-5"


@pytest.mark.parametrize(
    ("best", "kept"), [(None, {15, 20, 25}), (5, {5, 20, 25}), (20, {15, 20, 25}), (25, {15, 20, 25})]
)
def test_older_checkpoints_are_removed_by_step_whatever_the_clock_says(
    best: int | None, kept: set[int], tmp_path: Path
) -> None:
    write_checkpoints(tmp_path, 5, 10, 15, 20, 25, best=best)
    for step in (5, 10, 15):  # the clock was a day ahead
        os.utime(tmp_path / f"checkpoint-{step}", (time.time() + 86_400 + step,) * 2)

    resume.remove_older(tmp_path, best)

    assert names_in(tmp_path) == {f"checkpoint-{step}" for step in kept}


def write_checkpoints(folder: Path, *steps: int, best: int | None) -> None:
    for step in steps:
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in ("adapter_model.safetensors", "training_state.safetensors"):
            (checkpoint / name).write_bytes(b"weights")
        (checkpoint / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
        resume.mark_complete(checkpoint)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert resume.last_usable(tmp_path) is None
    assert resume.last_usable(tmp_path / "missing") is None
