"""Cells' folders as a study leaves them, for tests of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_study.results.schema import MemoryKind, PhaseCost, RunResult, Status
from peft_study.results.store import CellFolder, Prediction

HOSTILE = '</script><img src=x onerror="window.hacked=1"><svg onload="window.hacked=1">'
"""What a model, a name or a log may hold."""


def write_cell(
    study: Path,
    method: str = "lora",
    seed: int = 1,
    *,
    model: str = "tiny-llama",
    dataset: str = "minipy",
    em: float | None = 0.5,
    status: Status = Status.ok,
    reason: str | None = None,
    metrics: Mapping[str, float] | None = None,
    predictions: Sequence[Prediction] = (),
    cell_id: str | None = None,
    **settings: Any,
) -> Path:
    """Write a cell's result.json and predictions.jsonl.

    Args:
        study: the folder that gets the cell's.
        em: EM@1; EM@10 is a tenth above it.
        settings: further keys of the method.
    """
    name = cell_id or f"{model}_{method}_{dataset}_s{seed}"
    folder = CellFolder(study / f"cell-{len(list(study.glob('cell-*')))}")
    scores: dict[str, float | None] = {} if em is None else {"em@1": em, "em@10": min(1.0, em + 0.1)}
    intervals = {} if em is None else {"em@1": [max(0.0, em - 0.05), min(1.0, em + 0.05)]}
    folder.write_result(
        RunResult(
            cell_id=name,
            study=study.name,
            status=status,
            reason=reason,
            config={
                "seed": seed,
                "model": {"name": model, "family": "llama", "size_class": "slm"},
                "method": {"name": method, "kind": "adapter", "num_examples": 0, "learning_rate": 3e-4, **settings},
                "quantization": {"name": "none"},
                "dataset": {"name": dataset},
                "training": {"epochs": 5.0},
                "generation": {},
            },
            metrics={**scores, **(metrics or {})},
            intervals=intervals,
            parameters={"total": 1_547_680, "trainable": 61_440},
            data={"sizes": {"test": max(1, len(predictions))}, "fingerprint": f"{dataset}-fingerprint"},
            phases={
                "train": PhaseCost(100.0 + seed, 650_000_000, None),
                "generate": PhaseCost(30.0, 860_000_000, None),
            },
            memory_kind=MemoryKind.cpu_peak_rss,
            provenance={"device": "cpu", "precision": "fp32", "commit": "0123456789abcdef", "dirty": False},
            started_at="2026-01-01T00:00:00+00:00",
            finished_at="2026-01-01T00:03:00+00:00",
        )
    )
    if predictions:
        folder.write_predictions(predictions)
    return folder.path


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
