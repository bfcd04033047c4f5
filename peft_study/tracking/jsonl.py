"""Writes what a dashboard would show to dashboard.jsonl in the cell's folder, for programs that read it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult
from peft_study.results.store import append_lines, write_atomically
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import TABLE_COLUMNS, artifacts_of, prediction_rows, public_config
from peft_study.tracking.dashboard import Dashboard
from peft_study.tracking.names import Values, summary_values

FILES = ("dashboard.jsonl",)


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "JsonlTracker":
    """Create the tracker of a cell.

    Args:
        tracking: what is stored.
        options: nothing.
        folder: the cell's folder.
    """
    return JsonlTracker(tracking, folder)


class JsonlTracker(Dashboard):
    """Writes a line an event: "start" with the config, "row" with a row of the history, and "finish" with the summary.

    Args:
        tracking: what is stored.
        folder: the cell's folder.
    """

    def __init__(self, tracking: TrackingConfig, folder: Path) -> None:
        super().__init__(tracking)
        self._folder = folder
        self._file = folder / FILES[0]

    def start(self, cell: CellStart) -> None:
        """Begin the file. Rows of an interrupted run are restored from the cell's record."""
        event = {"event": "start", "cell": cell.cell_id, "study": cell.study, "config": public_config(cell.config)}
        write_atomically(self._file, json.dumps(event) + "\n")

    def row(self, place: int, values: Values) -> None:
        """Append a row."""
        self._append({"event": "row", "row": place, "values": values})

    def finish(self, result: RunResult) -> None:
        """Append the summary, the predictions and the digests of artifacts."""
        for texts in prediction_rows(self._folder, self.tracking.predictions):
            self._append({"event": "prediction", "values": dict(zip(TABLE_COLUMNS, texts, strict=True))})
        for artifact in artifacts_of(result, self._folder, self.tracking.artifacts):
            content = {"name": artifact.name, "sha256": artifact.digest, "files": list(artifact.files)}
            self._append({"event": "artifact", "values": content | {"lineage": dict(artifact.lineage)}})
        self._append({"event": "finish", "values": redact(summary_values(result))})

    def _append(self, event: dict[str, Any]) -> None:
        append_lines(self._file, [event], durable=event["event"] == "finish")
