"""Who runs a cell: a file with a heartbeat in the folder of the cell. `holding.py` writes it."""

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

LEASE = "lease.json"
BEAT_SECONDS = 10.0
"""How often the holder writes the time."""
STALE_SECONDS = 120.0
"""How long a lease stays unchanged before it is stale: long, because native code can keep a thread from running."""


@dataclass(frozen=True)
class Lease:
    """The record in lease.json.

    Attributes:
        host: name of the machine.
        process: process id.
        job: job of Slurm, such as "18_1", or of Ray; None outside of both.
        acquired_at: start of the run, UTC, ISO 8601.
        beat_at: the last heartbeat, UTC, ISO 8601.
        boot: names this start of the machine's kernel; None if the system does not tell.
        token: a random text that no other run has.
    """

    host: str
    process: int
    job: str | None
    acquired_at: str
    beat_at: str
    boot: str | None = None
    token: str = ""

    @classmethod
    def of_this_process(cls) -> Self:
        """Return a lease that this process acquires now."""
        time = now()
        return cls(socket.gethostname(), os.getpid(), job_id(os.environ), time, time, _boot(), secrets.token_hex(8))

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read a record. Unknown fields are ignored.

        Raises:
            ValueError: the record is not a lease.
        """
        names = {spec.name for spec in fields(cls)}
        try:
            lease = cls(**{name: value for name, value in record.items() if name in names})
            datetime.fromisoformat(lease.beat_at)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a lease: {error}") from error
        return lease

    @property
    def age_seconds(self) -> float:
        """Seconds since the last heartbeat, by the clocks of both machines; negative if they differ."""
        beat = datetime.fromisoformat(self.beat_at)
        return (datetime.now(UTC) - (beat if beat.tzinfo else beat.replace(tzinfo=UTC))).total_seconds()

    @property
    def holder(self) -> str:
        """The process as a message names it."""
        return f"process {self.process} on {self.host}" + (f", job {self.job}" if self.job else "")

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the kernel that runs this process also ran the holder."""
        # Containers of one machine have different names and the same kernel, whose locks they share.
        return self.boot == _boot() if self.boot is not None else self.host == socket.gethostname()


def read_lease(folder: Path) -> Lease | None:
    """Read the lease of a cell.

    Args:
        folder: the cell's folder.

    Returns:
        None if no process holds the cell, or if the file is not a lease. A killed process leaves its lease behind.
    """
    return parse(read_bytes(folder))


def job_id(environment: Mapping[str, str]) -> str | None:
    """Return the job of the scheduler that started this process; None if none did.

    Args:
        environment: the variables of the process.
    """
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    return environment.get("SLURM_JOB_ID") or environment.get("RAY_JOB_ID") or None


def read_bytes(folder: Path) -> bytes | None:
    """Return the content of a cell's lease.json; None if the file does not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return (folder / LEASE).read_bytes()
    return None


def parse(content: bytes | None) -> Lease | None:
    """Return the lease that a file holds; None if it holds no lease."""
    with contextlib.suppress(ValueError):
        return None if content is None else Lease.from_json(json.loads(content))
    return None


def now() -> str:
    """Return the time, UTC, ISO 8601, in milliseconds."""
    # Of fixed width, because a heartbeat is written over the last one.
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
def _boot() -> str | None:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None
