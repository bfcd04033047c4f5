"""Cells' folders and rows for tests of the report, as the package itself writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_study.results.schema import MemoryKind, PhaseCost, RunResult, Status
from peft_study.results.store import CellFolder, Prediction

KINDS = {"full": "full", "zero-shot": "prompting", "icl": "prompting", "rag": "prompting"}


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
    """One cell's record."""
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


def predictions(matched: Sequence[Sequence[bool]]) -> list[Prediction]:
    """One prediction a sample, of which is known which candidates match."""
    return [
        Prediction(f"test-{index}", "### Instruction:\nsort", "xs.sort()", ["xs.sort()"] * len(flags), list(flags))
        for index, flags in enumerate(matched)
    ]


def write(root: Path, record: RunResult, matched: Sequence[Sequence[bool]] = ()) -> Path:
    """Write a cell's folder below a root, with predictions, of all of its test samples, where any are given."""
    if matched:
        record.data["sizes"] = {"test": len(matched)}
    folder = CellFolder(root / record.cell_id)
    folder.write_result(record)
    if matched:
        folder.write_predictions(predictions(matched))
    return folder.path


def study(root: Path, *records: Any) -> Path:
    """Write cells, each a record or a pair of it and its matches."""
    for one in records:
        if isinstance(one, tuple):
            write(root, *one)
        else:
            write(root, one)
    return root
