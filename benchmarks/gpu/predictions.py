"""Predict the memory rows without a GPU while they run."""

import time
from dataclasses import asdict

from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import Row
from peft_study.cost.predict import estimate


def run(row: Row, results: record.RowRecord) -> None:
    """Predict the row's cells.

    Args:
        row: gives the overrides of each cell by name.
        results: receives a phase for each cell, with the fields of `Estimate` in bytes.
    """
    for name, overrides in row.cells.items():
        with results.phase(name) as entry:
            started = time.perf_counter()
            prediction = estimate(cells.compose(overrides))
            entry["seconds"] = round(time.perf_counter() - started, 2)
            entry["estimate"] = (
                None if prediction is None else {**asdict(prediction), "peak_bytes": prediction.peak_bytes}
            )
