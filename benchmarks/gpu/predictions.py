"""What the project predicts for the memory rows, computed without a card while the rows run."""

import time
from dataclasses import asdict

from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import Row
from peft_study.cost.predict import estimate


def run(row: Row, results: record.RowRecord) -> None:
    """Predict the row's cells.

    Args:
        row: holds the cells' overrides by name.
        results: gets one phase a cell, with the fields of `Estimate` in bytes.
    """
    for name, overrides in row.cells.items():
        with results.phase(name) as entry:
            started = time.perf_counter()
            prediction = estimate(cells.compose(overrides))
            entry["seconds"] = round(time.perf_counter() - started, 2)
            entry["estimate"] = (
                None if prediction is None else {**asdict(prediction), "peak_bytes": prediction.peak_bytes}
            )
