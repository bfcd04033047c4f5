"""One cell to W&B's server: ask what it has, send the rest, and ask again."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft_study.cli.sync.pending import PendingCell
from peft_study.cli.sync.remote import RemoteRun, differing, read_remote, stored_digests
from peft_study.cli.sync.replay import replay
from peft_study.config.schema.tracking import TrackingConfig, WandbMode
from peft_study.tracking.content import artifacts_of
from peft_study.tracking.names import summary_values
from peft_study.tracking.wandb import WandbTracker
from peft_study.tracking.wandb_run.files import TABLE_TYPE, artifact_name, table_name
from peft_study.tracking.wandb_run.identity import run_id
from peft_study.tracking.wandb_run.service import load_wandb, stop_service

PAUSES_SECONDS = (1.0, 5.0)
"""Before the second attempt and the third, which is the last."""


class NotArrivedError(Exception):
    """The server does not have what was sent."""


@dataclass(frozen=True)
class Sent:
    """The run of a cell that was sent.

    Attributes:
        path: entity/project/id.
        complete_before: the server had the run already.
        surplus: rows of the server that the record does not have.
    """

    path: str
    complete_before: bool = False
    surplus: int = 0


class Sender:
    """Sends cells.

    Args:
        timeout_seconds: how long to wait for a run's start, for its upload, and for each question.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._api: Any = None

    def send(self, cell: PendingCell) -> Sent:
        """Send what the server does not have. After an error, ask again and send the rest.

        Raises:
            Exception: what the last attempt failed with.
        """
        for pause in PAUSES_SECONDS:
            try:
                return self._attempt(cell)
            except (Exception, SystemExit):  # W&B's login may exit the process
                time.sleep(pause)
        return self._attempt(cell)

    def _attempt(self, cell: PendingCell) -> Sent:
        if self._api is None:
            self._api = load_wandb().Api(timeout=self._timeout_seconds)
        entity = cell.entity or str(self._api.default_entity)
        path = f"{entity}/{cell.project}/{run_id(cell.start)}"
        before = read_remote(self._api, path)
        if before is not None and not self._lacks(cell, before, path):
            return Sent(path, complete_before=True, surplus=max(before.rows - cell.rows, 0))
        self._write(replace(cell, entity=entity))
        after = self._await_rest(cell, path)
        return Sent(path, surplus=max(after.rows - cell.rows, 0))

    def _await_rest(self, cell: PendingCell, path: str) -> RemoteRun:
        """Read the run until it has everything, because a server may store it later than it answers."""
        lacks = "the run"
        for pause in (0.0, *PAUSES_SECONDS):
            time.sleep(pause)
            remote = read_remote(self._api, path)
            if remote is not None and not (lacks := self._lacks(cell, remote, path)):
                return remote
        raise NotArrivedError(f"W&B does not have {lacks} after it was sent")

    def _lacks(self, cell: PendingCell, remote: RemoteRun, path: str) -> str:
        """Say what of a cell's record the server does not have; an empty text if it has everything."""
        if remote.rows < cell.rows:
            return f"{cell.rows - remote.rows} of {cell.rows} rows"
        if names := differing(summary_values(cell.result), remote.summary):
            return f"{', '.join(names[:3])} of the summary"
        place, _, run = path.rpartition("/")
        if cell.has_table and not stored_digests(self._api, place, TABLE_TYPE, table_name(run)):
            return "the table of predictions"
        for artifact in artifacts_of(cell.result, cell.folder, cell.artifacts):
            name = artifact_name(artifact.name, cell.result.cell_id)
            if artifact.digest not in stored_digests(self._api, place, artifact.name, name):
                return f"the artifact {name}"
        return ""

    def _write(self, cell: PendingCell) -> None:
        # The cell's own files of W&B stay as they are.
        with tempfile.TemporaryDirectory(prefix="peft-study-sync-") as folder:
            tracker = WandbTracker(
                TrackingConfig(
                    project=cell.project,
                    entity=cell.entity,
                    mode=WandbMode.online,
                    predictions=cell.predictions,
                    artifacts=cell.artifacts,
                ),
                Path(folder),
                init_timeout_seconds=self._timeout_seconds,
                store_timeout_seconds=self._timeout_seconds,
                finish_timeout_seconds=self._timeout_seconds,
                offline_if_unreachable=False,
            )
            try:
                replay(tracker, cell.start, cell.steps, cell.usages, cell.result)
            except BaseException:
                # What W&B's process still holds would arrive later, beside what the next attempt sends.
                stop_service()
                self._api = None
                raise
