"""The versioned record of one cell. An unknown is None, and so is a number that is not finite, with a reason."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

# 1: first version.
SCHEMA_VERSION = 1


class Status(StrEnum):
    """How a cell ended."""

    ok = "ok"
    failed = "failed"
    oom = "oom"
    diverged = "diverged"
    infeasible = "infeasible"
    preempted = "preempted"
    running = "running"


class MemoryKind(StrEnum):
    """What a memory peak means."""

    cpu_peak_rss = "cpu_peak_rss"
    cuda_allocated = "cuda_allocated"


@dataclass(frozen=True)
class PhaseCost:
    """Cost of one phase.

    Attributes:
        seconds: wall clock.
        peak_bytes: peak memory of the kind that the result names; None where it cannot be measured.
        reserved_bytes: on a GPU, what torch's allocator held at its peak.
    """

    seconds: float
    peak_bytes: int | None
    reserved_bytes: int | None

    def after(self, earlier: Self) -> Self:
        """The cost of a phase that was interrupted and gone on with: seconds add up, the larger peak counts."""
        return replace(
            self,
            seconds=self.seconds + earlier.seconds,
            peak_bytes=_larger(self.peak_bytes, earlier.peak_bytes),
            reserved_bytes=_larger(self.reserved_bytes, earlier.reserved_bytes),
        )


def _larger(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


@dataclass
class RunResult:
    """One cell's result.json.

    Attributes:
        cell_id: readable name with the settings' hash.
        study: the study's name.
        status: how the cell ended; "running" in the file of a dead process means that it was killed.
        reason: why it did not end well.
        config: the composed config.
        metrics: "em@1", "codebleu", "pass@1" and so on, shares from 0 to 1; None where undefined.
        intervals: the two ends of the 95 % interval of each metric that is a mean over samples.
        execution: how programs were contained when they were run, and how many; empty where none was.
        parameters: "total" and "trainable".
        training: steps, best step, losses in nats a token, the step an interrupted run went on from; empty where
            nothing is trained.
        predicted: peak bytes before the run, as a whole and by phase, and how `training.memory` divided the batch and
            why; empty where the prediction is unknown.
        data: sizes, fingerprint, origin, leakage, lengths in tokens, truncation counts by split, and how many
            targets of each split the tokenizer cannot write ("changed_targets").
        phases: cost of "load", "train", "generate" and "score".
        memory_kind: what the peaks in `phases` mean.
        provenance: versions, commit, device, seeds.
        started_at: UTC, ISO 8601.
        finished_at: likewise.
        schema_version: of this record.
    """

    cell_id: str
    study: str
    status: Status
    reason: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    training: dict[str, float | int | None] = field(default_factory=dict)
    predicted: dict[str, int | str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, PhaseCost] = field(default_factory=dict)
    memory_kind: MemoryKind | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain containers for JSON; numbers that are not finite become None and are named under "not_finite"."""
        lost: list[str] = []
        record = _finite(asdict(self), "", lost)
        assert isinstance(record, dict)
        if lost:
            record["not_finite"] = lost
        return record

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read a record of this version or an older one; fields that it does not know are passed over.

        Raises:
            NewerSchemaError: the record was written by a later version.
            ValueError: the record is none.
        """
        if not isinstance(record, dict):
            raise ValueError(f"it holds a {type(record).__name__}")
        version = record.get("schema_version")
        if not isinstance(version, int):
            raise ValueError("no schema_version")
        if version > SCHEMA_VERSION:
            raise NewerSchemaError(version)
        known = {spec.name for spec in fields(cls)}
        try:
            values = {key: value for key, value in record.items() if key in known}
            values["status"] = Status(values["status"])
            values["phases"] = {name: PhaseCost(**cost) for name, cost in (values.get("phases") or {}).items()}
            if values.get("memory_kind") is not None:
                values["memory_kind"] = MemoryKind(values["memory_kind"])
            for name in (
                "config",
                "metrics",
                "intervals",
                "execution",
                "predicted",
                "parameters",
                "training",
                "data",
                "provenance",
            ):
                if not isinstance(values.get(name, {}), dict):
                    raise ValueError(f"its {name} hold a {type(values[name]).__name__}")
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error


class NewerSchemaError(ValueError):
    """A result was written by a later version of this package."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"schema_version {version} is newer than {SCHEMA_VERSION}, which this version of peft_study reads"
        )


def finite(value: Any) -> Any:
    """Plain containers with None for every number that is not finite, as JSON has no name for those."""
    return _finite(value, "", [])


def _finite(value: Any, path: str, lost: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(path)
        return None
    if isinstance(value, dict):
        return {key: _finite(item, f"{path}.{key}".lstrip("."), lost) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{path}[{index}]", lost) for index, item in enumerate(value)]
    return value
