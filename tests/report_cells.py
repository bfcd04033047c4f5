"""Cells' folders as the package writes them, and what a report makes of them, for tests of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from peft_study.metrics.intervals import RESAMPLES
from peft_study.report.figures import FIGURES, Drawing
from peft_study.report.study import Study
from peft_study.report.tables.comparison import compare
from peft_study.report.tables.paper import TABLES
from peft_study.report.tables.table import Table
from peft_study.results.predictions import Prediction
from peft_study.results.schema import MemoryKind, PhaseCost, RunResult, Status
from peft_study.results.store import CellFolder

KINDS = {"full": "full", "zero-shot": "prompting", "icl": "prompting", "rag": "prompting"}
HOSTILE = '</script><img src=x onerror="window.hacked=1"><svg onload="window.hacked=1">'
"""What a model, a name or a log may hold."""


def result(
    model: str = "tiny-llama",
    method: str = "lora",
    dataset: str = "minipy",
    seed: int = 1,
    *,
    quantization: str = "none",
    num_examples: int = 0,
    metrics: Mapping[str, float | None] | None = None,
    intervals: Mapping[str, list[float]] | None = None,
    status: Status = Status.ok,
    size_class: str = "slm",
    learning_rate: float | None = 1e-3,
    train_peak_bytes: int | None = 2_000_000_000,
    memory_kind: MemoryKind | None = MemoryKind.cuda_allocated,
    device_bytes: float | None = 25e9,
    test_samples: int = 100,
    precision: str = "bf16",
    finished_at: str = "2026-01-02T00:00:00+00:00",
    **settings: Any,
) -> RunResult:
    """The record of a cell.

    Args:
        metrics: scores of a cell that succeeded; EM@1 and EM@10 if None.
        settings: further keys of the method.
    """
    trained = KINDS.get(method, "adapter") != "prompting"
    phases = {"generate": PhaseCost(20.0, 1_000_000_000, None)}
    if trained:
        phases["train"] = PhaseCost(100.0, train_peak_bytes, None)
    name = "_".join([model, method, dataset, quantization, f"n{num_examples}", f"s{seed}", str(learning_rate)])
    return RunResult(
        cell_id=name,
        study="study",
        status=status,
        reason=None if status is Status.ok else "it ended otherwise",
        config={
            "seed": seed,
            "model": {"name": model, "family": "llama", "size_class": size_class},
            "method": {
                "name": method,
                "kind": KINDS.get(method, "adapter"),
                "num_examples": num_examples,
                "learning_rate": learning_rate,
                **settings,
            },
            "dataset": {"name": dataset},
            "quantization": {"name": quantization},
            "training": {"epochs": 5.0},
            "generation": {"temperature": None},
        },
        metrics=dict(metrics if metrics is not None else {"em@1": 0.25, "em@10": 0.5}) if status is Status.ok else {},
        intervals=dict(intervals or {}),
        execution={"level": "A"},
        parameters={"total": 1_500_000, "trainable": 61_440},
        training={"best_validation_loss": 0.5},
        data={
            "sizes": {"test": test_samples},
            "fingerprint": "f" * 64,
            "leakage": {"similar_instruction": {"share": 0.045}},
        },
        phases=phases,
        memory_kind=memory_kind,
        provenance={"device": "cuda", "device_bytes": device_bytes, "precision": precision}
        | {"commit": "c" * 40, "dirty": False},
        started_at="2026-01-01T00:00:00+00:00",
        finished_at=finished_at,
    )


def write(root: Path, record: RunResult, matched: Sequence[Sequence[bool]] = ()) -> Path:
    """Write a cell's folder below a root, with a prediction for each test sample if `matched` is not empty."""
    if matched:
        record.data["sizes"] = {"test": len(matched)}
    return _write(root / record.cell_id, record, predictions(matched))


def study(root: Path, *records: Any) -> Path:
    """Write cells, each a record or a pair of a record and its matches."""
    for record in records:
        if isinstance(record, tuple):
            write(root, *record)
        else:
            write(root, record)
    return root


def write_cell(
    folder: Path,
    method: str = "lora",
    seed: int = 1,
    *,
    em: float | None = 0.5,
    metrics: Mapping[str, float] | None = None,
    reason: str | None = None,
    predictions: Sequence[Prediction] = (),
    cell_id: str | None = None,
    model: str = "tiny-llama",
    dataset: str = "minipy",
    **settings: Any,
) -> Path:
    """Write a cell that ran on a CPU, with its predictions.

    Args:
        folder: the study's, which gets the cell's.
        em: EM@1; EM@10 is a tenth above it.
        metrics: further scores.
        settings: see `result`.
    """
    record = result(
        model,
        method,
        dataset,
        seed,
        test_samples=max(1, len(predictions)),
        memory_kind=MemoryKind.cpu_peak_rss,
        precision="fp32",
        **{"learning_rate": 3e-4, "train_peak_bytes": 650_000_000, **settings},
    )
    scores = {} if em is None else {"em@1": em, "em@10": min(1.0, em + 0.1)}
    record.metrics = {**scores, **(metrics or {})}
    record.intervals = {} if em is None else {"em@1": [max(0.0, em - 0.05), min(1.0, em + 0.05)]}
    record.cell_id = cell_id or f"{model}_{method}_{dataset}_s{seed}"
    record.study, record.reason = folder.name, reason
    return _write(folder / f"cell-{len(list(folder.glob('cell-*')))}", record, predictions)


def _write(path: Path, record: RunResult, samples: Sequence[Prediction]) -> Path:
    folder = CellFolder(path)
    folder.write_result(record)
    if samples:
        folder.write_predictions(samples)
    return folder.path


def predictions(matched: Sequence[Sequence[bool]]) -> list[Prediction]:
    """A prediction for each sample, from which of its candidates match."""
    return [
        Prediction(f"test-{index}", "### Instruction:\nsort", "xs.sort()", ["xs.sort()"] * len(flags), list(flags))
        for index, flags in enumerate(matched)
    ]


def prediction(name: str, candidates: Sequence[str], reference: str = "xs.sort()", **fields: Any) -> Prediction:
    """A sample of the plain prompt form, its candidates compared with the reference."""
    return Prediction(
        id=name,
        prompt=f"### Instruction:\nsort the list `xs` ({name})\n### Response:\n",
        reference=reference,
        candidates=list(candidates),
        matched=[text == reference for text in candidates],
        **fields,
    )


def table_of(name: str, frame: pd.DataFrame, other: pd.DataFrame | None = None) -> Table:
    """A table of rows, with rows to compare with."""
    return TABLES[name](Study(frame), None if other is None else Study(other))


def drawing_of(name: str, frame: pd.DataFrame, other: pd.DataFrame | None = None) -> Drawing:
    """A figure of rows, with rows to compare with."""
    return FIGURES[name](Study(frame), None if other is None else Study(other))


def comparison_of(frame: pd.DataFrame, other: pd.DataFrame, resamples: int = RESAMPLES) -> Table:
    """The comparison of two studies' rows."""
    return compare(Study(frame, resamples), Study(other, resamples))
