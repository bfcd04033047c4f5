"""Writes a cell's history and summary as TensorBoard event files, which `tensorboard --logdir multirun` shows."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.console.redaction import redact
from peft_study.metrics.registry import HEADLINES
from peft_study.results.schema import RunResult, Status
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import TABLE_COLUMNS, prediction_rows, public_config
from peft_study.tracking.dashboard import Dashboard, is_number, whole_steps
from peft_study.tracking.names import METRICS_PREFIX, Values, summary_values

FILES = ("tensorboard",)
_NAMED = ("model", "method", "dataset", "quantization")
_COMPARED = (
    *(f"{METRICS_PREFIX}{name}" for name in HEADLINES),
    "cost/seconds",
    "memory/peak_gb",
    "parameters/trainable",
)
"""Columns of the table of runs."""
PACKAGE = "tensorboard"


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "TensorboardTracker":
    """Create the tracker of a cell.

    Args:
        tracking: what is stored. TensorBoard stores no artifacts.
        options: nothing.
        folder: the cell's folder.
    """
    return TensorboardTracker(tracking, folder)


class TensorboardTracker(Dashboard):
    """Writes scalars, the config and the predictions as texts, and a row with settings and scores (HParams).

    Args:
        tracking: what is stored.
        folder: the cell's folder.
    """

    def __init__(self, tracking: TrackingConfig, folder: Path) -> None:
        super().__init__(tracking)
        self._folder = folder
        self._config: dict[str, Any] = {}
        self._writer: Any = None

    def start(self, cell: CellStart) -> None:
        """Begin new event files. Rows of an interrupted run are restored from the cell's record."""
        from torch.utils.tensorboard import SummaryWriter

        place = self._folder / FILES[0]
        # A reader would show the repeated steps of a resumed cell twice.
        shutil.rmtree(place, ignore_errors=True)
        self._config = public_config(cell.config)
        self._writer = SummaryWriter(str(place))
        self._writer.add_text("config", f"```json\n{json.dumps(self._config, indent=2)}\n```")

    def row(self, place: int, values: Values) -> None:
        """Write the numbers of a row as scalars."""
        for name, (step, value) in whole_steps(values).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, result: RunResult) -> None:
        """Write the summary as texts and scalars at step 0."""
        summary = redact(summary_values(result))
        scores = {name: float(value) for name, value in summary.items() if is_number(value)}
        for name, value in scores.items():
            self._writer.add_scalar(f"summary/{name}", value, 0)
        texts = {name: value for name, value in summary.items() if isinstance(value, str)}
        self._writer.add_text("summary", _table(("name", "value"), [list(item) for item in texts.items()]))
        if rows := prediction_rows(self._folder, self.tracking.predictions):
            self._writer.add_text("predictions", _table(TABLE_COLUMNS, rows))
        self._add_to_table_of_runs(result.status)

    def _add_to_table_of_runs(self, status: Status) -> None:
        """Write the cell's row of TensorBoard's table HParams, because a chart of the summary has a point a cell."""
        from torch.utils.tensorboard.summary import hparams

        settings = {group: (self._config.get(group) or {}).get("name", "") for group in _NAMED}
        settings |= {"seed": self._config.get("seed") or 0, "status": str(status)}
        # The columns are those of the first cell that TensorBoard reads, which may have failed. `add_hparams` of the
        # writer would make another run for each cell.
        for summary in hparams(settings, {f"summary/{name}": None for name in _COMPARED}):
            self._writer.file_writer.add_summary(summary)

    def close(self) -> None:
        """Close the event files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """Write a Markdown table. What a model wrote must not end a cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_escaped(text) for text in line)} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("\n", "<br>")
