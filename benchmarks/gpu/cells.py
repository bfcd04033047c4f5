"""The cell of a row: a model with random weights, random samples of set lengths, and timed training."""

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.gpu import record
from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig, MemoryPolicy
from peft_study.cost.memory import Meter
from peft_study.data.tokens import Encoded
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import Compute
from peft_study.models.precision import choose as choose_compute
from peft_study.training.collate import Collator
from peft_study.training.loop import train
from peft_study.training.packing import BatchBuilder, Packer, batch_builder

WARM_UP_STEPS = 2
"""Steps before the measured ones. With samples of equal length, the first chooses kernels, and the second records."""
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  # a disk would add its time to that of checkpoints
FIRST_TOKEN = 300
"""From this id to `LAST_TOKEN`, ids are ordinary text in the embedded tokenizer and exist in every model."""
LAST_TOKEN = 1500


@dataclass(frozen=True)
class Loaded:
    """A model on its device, with the objects that training and generation need.

    Attributes:
        cell: the composed config.
        compute: device and number format.
        tokenizer: the embedded tokenizer.
        model: base, or adapter around it.
        parameters: number of parameters of base and adapter together.
    """

    cell: CellConfig
    compute: Compute
    tokenizer: PreTrainedTokenizerBase
    model: Model
    parameters: int


def load(overrides: Sequence[str], results: record.RowRecord) -> Loaded | None:
    """Load a cell's model with its adapter, as a cell does, and record the cost.

    Args:
        overrides: overrides of the cell.
        results: receives the phase `load`.

    Returns:
        None if loading failed, which is recorded.
    """
    loaded = None
    with results.phase("load") as entry:
        cell = compose(overrides)
        compute = choose_compute(cell.hardware.device, cell.training.precision)
        meter = Meter(compute.device)
        with meter.phase("load"):
            tokenizer = load_tokenizer(cell.model)
            adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
            base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
            model = attach(base, cell.method.kind, adapter, cell.seed)
            driver_bytes = record.process_bytes()
        loaded = Loaded(cell, compute, tokenizer, model, count(model).total)
        entry |= costs(meter, "load", driver_bytes) | {
            "parameters": loaded.parameters,
            "precision": str(compute.precision),
        }
    return loaded


def compose(overrides: Sequence[str]) -> CellConfig:
    """The typed config of a cell."""
    return compose_cell(list(overrides))


def random_samples(lengths: Sequence[tuple[int, int]], seed: int = 0) -> list[Encoded]:
    """Samples of random tokens.

    Args:
        lengths: number of tokens of prompt and target, for each sample.
        seed: seed of the tokens.
    """
    generator = random.Random(seed)
    return [
        Encoded(random_tokens(generator, prompt), random_tokens(generator, target), 0, 0) for prompt, target in lengths
    ]


def random_tokens(generator: random.Random, number: int) -> tuple[int, ...]:
    """Token ids of ordinary text."""
    return tuple(generator.randrange(FIRST_TOKEN, LAST_TOKEN) for _ in range(number))


def dynamic_collator(loaded: Loaded) -> Collator:
    """Pads a batch to its longest sample."""
    return Collator(int(loaded.tokenizer.pad_token_id), bool(loaded.model.config.is_encoder_decoder))


def padded_collator(loaded: Loaded) -> BatchBuilder:
    """Pads a batch to the data set's limits, as the study's authors did."""
    padded = replace(loaded.cell.training, memory=MemoryPolicy.paper)
    return batch_builder(loaded.model, int(loaded.tokenizer.pad_token_id), padded, loaded.cell.dataset)


def packer(loaded: Loaded) -> Packer:
    """Builds batches as this project does, without padding."""
    return Packer.of(loaded.model, int(loaded.tokenizer.pad_token_id))


def timed_training(
    loaded: Loaded,
    cell: CellConfig,
    samples: Sequence[Encoded],
    collator: BatchBuilder,
    warm_up: int = WARM_UP_STEPS,
    *,
    cuda_graphs: bool = True,
) -> dict[str, Any]:
    """Fine-tune with the project's loop and time its optimizer steps.

    Args:
        loaded: its model is trained in place.
        cell: gives batch, micro-batch and recomputation.
        samples: of the batches of all steps.
        collator: builds batches.
        warm_up: number of steps that are not measured, at least 1.
        cuda_graphs: replay repeated steps, as a cell does by default.

    Returns:
        seconds of the steps after the warm-up, their median, and the cost of the whole phase.
    """
    assert cell.method.learning_rate is not None
    ends: list[float] = []

    def note_end(_step: int) -> None:
        synchronize(loaded.compute.device)
        ends.append(time.perf_counter())

    meter = Meter(loaded.compute.device)
    place = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
    try:
        with tempfile.TemporaryDirectory(dir=place) as folder, meter.phase("train"):
            trained = train(
                loaded.model,
                samples,
                samples[: cell.training.batch_size],
                collator,
                cell.training,
                learning_rate=cell.method.learning_rate,
                seed=cell.seed,
                compute=loaded.compute,
                folder=Path(folder),
                on_step=lambda _step, _values, _speed: None,
                on_progress=note_end,
                cuda_graphs=cuda_graphs,
            )
            driver_bytes = record.process_bytes()
    finally:
        # Gradients of an arm that ran out of memory would count for the next arm.
        loaded.model.zero_grad(set_to_none=True)
    # The time before the first end also contains the evaluation before training, so it is not a step.
    steps = [after - before for before, after in itertools.pairwise(ends)][warm_up - 1 :]
    return {
        "step_seconds": rounded(steps),
        "median_step_seconds": round(statistics.median(steps), 5),
        "micro_batch_size": cell.training.micro_batch_size,
        "gradient_checkpointing": cell.training.gradient_checkpointing,
        "cuda_graphs": trained.cuda_graphs,
        **costs(meter, "train", driver_bytes),
    }


def costs(meter: Meter, phase: str, driver_bytes: int | None) -> dict[str, Any]:
    """Cost of a phase: seconds, peak bytes that torch allocated and reserved (on a CPU: resident set), NVML's bytes."""
    cost = meter.phases[phase]
    return {
        "seconds": round(cost.seconds, 3),
        "memory_kind": str(meter.kind),
        "peak_bytes": cost.peak_bytes,
        "reserved_bytes": cost.reserved_bytes,
        "nvml_process_bytes": driver_bytes,
    }


def synchronize(device: torch.device) -> None:
    """Wait until the GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rounded(seconds: Sequence[float]) -> list[float]:
    """Seconds, rounded to a hundredth of a millisecond."""
    return [round(value, 5) for value in seconds]
