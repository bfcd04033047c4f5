"""The record of the processes that ran a cell, and what each of them could use of the memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

MAX_ATTEMPTS = 50
"""Attempts that a record keeps. A cell on a preemptible machine may have many."""


@dataclass(frozen=True)
class Restriction:
    """What a cell may use at most after an attempt that ran out of memory.

    Attributes:
        micro_batch_size: samples of a forward pass; None for no limit. Accumulation keeps the samples of a step.
        gradient_checkpointing: recompute activations, even if the settings do not ask for it.
        prompts_at_once: prompts of a batch in generation; None for no limit.
    """

    micro_batch_size: int | None = None
    gradient_checkpointing: bool = False
    prompts_at_once: int | None = None


@dataclass
class Attempt:
    """One process that ran the cell.

    Attributes:
        status: how it ended, a value of `Status`.
        reason: why it did not succeed; None if it did.
        phase: the last phase that it reached; None before the first.
        killed: whether another process had to record the end.
        restriction: what it could use at most.
        micro_batch_size: samples of a forward pass; None if nothing was trained yet.
        gradient_accumulation: forward passes of an optimizer step.
        gradient_checkpointing: whether activations were recomputed.
        prompts_at_once: most prompts of a batch in generation.
        memory: bytes when it ended: "peak_bytes" of the largest phase, and "limit_bytes" of the device or, on a CPU, of
            the process and its control group. An unknown value is absent.
        started_at: start, UTC, ISO 8601.
        finished_at: end, UTC, ISO 8601.
    """

    status: str = "running"
    reason: str | None = None
    phase: str | None = None
    killed: bool = False
    restriction: Restriction = field(default_factory=Restriction)
    micro_batch_size: int | None = None
    gradient_accumulation: int | None = None
    gradient_checkpointing: bool | None = None
    prompts_at_once: int | None = None
    memory: dict[str, int] = field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def division(self) -> str:
        """How the phase that the attempt ended in used the memory, for messages; empty if it was not recorded."""
        if self.phase == "train" and self.micro_batch_size is not None:
            return f"micro-batch {self.micro_batch_size}" + (", recomputing" if self.gradient_checkpointing else "")
        if self.phase == "generate" and self.prompts_at_once is not None:
            return f"{self.prompts_at_once} prompts at once"
        return ""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read an attempt. Unknown fields are ignored."""
        attempt = cls(**_known(cls, record))
        if isinstance(attempt.restriction, Mapping):
            attempt.restriction = Restriction(**_known(Restriction, attempt.restriction))
        return attempt


def _known(record_class: type, record: Mapping[str, Any]) -> dict[str, Any]:
    names = {spec.name for spec in fields(record_class)}
    return {name: value for name, value in record.items() if name in names}
