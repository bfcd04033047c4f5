"""Writes a cell as an MLflow run: by default into a folder, without a server."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult, Status
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import TABLE_COLUMNS, Artifact, artifacts_of, prediction_rows, public_config
from peft_study.tracking.dashboard import Dashboard, is_number, whole_steps
from peft_study.tracking.names import Values, summary_values

FILES = ()
OPTIONS = ("uri",)
PACKAGE = "mlflow"
CELL_TAG = "peft_study.cell"
PARAM_CHARACTERS_AT_MOST = 6_000
"""MLflow refuses longer values of parameters."""
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-./ :]")
_STATUSES = {Status.ok: "FINISHED", Status.preempted: "KILLED"}


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "MlflowTracker":
    """Create the tracker of a cell.

    Args:
        tracking: the project is the experiment.
        options: `uri` of the store, such as sqlite:///mlflow.db or http://host:5000; null for the folder mlruns of
            the command.
        folder: the cell's folder.
    """
    return MlflowTracker(tracking, options.get("uri") or Path("mlruns").resolve().as_uri(), folder)


class MlflowTracker(Dashboard):
    """Writes the config as parameters, rows as metrics, the summary as metrics and tags, and artifacts.

    A resumed cell continues its run, which a tag identifies. MLflow refuses "@", so it becomes "_at_".

    Args:
        tracking: project and what is stored.
        uri: the store.
        folder: the cell's folder.
    """

    def __init__(self, tracking: TrackingConfig, uri: str, folder: Path) -> None:
        super().__init__(tracking)
        self._uri = uri
        self._folder = folder
        self._client: Any = None
        self._run_id = ""
        self._stored_rows = 0

    def start(self, cell: CellStart) -> None:
        """Open the run of the cell, or make it."""
        if self._uri.startswith("file:"):
            # MLflow 3 asks for this consent, because it develops the stores in databases only.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        experiment = self._experiment()
        identity = f"{cell.study}/{cell.cell_id}"
        runs = self._client.search_runs([experiment], f"tags.`{CELL_TAG}` = '{identity}'", max_results=1)
        if runs and cell.resumed:
            self._run_id = runs[0].info.run_id
            self._stored_rows = int(runs[0].data.tags.get("peft_study.rows", 0))
            self._client.update_run(self._run_id, status="RUNNING")
            if "reason" in runs[0].data.tags:  # why the interrupted process ended
                self._client.delete_tag(self._run_id, "reason")
        else:
            tags = {
                CELL_TAG: identity,
                "study": cell.study,
                "model": cell.model,
                "method": cell.method,
                "dataset": cell.dataset,
                "quantization": cell.quantization,
            }
            self._run_id = self._client.create_run(experiment, tags=tags, run_name=cell.cell_id).info.run_id
            self._log_config(cell)

    def row(self, place: int, values: Values) -> None:
        """Write the numbers of a row, unless an interrupted run wrote it."""
        if place < self._stored_rows:
            return
        self._log(whole_steps(values))
        self._client.set_tag(self._run_id, "peft_study.rows", str(place + 1))

    def finish(self, result: RunResult) -> None:
        """Write the summary, the predictions and the artifacts, and end the run."""
        summary = redact(summary_values(result))
        self._log({f"summary/{name}": (0, float(value)) for name, value in summary.items() if is_number(value)})
        for name, value in summary.items():
            if not is_number(value) and value is not None:
                text = value if isinstance(value, str) else json.dumps(value)
                self._client.set_tag(self._run_id, metric_name(name), text[:PARAM_CHARACTERS_AT_MOST])
        if rows := prediction_rows(self._folder, self.tracking.predictions):
            table = {"columns": list(TABLE_COLUMNS), "data": rows}
            self._client.log_dict(self._run_id, table, "predictions.json")
        for artifact in artifacts_of(result, self._folder, self.tracking.artifacts):
            self._store(artifact)
        self._client.set_terminated(self._run_id, status=_STATUSES.get(result.status, "FAILED"))
        self._client = None

    def close(self) -> None:
        """End a run that `finish` has not ended as failed."""
        client, self._client = self._client, None
        if client is not None and self._run_id:
            client.set_terminated(self._run_id, status="FAILED")

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self.tracking.project
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another cell of the sweep was faster
                experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id)

    def _log_config(self, cell: CellStart) -> None:
        from mlflow.entities import Param

        flat = _flat(public_config(cell.config))
        params = [Param(_FORBIDDEN.sub("_", key), str(value)[:PARAM_CHARACTERS_AT_MOST]) for key, value in flat.items()]
        self._client.log_batch(self._run_id, params=params)

    def _log(self, numbers: Mapping[str, tuple[int, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, step) for name, (step, value) in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _store(self, artifact: Artifact) -> None:
        # Equal content is not copied again when a cell ends a second time.
        tag = f"artifact.{artifact.name}.sha256"
        if self._client.get_run(self._run_id).data.tags.get(tag) == artifact.digest:
            return
        for path, file in artifact.files.items():
            self._client.log_artifact(self._run_id, str(file), str((Path(artifact.name) / path).parent))
        self._client.log_dict(self._run_id, dict(artifact.lineage), f"{artifact.name}/lineage.json")
        self._client.set_tag(self._run_id, tag, artifact.digest)


def metric_name(name: str) -> str:
    """Return a name that MLflow accepts."""
    return _FORBIDDEN.sub("_", name.replace("@", "_at_"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
