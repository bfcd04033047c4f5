"""What W&B's server has of a run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AXES = ("train/step",)
"""The x-axes of a run's history: each row has one of them."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RemoteRun:
    """A run as the server has it.

    Attributes:
        history: the logged rows, in the order of their arrival.
        rows: how many rows the server counts.
        summary: the final numbers.
    """

    history: Sequence[Row]
    rows: int
    summary: Mapping[str, Any]

    @property
    def is_readable(self) -> bool:
        """Whether every row that the server counts can be read."""
        return len(self.history) >= self.rows


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
        # wandb 0.31 has one class for "there is none" and "no answer".
        if "could not find run" in str(error).lower():
            return None
        raise
    rows = int(run.historyLineCount or 0)
    history = list(run.scan_history(use_cache=False)) if rows else []
    return RemoteRun(history, rows, dict(run.summary_metrics))


def missing_rows(rows: Iterable[Row], history: Iterable[Row]) -> list[Row]:
    """Return the rows that the server does not have.

    Several rows may have the same place on an axis, such as the loss and the validation loss of a step. They arrive in
    order, so the server has the first ones.

    Args:
        rows: lines of metrics.jsonl.
        history: the rows of the server.
    """
    # By place and not by content: a resumed cell repeats steps with other throughputs, and W&B writes NaN as a text.
    arrived = Counter(map(_place, history))
    missing = []
    for row in rows:
        place = _place_of_line(row)
        if arrived[place] > 0:
            arrived[place] -= 1
        else:
            missing.append(row)
    return missing


def surplus(rows: Iterable[Row], history: Iterable[Row]) -> int:
    """Return how many rows the server has beyond those of the record."""
    return (Counter(map(_place, history)) - Counter(map(_place_of_line, rows))).total()


def differing(summary: Mapping[str, Any], remote: Mapping[str, Any]) -> list[str]:
    """Return the names of the summary whose values the server does not have."""
    return [name for name, value in summary.items() if value is not None and remote.get(name) != value]


def _place(row: Row) -> tuple[str, Any] | None:
    return next(((axis, row[axis]) for axis in AXES if row.get(axis) is not None), None)


def _place_of_line(row: Row) -> tuple[str, Any]:
    return AXES[0], row["step"]
