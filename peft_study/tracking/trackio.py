"""Writes a cell as a Trackio run: a local database that `trackio show` displays."""

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import TABLE_COLUMNS, prediction_rows, public_config
from peft_study.tracking.dashboard import Dashboard
from peft_study.tracking.names import Values, summary_values

FILES = ()
PACKAGE = "trackio"


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "TrackioTracker":
    """Create the tracker of a cell.

    Args:
        tracking: project and what is stored. Trackio stores no artifacts.
        options: nothing. Trackio's own variables, such as TRACKIO_DIR, say where its database is.
        folder: the cell's folder.
    """
    return TrackioTracker(tracking, folder)


class TrackioTracker(Dashboard):
    """Writes the config, the rows of the history, the predictions, and the summary as a last row.

    Args:
        tracking: project and what is stored.
        folder: the cell's folder.
    """

    def __init__(self, tracking: TrackingConfig, folder: Path) -> None:
        super().__init__(tracking)
        self._folder = folder
        self._run: Any = None
        self._stored_rows = 0

    def start(self, cell: CellStart) -> None:
        """Open the run of the cell, or make it."""
        trackio = _silent(_load)
        name = f"{cell.study}/{cell.cell_id}"
        if cell.resumed:
            self._stored_rows = _rows_of(self.tracking.project, name)
        config = public_config(cell.config) | {"group": cell.study, "job_type": cell.method}
        self._run = _silent(
            lambda: trackio.init(
                self.tracking.project,
                name=name,
                group=cell.study,
                config=config,
                resume="allow" if cell.resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        )

    def row(self, place: int, values: Values) -> None:
        """Write a row, unless an interrupted run wrote it."""
        if place >= self._stored_rows:
            self._run.log(dict(values), step=place)

    def finish(self, result: RunResult) -> None:
        """Write the summary and the predictions, and end the run."""
        import trackio

        last: Values = {f"summary/{name}": value for name, value in redact(summary_values(result)).items()}
        if rows := prediction_rows(self._folder, self.tracking.predictions):
            last["predictions"] = trackio.Table(columns=list(TABLE_COLUMNS), data=rows)
        self._run.log(last, step=max(self._rows, self._stored_rows))

    def close(self) -> None:
        """End the run."""
        run, self._run = self._run, None
        if run is not None:
            _silent(_load().finish)


def _load() -> Any:
    # It would print advertisements and start a server beside the cell.
    os.environ.setdefault("TRACKIO_LOG_LEVEL", "ERROR")
    import trackio

    return trackio


def _rows_of(project: str, name: str) -> int:
    from trackio.sqlite_storage import SQLiteStorage

    return len([row for row in SQLiteStorage.get_logs(project, name) if "summary/status" not in row])


def _silent(call: Callable[[], Any]) -> Any:
    """Call without Trackio's lines on the standard output, which belongs to the closing table."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call()
