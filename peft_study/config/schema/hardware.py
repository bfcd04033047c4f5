"""The machine."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import MISSING


class Device(StrEnum):
    """Where a cell runs; `auto` takes a GPU when there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass
class HardwareConfig:
    """The machine, which never decides a result's identity.

    Attributes:
        name: the config's name.
        device: auto, cpu or cuda.
        threads: CPU threads; null leaves torch's choice.
        memory_budget_gb: GPU memory, in GB (1e9 bytes), that a cell may use, even on a larger card; null is all of it.
        gpus: the GPUs of a sweep, one a cell: "auto" (every one that is visible), "none", or a list of indices.
        cells_at_once: cells of a sweep that run side by side; null is one a GPU or, without one, as many as cores and
            free memory carry.
    """

    name: str = MISSING
    device: Device = Device.auto
    threads: int | None = None
    memory_budget_gb: float | None = None
    gpus: Any = "auto"
    cells_at_once: int | None = None

    @property
    def budget_bytes(self) -> int | None:
        """The memory budget in bytes; None is the whole memory of the device."""
        return None if self.memory_budget_gb is None else round(self.memory_budget_gb * 1e9)
