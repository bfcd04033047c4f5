"""What W&B's server has of a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft_study.console.redaction import redact
from peft_study.tracking.wandb_run.files import DIGEST


@dataclass(frozen=True)
class RemoteRun:
    """A run as the server has it.

    Attributes:
        rows: rows of its history.
        summary: its final values.
    """

    rows: int
    summary: Mapping[str, Any]


def read_remote(api: Any, path: str) -> RemoteRun | None:
    """Ask the server for a run.

    Args:
        api: a `wandb.Api`.
        path: entity/project/id.

    Returns:
        None if the server has no such run.

    Raises:
        Exception: an error of W&B's client if the server does not answer.
    """
    import wandb

    api.flush()  # `Api.run` keeps the runs that it has read
    try:
        run = api.run(path)
    except (ValueError, wandb.errors.CommError) as error:
        # wandb 0.31 has one class for a run that does not exist and for a server that does not answer.
        if "could not find run" in str(error).lower():
            return None
        raise
    return RemoteRun(int(run.historyLineCount or 0), dict(run.summary_metrics))


def stored_digests(api: Any, place: str, kind: str, name: str) -> set[str | None]:
    """Ask the server for the versions of an artifact, and return the digests in their metadata.

    Args:
        api: a `wandb.Api`.
        place: entity/project.
        kind: the artifact's type.
        name: the artifact's name.

    Raises:
        Exception: an error of W&B's client if the server does not answer.
    """
    try:
        return {version.metadata.get(DIGEST) for version in api.artifacts(kind, f"{place}/{name}")}
    # wandb's answer to an artifact or a type that does not exist.
    except ValueError:
        return set()


def differing(summary: Mapping[str, Any], remote: Mapping[str, Any]) -> list[str]:
    """Return the names of a summary whose values the server does not have."""
    # Tuples and enums arrive as lists and texts, and secrets do not arrive.
    sent = json.loads(json.dumps(redact(summary)))
    return [name for name, value in sent.items() if value is not None and remote.get(name) != value]
