"""The arguments, settings and series of a run of W&B that starts."""

from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import public_config
from peft_study.tracking.names import SECONDS, SERIES, TRAIN_STEP
from peft_study.tracking.wandb_run.identity import run_id

# W&B refuses a run with a longer tag.
TAG_CHARACTERS_AT_MOST = 64


def init_arguments(cell: CellStart, tracking: TrackingConfig, folder: Path, *, online: bool) -> dict[str, Any]:
    """Return the arguments of `wandb.init` except for its settings.

    Args:
        cell: the cell.
        tracking: project and entity.
        folder: where W&B creates its folder.
        online: whether the run is sent while the cell runs.
    """
    tags = (cell.model, cell.method, cell.dataset, cell.quantization)
    return {
        "mode": "online" if online else "offline",
        "project": tracking.project,
        "entity": tracking.entity,
        "group": cell.study,
        "job_type": cell.method,
        "name": cell.cell_id,
        "id": run_id(cell),
        "dir": str(folder),
        "resume": "allow" if cell.resumed and online else None,
        # W&B writes the config to the run's file and to debug.log as it is, with any token in it.
        "config": public_config(cell.config),
        "tags": list(dict.fromkeys(tag[:TAG_CHARACTERS_AT_MOST] for tag in tags if tag)),
        # By default, `init` returns the run that is still active in this process.
        "reinit": "create_new",
    }


def run_settings(
    wandb: Any, *, init_timeout_seconds: float, finish_timeout_seconds: float, system_metrics: bool
) -> Any:
    """Return W&B's settings of a run."""
    settings = {
        # `init` waits for an unreachable server, and the cell with it.
        "init_timeout": init_timeout_seconds,
        "finish_timeout": finish_timeout_seconds,
        "finish_timeout_raises": True,
        "silent": True,
        "console": "off",
        "symlink": False,
        # result.json holds the provenance. W&B would also store the command line, with any secret in it.
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        # W&B samples the system every 15 s, which misses the peaks that the cell measures.
        "x_disable_stats": not system_metrics,
    }
    # W&B refuses unknown settings, and the settings differ between its versions.
    names = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in settings.items() if name in names})


def define_series(run: Any) -> None:
    """Tell W&B the x-axis and the summaries of every series. Final values of the others come from the result."""
    for axis in (TRAIN_STEP, SECONDS):
        run.define_metric(axis)
    for series in SERIES:
        run.define_metric(series.name, step_metric=series.step_metric, summary=",".join(series.summaries) or None)
