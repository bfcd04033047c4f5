"""The versioned record of one cell. An unknown value is None. So is a number that is not finite, which is listed."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self, TypeVar

from peft_study.console.redaction import redact_message
from peft_study.results.attempts import Attempt

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
    # Written before any work and replaced at the end, so that a status is never guessed: a killed cell keeps it.
    running = "running"


PHASES = ("load", "train", "generate", "score")
FAILURES = frozenset({Status.failed, Status.oom, Status.diverged})
"""Statuses of cells that ended by an error of their own, and not by an interrupt or a refusal."""


class MemoryKind(StrEnum):
    """How a memory peak was measured."""

    cpu_peak_rss = "cpu_peak_rss"
    cuda_allocated = "cuda_allocated"


@dataclass(frozen=True)
class Work:
    """Tokens that a phase processed, in the seconds that this took.

    Attributes:
        tokens: real tokens in training, without padding and virtual tokens; tokens of the candidates in generation.
        seconds: seconds of the training steps, without evaluations and checkpoints, or of the generated batches.
        flops: model FLOPs of training (`peft_study/cost/flops.py`); 0 in generation.
    """

    tokens: int = 0
    seconds: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            tokens=self.tokens + other.tokens,
            seconds=self.seconds + other.seconds,
            flops=self.flops + other.flops,
        )


@dataclass(frozen=True)
class PhaseCost:
    """Cost of one phase. Results of earlier versions have the first three values only.

    Attributes:
        seconds: wall-clock time.
        peak_bytes: peak memory of the kind that the result names; None if it cannot be measured.
        reserved_bytes: on a GPU, the peak of what torch's allocator reserved; None elsewhere.
        process_bytes: on a GPU, the most that NVML reported for this process, with CUDA's context, when costs were
            recorded; None elsewhere, and if NVML does not report it.
        energy_wh: energy of the whole card by NVML, other processes on it included, in Wh; None if it is not counted.
        tokens: see `Work`; None for a phase without tokens.
        token_seconds: the seconds of these tokens.
        flops: their model FLOPs; None for a phase other than training.
    """

    seconds: float
    peak_bytes: int | None
    reserved_bytes: int | None
    process_bytes: int | None = None
    energy_wh: float | None = None
    tokens: int | None = None
    token_seconds: float | None = None
    flops: float | None = None

    def after(self, earlier: Self) -> Self:
        """Return the cost of a phase that was resumed after an interrupt.

        Seconds, energy and tokens are added, and are unknown if they are in one part. The larger peak counts.
        """
        return replace(
            self,
            seconds=self.seconds + earlier.seconds,
            peak_bytes=_larger(self.peak_bytes, earlier.peak_bytes),
            reserved_bytes=_larger(self.reserved_bytes, earlier.reserved_bytes),
            process_bytes=_larger(self.process_bytes, earlier.process_bytes),
            energy_wh=_sum(self.energy_wh, earlier.energy_wh),
            tokens=_sum(self.tokens, earlier.tokens),
            token_seconds=_sum(self.token_seconds, earlier.token_seconds),
            flops=_sum(self.flops, earlier.flops),
        )

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second; None if unknown."""
        return _ratio(self.tokens, self.token_seconds)

    def utilization(self, peak_flops: float | None) -> float | None:
        """Return the model FLOPs a second as a share of the device's peak; None if unknown.

        Args:
            peak_flops: operations a second that the device can do at most; None if unknown.
        """
        return _ratio(_ratio(self.flops, self.token_seconds), peak_flops)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Read a cost. Unknown fields are ignored."""
        names = {spec.name for spec in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in names})


Number = TypeVar("Number", int, float)


def _larger(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _sum(first: Number | None, second: Number | None) -> Number | None:
    return None if first is None or second is None else first + second


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    # A record that was edited may hold anything.
    if not isinstance(numerator, int | float) or not isinstance(denominator, int | float) or not denominator:
        return None
    return numerator / denominator if numerator > 0 else None


@dataclass
class RunResult:
    """One cell's result.json.

    Attributes:
        cell_id: readable name with the hash of the settings.
        study: name of the study.
        status: how the cell ended. If the process is dead, "running" means that it was killed.
        reason: why the cell did not succeed; None if it did.
        config: the composed config.
        metrics: "em@1", "codebleu", "pass@1" and so on, shares from 0 to 1; None if undefined.
        intervals: the two ends of the 95 % interval of each metric that is a mean over samples.
        execution: how programs were contained, and how many ran; empty if none ran.
        parameters: "total" and "trainable".
        training: steps, best step, losses in nats per token, the step that an interrupted run resumed from, and
            "saved_bytes", the bytes on disk of `adapter/` or `model/`; empty if nothing is trained.
        decoding: "path" is "shared" if keys and values of a prompt were kept once for all candidates, else "copied"
            with the "reason"; tokens in common, the largest batch, halved batches, bytes of keys and values; empty
            before generation.
        predicted: predicted peak bytes in total and by phase, and how `training.memory` divided the batch and why;
            empty if there is no prediction.
        data: sizes, fingerprint, origin, leakage, lengths in tokens, truncation counts by split, and how many
            targets of each split the tokenizer cannot write ("changed_targets"). With examples, "examples" counts the
            test prompts whose instruction is also in the training split.
        phases: cost of "load", "train", "generate" and "score".
        memory_kind: how the peaks in `phases` were measured.
        provenance: versions, commit, device and "peak_flops", its operations a second at most, seeds.
        attempts: the processes that ran the cell since it last started over, see `Attempt`; empty in records of earlier
            versions.
        started_at: start of the last run, UTC, ISO 8601.
        finished_at: end of the last run, UTC, ISO 8601.
        schema_version: version of this record.
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
    decoding: dict[str, int | str | None] = field(default_factory=dict)
    predicted: dict[str, int | str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, PhaseCost] = field(default_factory=dict)
    memory_kind: MemoryKind | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    started_at: str | None = None
    finished_at: str | None = None
    schema_version: int = SCHEMA_VERSION

    def rates(self) -> dict[str, float | None]:
        """Return what follows from the costs and the device.

        Returns:
            "train_tokens_per_second", "generate_tokens_per_second" and "train_flop_utilization", a share of the
            device's peak; None if unknown.
        """
        train, generate = self.phases.get("train"), self.phases.get("generate")
        return {
            "train_tokens_per_second": train.tokens_per_second if train else None,
            "generate_tokens_per_second": generate.tokens_per_second if generate else None,
            "train_flop_utilization": train.utilization(self.provenance.get("peak_flops")) if train else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain containers for JSON, with `rates`.

        Numbers that are not finite become None and are listed in "not_finite".
        """
        lost: list[str] = []
        # Readers of the file want the rates. `from_json` computes them again.
        record = _finite(asdict(self) | {"rates": self.rates()}, "", lost)
        assert isinstance(record, dict)
        # A reason quotes settings, which may be addresses with a password.
        for ended in (record, *record["attempts"]):
            ended["reason"] = None if ended["reason"] is None else redact_message(ended["reason"])
        if lost:
            record["not_finite"] = lost
        return record

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read a record of this version or an older one. Unknown fields are ignored.

        Args:
            record: what JSON holds.

        Raises:
            NewerSchemaError: the record was written by a later version.
            ValueError: the record is not a result.
        """
        if not isinstance(record, dict):
            raise ValueError(f"the record must be a dict, got {type(record).__name__}")
        version = record.get("schema_version")
        if not isinstance(version, int):
            raise ValueError(f"schema_version must be an integer, got {version!r}")
        if version > SCHEMA_VERSION:
            raise NewerSchemaError(version)
        names = {spec.name for spec in fields(cls)}
        # The record may have been edited, or be another program's result.json: a report skips it with this message.
        try:
            values = {key: value for key, value in record.items() if key in names}
            values["status"] = Status(values["status"])
            values["phases"] = {name: PhaseCost.from_json(cost) for name, cost in (values.get("phases") or {}).items()}
            values["attempts"] = [Attempt.from_json(attempt) for attempt in values.get("attempts") or []]
            if values.get("memory_kind") is not None:
                values["memory_kind"] = MemoryKind(values["memory_kind"])
            for spec in fields(cls):
                if spec.default_factory is dict and not isinstance(values.get(spec.name, {}), dict):
                    raise ValueError(f"{spec.name} must be a dict, got {type(values[spec.name]).__name__}")
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
    """Copy plain containers with None for every number that is not finite, because JSON cannot represent those."""
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
