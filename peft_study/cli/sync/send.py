"""One cell to W&B's server: ask what it has, send the rest, and ask again."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft_study.cli.sync.pending import PendingCell
from peft_study.results.redaction import redact
from peft_study.tracking.replay import replay, start_of
from peft_study.tracking.summary import summary_of
from peft_study.tracking.wandb import WandbTracker, load_wandb, run_id
from peft_study.tracking.wandb_remote import RemoteRun, differing, missing_rows, read_remote, surplus
from peft_study.tracking.wandb_service import stop_service

PAUSES_SECONDS = (1.0, 5.0)
"""Before the second attempt and the third, which is the last."""


class NotArrivedError(Exception):
    """The server does not have what was sent."""


@dataclass(frozen=True)
class Sent:
    """What became of one cell.

    Attributes:
        path: entity/project/id.
        rows: rows that were sent.
        complete_before: the server had the run already.
        surplus: rows of the server that the record does not have.
    """

    path: str
    rows: int = 0
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
        for pause in (*PAUSES_SECONDS, None):
            try:
                return self._attempt(cell)
            except (Exception, SystemExit):  # W&B's login may exit the process
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, cell: PendingCell) -> Sent:
        if self._api is None:
            self._api = load_wandb().Api(timeout=self._timeout_seconds)
        entity = cell.entity or str(self._api.default_entity)
        path = f"{entity}/{cell.project}/{run_id(start_of(cell.result, cell.folder, resumed=False))}"
        remote = self._read(path)
        rows = missing_rows(cell.rows, remote.history if remote else ())
        if remote is not None and not _lacks(cell, remote):
            return Sent(path, complete_before=True, surplus=surplus(cell.rows, remote.history))
        self._write(replace(cell, entity=entity, rows=rows), resumed=remote is not None)
        remote = self._read(path)
        if remote is None or (lacks := _lacks(cell, remote)):
            raise NotArrivedError(f"W&B does not have {lacks if remote else 'the run'} after it was sent")
        return Sent(path, len(rows), surplus=surplus(cell.rows, remote.history))

    def _read(self, path: str) -> RemoteRun | None:
        remote = read_remote(self._api, path)
        for pause in PAUSES_SECONDS:
            if remote is None or remote.is_readable:
                return remote
            time.sleep(pause)
            remote = read_remote(self._api, path)
        if remote is not None and not remote.is_readable:
            # They would be sent twice.
            raise NotArrivedError(f"W&B counts {remote.rows} rows and returns {len(remote.history)}")
        return remote

    def _write(self, cell: PendingCell, *, resumed: bool) -> None:
        # The cell's own files of W&B stay as they are.
        with tempfile.TemporaryDirectory(prefix="peft-study-sync-") as folder:
            tracker = WandbTracker(
                cell.project,
                cell.entity,
                "online",
                Path(folder),
                init_timeout_seconds=self._timeout_seconds,
                finish_timeout_seconds=self._timeout_seconds,
                offline_if_unreachable=False,
            )
            try:
                replay(tracker, start_of(cell.result, Path(folder), resumed=resumed), cell.rows, cell.result)
            except BaseException:
                # What W&B's process still holds would arrive later, beside what the next attempt sends.
                stop_service()
                self._api = None
                raise


def _lacks(cell: PendingCell, remote: RemoteRun) -> str:
    """Say what of a cell's record the server does not have; an empty text if it has everything."""
    if rows := missing_rows(cell.rows, remote.history):
        return f"{len(rows)} of {len(cell.rows)} rows"
    if names := differing(summary_of(cell.result), remote.summary):
        return f"{', '.join(names[:3])} of the summary"
    return ""


def reason_of(error: BaseException) -> str:
    """Return the first line of an error, without secrets."""
    return str(redact((str(error).splitlines() or [type(error).__name__])[0]))
