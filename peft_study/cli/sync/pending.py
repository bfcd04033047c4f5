"""The cells below a folder that W&B may not have yet."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_study.config.schema.tracking import Artifacts
from peft_study.results.folders import Problem, cell_folders
from peft_study.results.schema import RunResult
from peft_study.results.store import METRICS, RESULT, USAGE, CellFolder, write_atomically
from peft_study.tracking.base import CellStart, Row
from peft_study.tracking.content import prediction_rows
from peft_study.tracking.names import history
from peft_study.tracking.wandb_run.identity import FOLDER, AgentRun

RECORD = (METRICS, USAGE, RESULT)
"""The files that a run is built from."""
SYNCED = "synced.json"
"""In the tracker's folder of a cell: what the server was seen to have."""


@dataclass(frozen=True)
class Target:
    """Where runs go.

    Attributes:
        address: W&B's server.
        entity: replaces the cells' entity; None keeps it.
        project: replaces the cells' project; None keeps it.
    """

    address: str
    entity: str | None = None
    project: str | None = None


@dataclass(frozen=True)
class PendingCell:
    """A cell to send.

    Attributes:
        folder: its folder.
        result: its record.
        start: its start as trackers see it.
        steps: the lines of metrics.jsonl.
        usages: the lines of usage.jsonl.
        entity: of its run; None for the account's default.
        project: of its run.
        predictions: rows of the run's table of predictions.
        artifacts: the files that the run stores.
        digest: of the files that the run is built from.
    """

    folder: Path
    result: RunResult
    start: CellStart
    steps: Sequence[Row]
    usages: Sequence[Row]
    entity: str | None
    project: str
    predictions: int
    artifacts: Artifacts
    digest: str

    @property
    def rows(self) -> int:
        """Rows of the run's history."""
        return sum(1 for _ in history(self.steps, self.usages))

    @property
    def has_table(self) -> bool:
        """Whether the run shows predictions."""
        return self.predictions > 0 and bool(prediction_rows(self.folder, 1))

    def is_marked(self, target: Target) -> bool:
        """Return whether the server was seen to have the run as it is."""
        try:
            mark = json.loads(_mark_file(self.folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(mark == self._mark(target))

    def mark(self, target: Target) -> None:
        """Record that the server has the run."""
        file = _mark_file(self.folder)
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, json.dumps(self._mark(target)) + "\n")

    def _mark(self, target: Target) -> dict[str, Any]:
        return {"server": target.address, "entity": self.entity, "project": self.project, "record": self.digest}


@dataclass(frozen=True)
class Cells:
    """The cells below a folder.

    Attributes:
        pending: folders of the cells to send, in the order of their paths.
        marked: how many are marked as sent.
        untracked: how many ran without W&B and are left out.
        problems: what cannot be read.
    """

    pending: Sequence[Path]
    marked: int
    untracked: int
    problems: Sequence[Problem]


def find_cells(root: Path, target: Target, *, untracked: bool) -> Cells:
    """Find the cells that the server was not seen to have.

    Args:
        root: a cell's folder, or one above.
        target: where the runs go.
        untracked: also cells that ran without W&B.

    Returns:
        what is there.
    """
    problems: list[Problem] = []
    pending, marked, left_out = [], 0, 0
    for folder in cell_folders(root, problems):
        try:
            cell = read_cell(folder, target)
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(str(folder / RESULT), str(error)))
            continue
        if not untracked and not is_tracked(cell.result.config):
            left_out += 1
        elif cell.is_marked(target):
            marked += 1
        else:
            pending.append(folder)
    return Cells(pending, marked, left_out, problems)


def read_cell(folder: Path, target: Target) -> PendingCell:
    """Read a cell's record.

    Raises:
        ValueError: result.json is not a result, or its settings were edited.
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for name in RECORD:
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        digest.update(f"{name} {len(content)}\n".encode() + content)
    store = CellFolder(folder)
    result = store.read_result()
    if result is None:
        raise ValueError(f"no {RESULT}")
    settings = _tracking_settings(result.config)
    agent_run = AgentRun.read(folder)
    if agent_run is not None:
        settings = settings | {"entity": agent_run.entity, "project": agent_run.project}
    return PendingCell(
        folder=folder,
        result=result,
        start=_start_of(result, folder),
        steps=[row for row in store.read_steps() if isinstance(row.get("step"), int)],
        usages=[row for row in store.read_usage() if "seconds" in row],
        entity=target.entity or settings.get("entity"),
        project=target.project or settings.get("project") or "peft-study",
        predictions=settings.get("predictions") or 0,
        artifacts=Artifacts(settings.get("artifacts") or Artifacts.none),
        digest=digest.hexdigest(),
    )


def _start_of(result: RunResult, folder: Path) -> CellStart:
    try:
        return CellStart.of_result(result, folder, resumed=True)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"config has a value of another type: {error}") from error


def is_tracked(config: Mapping[str, Any]) -> bool:
    """Return whether a cell ran with W&B."""
    tracking_settings = config.get("tracking") or {}
    # Results of earlier versions have one tracker, named by `kind`.
    return "wandb" in (tracking_settings.get("trackers") or {}) or tracking_settings.get("kind") == "wandb"


def _tracking_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = config.get("tracking") or {}
    if not isinstance(settings, dict) or not isinstance(settings.get("trackers") or {}, dict):
        raise ValueError(f"config.tracking and its trackers must be mappings, got {json.dumps(settings)[:100]}")
    for name, kind, words in (("entity", str, "text"), ("project", str, "text"), ("predictions", int, "an integer")):
        if not isinstance(settings.get(name) or kind(), kind):
            raise ValueError(f"config.tracking.{name} must be {words}, got {json.dumps(settings[name])[:100]}")
    if (artifacts := settings.get("artifacts") or Artifacts.none) not in list(Artifacts):
        names = ", ".join(Artifacts)
        raise ValueError(f"config.tracking.artifacts must be one of {names}, got {json.dumps(artifacts)[:100]}")
    return settings


def _mark_file(folder: Path) -> Path:
    return folder / FOLDER / SYNCED
