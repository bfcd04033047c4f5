"""Step time on samples of real lengths: padded to the limits, to a batch's longest, not at all, and the floor."""

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from transformers.optimization import Adafactor

from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import BATCH_OF_EIGHT, Row
from benchmarks.lengths import CONALA
from peft_study.training.adafactor import GroupedAdafactor
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder

FLOPS_A_TOKEN = 4
"""Factor of the parameters: 2 forward and 2 for the gradients of inputs. Frozen weights have no gradients."""
PRODUCT_SIZE = 8192
PRODUCTS = 20
BASELINE = "padded to limits"
PASSES = 6
"""Passes over the samples, in an order that the seed draws, so that shapes of batches recur as in an epoch."""
WARM_UP_STEPS = 26
MEASURED_STEPS = 16
PARTS_STEPS = 7


def run(row: Row, results: record.RowRecord) -> None:
    """Measure the row.

    Args:
        row: gives the cell.
        results: receives the phases `load` and `floor`, a phase for each arm, and `parts of a packed step`.
    """
    loaded = cells.load(row.overrides, results)
    if loaded is None:
        return
    cell = cells.compose([*row.overrides, *BATCH_OF_EIGHT])
    steps = WARM_UP_STEPS + MEASURED_STEPS
    assert len(CONALA) * PASSES == cell.training.batch_size * steps
    samples = cells.random_samples(CONALA * PASSES)
    with results.phase("floor") as entry:
        entry |= _floor(loaded, PASSES * sum(map(sum, CONALA)) / steps)
    # The first two are the study authors' way and transformers' default, with its Adafactor.
    arms: dict[str, BatchBuilder] = {
        BASELINE: cells.padded_collator(loaded),
        "padded to longest": cells.dynamic_collator(loaded),
    }
    for arm, collator in arms.items():
        with results.phase(arm) as entry, _adafactor_of_transformers():
            entry |= cells.timed_training(loaded, cell, samples, collator, WARM_UP_STEPS, cuda_graphs=False)
    for arm, graphs in (("packed, without graphs", False), ("packed", True)):
        with results.phase(arm) as entry:
            entry |= cells.timed_training(
                loaded, cell, samples, cells.packer(loaded), WARM_UP_STEPS, cuda_graphs=graphs
            )
    with results.phase("parts of a packed step without graphs") as entry:
        entry |= _parts(loaded, cells.packer(loaded)(samples[: cell.training.batch_size]))
    _add_ratios(results)


@contextmanager
def _adafactor_of_transformers() -> Iterator[None]:
    with patch.object(GroupedAdafactor, "step", Adafactor.step):
        yield


def _parts(loaded: cells.Loaded, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """Median seconds of each part of a step, without the Trainer."""
    device = loaded.compute.device
    inputs = {name: values.to(device) for name, values in batch.items()}
    trained = [weights for weights in loaded.model.parameters() if weights.requires_grad]
    settings = {"lr": 3e-4, "scale_parameter": False, "relative_step": False}
    optimizer = GroupedAdafactor(trained, **settings)  # type: ignore[no-untyped-call]
    theirs = Adafactor(trained, **settings)
    parts = ("forward", "backward", "clipping", "optimizer", "optimizer of transformers")
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    loaded.model.train()
    for _ in range(PARTS_STEPS):
        ends = [_now(device)]
        with loaded.compute.autocast():
            loss = training_loss(loaded.model, inputs, int(inputs["labels"].shape[0]))
        ends.append(_now(device))
        loss.backward()
        ends.append(_now(device))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        ends.append(_now(device))
        optimizer.step()
        ends.append(_now(device))
        theirs.step()
        optimizer.zero_grad(set_to_none=True)
        ends.append(_now(device))
        for name, (before, after) in zip(seconds, itertools.pairwise(ends), strict=True):
            seconds[name].append(after - before)
    return {f"{name}_seconds": round(statistics.median(values), 5) for name, values in seconds.items()}


def _now(device: torch.device) -> float:
    cells.synchronize(device)
    return time.perf_counter()


def _add_ratios(results: record.RowRecord) -> None:
    """Compare the total seconds of the arms on the same batches, and their mean step with the floor."""
    phases = results.values["phases"]
    seconds = {name: sum(phase["step_seconds"]) for name, phase in phases.items() if "step_seconds" in phase}
    baseline, floor = seconds.get(BASELINE), phases["floor"].get("floor_seconds")
    if baseline is not None:
        results.values["speed_ratios"] = {name: round(baseline / value, 2) for name, value in seconds.items()}
    if floor is not None:
        results.values["floor_shares"] = {
            name: round(floor * MEASURED_STEPS / value, 3) for name, value in seconds.items()
        }


def _floor(loaded: cells.Loaded, tokens: float) -> dict[str, float]:
    """Seconds that the real tokens of a step take at the rate of one large matrix product.

    Args:
        loaded: gives the number of parameters, device and number format.
        tokens: number of tokens in a step.
    """
    rate = _matrix_product_rate(loaded.compute.device, loaded.compute.dtype)
    flops = FLOPS_A_TOKEN * loaded.parameters * tokens
    return {"flops_a_second": round(rate), "real_tokens_a_step": round(tokens, 1), "floor_seconds": flops / rate}


def _matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Median floating-point operations a second of a square matrix product."""
    size = PRODUCT_SIZE if device.type == "cuda" else PRODUCT_SIZE // 16
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(PRODUCTS):
        cells.synchronize(device)
        started = time.perf_counter()
        left @ right
        cells.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds)
