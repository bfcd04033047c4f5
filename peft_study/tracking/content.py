"""What trackers store of a cell besides numbers: its config without private values, predictions, and files."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_study.config.schema import Artifacts
from peft_study.config.sources import is_on_this_machine, is_written_as_path
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult
from peft_study.results.store import METRICS, PREDICTIONS, RESULT, USAGE, CellFolder

GROUPS = ("model", "method", "dataset", "quantization", "training", "generation", "conventions", "scoring", "hardware")
"""Groups of a config that dashboards show. `tracking` holds names of accounts."""
PATHS = {"dataset": {"path"}, "model": {"source", "tokenizer", "retriever"}, "method": {"retriever"}}
"""Settings that may name a place on this machine. The data's fingerprint says what was read."""
WEIGHTS = ("adapter", "model")
"""Folders of trained weights in a cell's folder."""
TABLE_COLUMNS = ("id", "prompt", "reference", "candidate", "matched", "verdicts")
CHARACTERS_AT_MOST = 2_000
"""Of a text in a table. A prompt with examples may have many thousands."""


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a composed config that dashboards show, as nested groups, with secrets redacted."""
    public: dict[str, Any] = {"seed": config.get("seed"), "study": {"name": (config.get("study") or {}).get("name")}}
    for group in GROUPS:
        settings = config.get(group)
        if isinstance(settings, Mapping):
            paths = PATHS.get(group, ())
            public[group] = {name: value for name, value in settings.items() if name not in paths or _is_name(value)}
    redacted: dict[str, Any] = redact(public)
    return redacted


def _is_name(value: Any) -> bool:
    """Whether a value names weights or data without a place: None, or a name of the hub or the package."""
    return value is None or (not is_written_as_path(str(value)) and not is_on_this_machine(str(value)))


def prediction_rows(folder: Path, limit: int) -> list[list[str]]:
    """Return the first predictions of a cell as rows of `TABLE_COLUMNS`.

    Args:
        folder: the cell's folder.
        limit: rows at most; 0 for no table.
    """
    if not limit:
        return []
    rows = []
    try:
        predictions = CellFolder(folder).read_predictions()[:limit]
    except (OSError, ValueError):
        return []
    for prediction in predictions:
        verdicts = "; ".join(
            f"{comparator}: {', '.join(verdict_rows[0])}"
            for comparator, verdict_rows in prediction.verdicts.items()
            if verdict_rows
        )
        texts = [prediction.id, prediction.prompt, prediction.reference, prediction.candidates[0]]
        matched = "yes" if prediction.matched and prediction.matched[0] else "no"
        rows.append([*(str(redact(text))[:CHARACTERS_AT_MOST] for text in texts), matched, verdicts])
    return rows


@dataclass(frozen=True)
class Artifact:
    """Files of a cell that belong together.

    Attributes:
        name: "results" or "weights".
        files: the files, by their path inside the cell's folder.
        digest: SHA-256 of names and contents: equal for equal files, also of different cells.
        lineage: what the files were made from, and by which cell.
    """

    name: str
    files: Mapping[str, Path]
    digest: str
    lineage: Mapping[str, Any]


def artifacts_of(result: RunResult, folder: Path, choice: Artifacts) -> Iterator[Artifact]:
    """Yield the artifacts that a setting names, as far as the cell has their files.

    Args:
        result: the cell's record.
        folder: the cell's folder.
        choice: `tracking.artifacts`.
    """
    if choice is Artifacts.none:
        return
    lineage = _lineage(result)
    weights: dict[str, Path] = {}
    if choice is Artifacts.adapter:
        weights = _files(folder, *(file for name in WEIGHTS for file in sorted((folder / name).glob("*"))))
    if weights:
        artifact = Artifact("weights", weights, _digest(weights), lineage)
        yield artifact
        lineage = lineage | {"weights_digest": artifact.digest}
    results = _files(folder, *(folder / name for name in (RESULT, PREDICTIONS, METRICS, USAGE)))
    if results:
        yield Artifact("results", results, _digest(results), lineage)


def _files(folder: Path, *files: Path) -> dict[str, Path]:
    return {str(file.relative_to(folder)): file for file in files if file.is_file()}


def _lineage(result: RunResult) -> dict[str, Any]:
    model, dataset = result.config.get("model") or {}, result.config.get("dataset") or {}
    named = {
        "cell": result.cell_id,
        "study": result.study,
        "base_model": model.get("hub_id") or model.get("name"),
        "base_revision": result.provenance.get("model_commit") or model.get("revision"),
        "dataset": dataset.get("name"),
        "data_fingerprint": result.data.get("fingerprint"),
        "commit": result.provenance.get("commit"),
        "best_step": result.training.get("best_step"),
    }
    return {name: value for name, value in named.items() if value is not None}


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        with file.open("rb") as content:
            digest.update(f"{name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
