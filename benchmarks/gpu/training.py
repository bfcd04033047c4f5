"""Step time on samples of real lengths: padded to the limits, padded to a batch's longest, and the floor."""

import statistics
import time

import torch

from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import BATCH_OF_EIGHT, Row

LENGTHS = (
    (28, 28), (46, 50), (29, 39), (39, 18), (17, 24), (15, 17), (28, 23), (27, 33), (24, 25), (13, 23), (13, 10),
    (22, 14), (34, 28), (17, 9), (30, 13), (43, 31), (26, 30), (26, 19), (17, 19), (17, 24), (25, 12), (15, 24),
    (43, 20), (15, 21), (32, 31), (31, 20), (62, 49), (24, 16), (24, 28), (19, 16), (33, 39), (11, 5), (25, 27),
    (49, 19), (32, 16), (21, 11), (30, 31), (14, 19), (44, 47), (50, 35), (36, 38), (19, 17), (37, 23), (18, 15),
    (33, 19), (20, 19), (32, 22), (19, 8), (21, 10), (60, 38), (24, 30), (17, 11), (38, 29), (29, 15), (23, 20),
    (20, 12),
)  # fmt: skip
"""Tokens of prompt and target of 56 samples of CoNaLa's training split, drawn at random and encoded with the embedded
tokenizer: 51 tokens a sample, 45% of them the target's, as in the whole split."""
FLOPS_A_TOKEN = 4
"""Times the parameters: two forwards and two for the gradients of inputs; frozen weights have none themselves."""
PRODUCT_SIZE = 8192
PRODUCTS = 20
BASELINE = "padded to limits"


def run(row: Row, results: record.RowRecord) -> None:
    """Measure the row.

    Args:
        row: names the cell.
        results: gets the phases `load`, `matrix product`, and one for each arm.
    """
    loaded = cells.load(row.overrides, results)
    if loaded is None:
        return
    samples = cells.random_samples(LENGTHS)
    cell = cells.compose([*row.overrides, *BATCH_OF_EIGHT])
    with results.phase("floor") as entry:
        entry |= _floor(loaded, sum(map(sum, LENGTHS)) / cells.STEPS)
    arms = {BASELINE: cells.padded_collator(loaded), "padded to longest": cells.dynamic_collator(loaded)}
    for arm, collator in arms.items():
        with results.phase(arm) as entry:
            entry |= cells.timed_training(loaded, cell, samples, collator)
    _add_ratios(results)


def _add_ratios(results: record.RowRecord) -> None:
    """Compare the arms' sums over the same batches, and their mean step with the floor."""
    phases = results.values["phases"]
    seconds = {name: sum(phase["step_seconds"]) for name, phase in phases.items() if "step_seconds" in phase}
    baseline, floor = seconds.get(BASELINE), phases["floor"].get("floor_seconds")
    if baseline is not None:
        results.values["speed_ratios"] = {name: round(baseline / value, 2) for name, value in seconds.items()}
    if floor is not None:
        results.values["floor_shares"] = {
            name: round(floor * cells.MEASURED_STEPS / value, 3) for name, value in seconds.items()
        }


def _floor(loaded: cells.Loaded, tokens: float) -> dict[str, float]:
    """Seconds that the real tokens of a step take at the rate of one large matrix product.

    Args:
        loaded: gives the number of parameters, device and number format.
        tokens: of a step.
    """
    rate = _matrix_product_rate(loaded.compute.device, loaded.compute.dtype)
    flops = FLOPS_A_TOKEN * loaded.parameters * tokens
    return {"flops_a_second": round(rate), "real_tokens_a_step": round(tokens, 1), "floor_seconds": flops / rate}


def _matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a square matrix product: the median of some."""
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
