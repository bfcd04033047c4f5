"""A dashboard."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class WandbMode(StrEnum):
    """`auto` is online with a key and offline without."""

    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass
class TrackingConfig:
    """A dashboard.

    Attributes:
        kind: the tracker: none, or the name of a module of peft_study/tracking such as wandb.
        options: settings of a tracker other than wandb, which checks them.
        project: W&B project.
        entity: W&B entity; null is the account's default.
        mode: auto, online or offline.
        timeout_seconds: the most that W&B's server may cost a cell, from its start to its end.
    """

    kind: str = "none"
    options: dict[str, Any] = field(default_factory=dict)
    project: str = "peft-study"
    entity: str | None = None
    mode: WandbMode = WandbMode.auto
    timeout_seconds: float = 30.0  # without a limit, W&B waits for a server that does not answer
