"""Time the report's rows, tables and claims on 10,000 cells, as many as 3,300 configurations with three seeds each.

    OMP_NUM_THREADS=1 python -m benchmarks.report_rows [CELL_FOLDER]

The cells are copies of a record (a real result.json, or a made-up record of similar size) under other names. The files
are in the system's cache. The time of tables and claims excludes the grouping of rows, which is timed separately.
Writes benchmarks/results/report_rows.json.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import record
from peft_study.report.claims.paper import check_all
from peft_study.report.read.rows import load
from peft_study.report.study import Study
from peft_study.report.tables.paper import TABLES

CELLS = 10_000
SEEDS = 3
ROUNDS = 3
METHODS = ("full", "lora", "ia3", "prompt", "prefix")
DATASETS = ("conala", "codealpacapy")


def made_up() -> dict[str, Any]:
    """A record of the size of a real record: 40 scores with intervals, 200 settings."""
    scores = {f"{name}@{k}": k / 20 for name in ("em", "raw_em", "top", "pass") for k in range(1, 11)}
    settings = {f"setting_{index}": f"value {index}" for index in range(200)}
    return {
        "schema_version": 1,
        "cell_id": "",
        "study": "many",
        "status": "ok",
        "config": {
            "seed": 1,
            "model": {"name": "", "size_class": "slm", "family": "llama"},
            "method": {"name": "", "kind": "adapter", "num_examples": 0, "learning_rate": 1e-3},
            "dataset": {"name": ""},
            "quantization": {"name": "none"},
            "other": settings,
        },
        "metrics": scores,
        "intervals": {name: [value - 0.01, value + 0.01] for name, value in scores.items()},
        "parameters": {"total": 1_500_000, "trainable": 61_440},
        "phases": {
            name: {"seconds": 10.0, "peak_bytes": 10**9, "reserved_bytes": None}
            for name in ("load", "train", "generate")
        },
        "memory_kind": "cuda_allocated",
        "finished_at": "2026-01-01T00:00:00+00:00",
    }


def write_cells(root: Path, pattern: dict[str, Any]) -> int:
    """Write the cells, and return the bytes of a record."""
    size = 0
    for index in range(CELLS):
        cell = copy.deepcopy(pattern)
        configuration, seed = divmod(index, SEEDS)
        method, dataset = METHODS[configuration % 5], DATASETS[configuration // 5 % 2]
        model = f"model-{configuration // 10:03d}"
        cell["cell_id"] = f"{model}_{method}_{dataset}_s{seed}"
        cell["config"]["seed"] = seed
        cell["config"]["model"]["name"], cell["config"]["dataset"]["name"] = model, dataset
        cell["config"]["method"] |= {"name": method, "kind": "full" if method == "full" else "adapter"}
        cell["metrics"]["em@10"] = (index * 7919 % 1000) / 1000
        folder = root / "many" / cell["cell_id"]
        folder.mkdir(parents=True)
        text = json.dumps(cell, indent=2)
        (folder / "result.json").write_text(text, encoding="utf-8")
        size = len(text)
    return size


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds and processor seconds of a call. Other work on the machine lengthens the latter less."""
    started = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", nargs="?", type=Path, help="a cell's folder, whose record is copied")
    cell = parser.parse_args().cell
    pattern = made_up() if cell is None else json.loads((cell / "result.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        size = write_cells(root, pattern)
        timed = [seconds(lambda: load([root / "many"])) for _ in range(ROUNDS)]
        rows = load([root / "many"])
        assert len(rows.frame) == CELLS
        assert not rows.problems
        study = Study(rows.frame)
        made = {"groups": round(seconds(lambda: study.groups)[1], 2)}
        for name, make in TABLES.items():
            made[name] = round(seconds(lambda make=make: make(study, None))[1], 2)  # type: ignore[misc]
        made["claims"] = round(seconds(lambda: check_all(study))[1], 2)
    figures = {
        "cells": CELLS,
        "bytes_of_a_record": size,
        "load_median_seconds": round(statistics.median(wall for wall, _ in timed), 2),
        "load_median_cpu_seconds": round(statistics.median(cpu for _, cpu in timed), 2),
        "cpu_seconds": made,
    }
    record.write("report_rows", figures, ("pandas",))


if __name__ == "__main__":
    main()
