"""Flattens the record of a cell into a row whose values have the types of its columns, whatever the record holds."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from peft_study.config.conventions import label
from peft_study.config.examples import labelled_method
from peft_study.config.identity import settings_key
from peft_study.metrics.intervals import recorded_interval
from peft_study.results.schema import PHASES, RunResult

Row = dict[str, Any]

TEXTS = (
    *("cell_id", "study", "folder", "status", "reason", "model", "family", "size_class", "method", "kind"),
    *("quantization", "dataset", "memory_kind", "device", "precision", "data_fingerprint", "execution_level"),
    *("commit", "started_at", "finished_at", "settings", "source"),
)
"""Columns of texts; None if unknown."""
FLAGS = ("sampled", "dirty")
"""Columns of True, False, or None if unknown."""
MAPPINGS = ("token_lengths",)
"""Columns of mappings; None if unknown."""
COLUMNS = (
    *("cell_id", "study", "folder", "status", "reason", "model", "family", "size_class", "method", "kind"),
    *("quantization", "dataset", "num_examples", "seed", "sampled", "test_samples"),
    *("trainable_parameters", "total_parameters", "learning_rate", "epochs", "best_validation_loss"),
    *("load_seconds", "train_seconds", "generate_seconds", "score_seconds"),
    *("train_peak_bytes", "generate_peak_bytes", "peak_bytes", "predicted_peak_bytes", "memory_kind"),
    *("device", "device_bytes"),
    *("train_tokens_per_second", "generate_tokens_per_second", "train_flop_utilization"),
    *("train_reserved_bytes", "generate_reserved_bytes", "train_process_bytes", "generate_process_bytes"),
    *("train_energy_wh", "generate_energy_wh", "saved_bytes"),
    *("precision", "data_fingerprint", "leakage_share", "token_lengths", "execution_level", "commit", "dirty"),
    *("started_at", "finished_at", "schema_version", "settings", "source"),
)
"""Every column except the metrics, in order. Those without another type are numbers: floats, NaN if unknown."""
# Tests square variances, so the fourth power must stay below the largest float, 1.8e308.
_LARGEST = 1e60


def row_of(result: RunResult, folder: str | None, source: str) -> Row:
    """Flatten the record of a cell.

    Args:
        result: the record.
        folder: the cell's folder; None if its files are not on this machine.
        source: what the user named.

    Returns:
        A value for each of `COLUMNS` and for every metric; NAME_low and NAME_high if the record has an interval.
    """
    phases = {name: result.phases[name] for name in PHASES if name in result.phases}
    peaks = {name: number(phases[name].peak_bytes) for name in ("train", "generate") if name in phases}
    provenance, data = result.provenance, result.data
    # Every column first, so that the order of columns does not depend on what a record holds.
    row: Row = dict.fromkeys(COLUMNS) | _settings(result.config)
    row |= {
        "cell_id": _whole(str(result.cell_id)),
        "study": text(result.study),
        "folder": folder,
        "status": str(result.status),
        "reason": text(result.reason),
        "test_samples": number(_mapping(data.get("sizes")).get("test")),
        "trainable_parameters": number(result.parameters.get("trainable")),
        "total_parameters": number(result.parameters.get("total")),
        "best_validation_loss": number(result.training.get("best_validation_loss")),
        "saved_bytes": number(result.training.get("saved_bytes")),
        "train_peak_bytes": peaks.get("train"),
        "generate_peak_bytes": peaks.get("generate"),
        "peak_bytes": max((peak for peak in peaks.values() if peak is not None), default=None),
        "predicted_peak_bytes": number(result.predicted.get("peak_bytes")),
        "token_lengths": _mapping(data.get("token_lengths")) or None,
        "memory_kind": None if result.memory_kind is None else str(result.memory_kind),
        "device": text(provenance.get("device")),
        "device_bytes": number(provenance.get("device_bytes")),
        "precision": text(provenance.get("precision")),
        "data_fingerprint": text(data.get("fingerprint")),
        "leakage_share": number(_mapping(_mapping(data.get("leakage")).get("similar_instruction")).get("share")),
        "execution_level": text(result.execution.get("level")),
        "commit": text(provenance.get("commit")),
        "dirty": provenance.get("dirty") if isinstance(provenance.get("dirty"), bool) else None,
        "started_at": text(result.started_at),
        "finished_at": text(result.finished_at),
        "schema_version": float(result.schema_version),
        "source": source,
    }
    row |= {f"{name}_seconds": number(cost.seconds) for name, cost in phases.items()}
    for phase, measure in product(peaks, ("reserved_bytes", "process_bytes", "energy_wh")):
        row[f"{phase}_{measure}"] = number(getattr(phases[phase], measure))
    row |= {name: number(rate) for name, rate in result.rates().items()}
    return row | _metrics(result.metrics, result.intervals, row["test_samples"])


def _settings(config: Mapping[str, Any]) -> Row:
    model, method = _mapping(config.get("model")), _mapping(config.get("method"))
    return {
        "model": text(model.get("name")),
        "family": text(model.get("family")),
        "size_class": text(model.get("size_class")),
        "method": _method(config),
        "kind": text(method.get("kind")),
        "quantization": text(_mapping(config.get("quantization")).get("name")),
        "dataset": text(_mapping(config.get("dataset")).get("name")),
        "num_examples": number(method.get("num_examples")),
        "seed": number(config.get("seed")),
        # Without a config it is unknown whether a cell sampled; False would call it deterministic.
        "sampled": _mapping(config.get("generation")).get("temperature") is not None if config else None,
        "learning_rate": number(method.get("learning_rate")),
        "epochs": number(_mapping(config.get("training")).get("epochs")),
        "settings": settings_key(config),
    }


def _method(config: Mapping[str, Any]) -> str | None:
    """Return the method's name, with what is unusual in its examples and conventions that are not the paper's."""
    # Left padding alone changes scores many times over (docs/differences.md), so conventions make a separate method.
    name = text(labelled_method(config))
    conventions = label(_mapping(config.get("conventions")))
    return name if name is None or conventions is None else f"{name} [{_whole(conventions)}]"


def _metrics(metrics: Mapping[str, Any], intervals: Mapping[str, Any], samples: float | None) -> Row:
    """Return the columns of the scores. A metric with the name of another column is left out."""
    row: Row = {_whole(name): number(value) for name, value in metrics.items() if name not in COLUMNS}
    for name, score in list(row.items()):
        ends = recorded_interval(name, score, _ends(intervals.get(name)), samples)
        if ends is not None:
            row[f"{name}_low"], row[f"{name}_high"] = ends
    return row


def _ends(value: Any) -> tuple[float, float] | None:
    ends = [number(end) for end in value] if isinstance(value, list | tuple) else []
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str | None:
    """Return a plain value as text that any file can hold; None for None, a list or a mapping."""
    return None if value is None or isinstance(value, dict | list) else _whole(str(value))


def _whole(name: str) -> str:
    # pandas and UTF-8 refuse half a surrogate pair.
    return name.encode("utf-8", "replace").decode()


def number(value: Any) -> float | None:
    """Return a number as a float; None for anything else, such as a number that no cell can have measured."""
    # A bool is an int in Python, but "true" in a record is not the number 1.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # An integer is compared as it is, because JSON's integers have no limit and a float ends at 1.8e308.
    return float(value) if abs(value) < _LARGEST else None
