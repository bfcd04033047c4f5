"""Dashboards that follow a cell."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class WandbMode(StrEnum):
    """`auto` is online with a key and offline without."""

    auto = "auto"
    online = "online"
    offline = "offline"


class Artifacts(StrEnum):
    """Files of a cell that trackers store; `adapter` includes `results`."""

    none = "none"
    results = "results"
    adapter = "adapter"


WANDB_PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
"""Names of projects that W&B accepts."""
WANDB_PROJECT_NAMES = "1 to 128 characters without / \\ # ? % :"


@dataclass
class TrackingConfig:
    """Dashboards that follow a cell. No setting changes a result.

    Attributes:
        trackers: options by name of a tracker, a module of peft_study/tracking such as wandb. Empty for none.
            `tracking=[wandb,tensorboard]` merges the options of several files.
        project: project of W&B and Trackio, experiment of MLflow.
        entity: W&B entity; null is the account's default.
        mode: of W&B: auto, online or offline.
        timeout_seconds: the most that W&B's server may cost a cell, from its start to its end.
        predictions: rows of the table of predictions that trackers show; 0 for no table.
        artifacts: files that trackers store: none, results (result.json and predictions), or adapter (weights as well).
        system_metrics: whether W&B samples the whole machine every 15 s as well.
    """

    trackers: dict[str, Any] = field(default_factory=dict)
    project: str = "peft-study"
    entity: str | None = None
    mode: WandbMode = WandbMode.auto
    timeout_seconds: float = 30.0  # without a limit, W&B waits for a server that does not answer
    predictions: int = 0
    artifacts: Artifacts = Artifacts.none
    system_metrics: bool = False
