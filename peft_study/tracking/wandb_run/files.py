"""What a run of W&B stores besides numbers: a table of predictions, and artifacts."""

import os
import re
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.results.schema import RunResult
from peft_study.tracking.content import TABLE_COLUMNS, artifacts_of, prediction_rows

ARTIFACT_CHARACTERS_AT_MOST = 128
DIGEST = "sha256"
"""In the metadata of an artifact: `content.Artifact.digest`."""
TABLE_TYPE = "run_table"
"""W&B's type of artifacts with tables."""
_ARTIFACT_NAME = re.compile(r"[^A-Za-z0-9_.-]")


def store_files(run: Any, result: RunResult, folder: Path, tracking: TrackingConfig) -> list[Any]:
    """Log the predictions and the files of a cell.

    Args:
        run: W&B's run.
        result: the cell's record.
        folder: the cell's folder.
        tracking: says what is stored.

    Returns:
        W&B's artifacts, which the server may not have yet.
    """
    import wandb

    # W&B keeps copies of tables in the home of the user, where an offline run that is moved would lose them.
    os.environ["WANDB_DATA_DIR"] = str(Path(run.settings.wandb_dir).resolve())
    if rows := prediction_rows(folder, tracking.predictions):
        run.summary["predictions"] = wandb.Table(columns=list(TABLE_COLUMNS), data=[*rows])
    artifacts = []
    for content in artifacts_of(result, folder, tracking.artifacts):
        artifact = wandb.Artifact(
            artifact_name(content.name, result.cell_id),
            type=content.name,
            metadata={**content.lineage, DIGEST: content.digest},
        )
        for name, file in content.files.items():
            # The cell's files do not change any more, so that a copy would only take disk.
            artifact.add_file(str(file.resolve()), name=name, policy="immutable")
        run.log_artifact(artifact)
        artifacts.append(artifact)
    return artifacts


def artifact_name(kind: str, cell_id: str) -> str:
    """Return the name of a cell's artifact. A long name keeps its end, which has the hash of the cell.

    Args:
        kind: "results" or "weights".
        cell_id: the cell's name.
    """
    cell_part = _ARTIFACT_NAME.sub("-", cell_id)[-(ARTIFACT_CHARACTERS_AT_MOST - len(kind) - 1) :]
    return f"{kind}-{cell_part}"


def table_name(run: str) -> str:
    """Return the name that W&B gives the artifact with a run's table of predictions."""
    return f"run-{run}-predictions"
