"""The machine."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import MISSING


class Device(StrEnum):
    """The device of a cell; `auto` is a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass
class HardwareConfig:
    """The machine, which is not part of a cell's identity.

    Attributes:
        name: the config's name.
        device: auto, cpu or cuda.
        threads: CPU threads; null is torch's default.
        memory_budget_gb: GPU memory in GB (1e9 bytes) that a cell may use, even on a larger card; null is all of it.
        peak_tflops: dense operations a second of the device in the training's number format, in 1e12, for the share of
            them that training uses; null takes the rate of a known card (`peft_study/cost/cards.py`).
        gpus: the GPUs of a sweep, one per cell: "auto" (all visible ones), "none", or a list of indices.
        cells_at_once: cells of a sweep that run in parallel; null is one per GPU, or as many as cores and free memory
            allow on a CPU.
        gpus_per_cell: GPUs on which one cell trains and generates, each with a process and a copy of the model; the
            batch is divided among them. On a CPU, the number of processes.
        shard_weights: each of the GPUs of a cell keeps a share of the frozen weights in place of a copy, and the layers
            gather theirs when they compute (FSDP). For a base model that no single GPU holds.
        cuda_graphs: replay the kernels of repeated steps of training and generation from CUDA graphs, on a GPU whose
            memory has room for it.
        oom_retries: how often a cell that runs out of memory starts again in a fresh process with a smaller
            micro-batch, with gradient checkpointing, or with fewer prompts at once; 0 is never.
        requeues: how often a cell continues in another job after the time limit of its job, on a cluster.
    """

    name: str = MISSING
    device: Device = Device.auto
    threads: int | None = None
    memory_budget_gb: float | None = None  # lets a larger card keep to the 24 GB of the paper's
    peak_tflops: float | None = None
    gpus: Any = "auto"  # OmegaConf 2.3 has no union of a text and a list
    cells_at_once: int | None = None
    gpus_per_cell: int = 1
    shard_weights: bool = False
    cuda_graphs: bool = True
    oom_retries: int = 10
    requeues: int = 3

    @property
    def budget_bytes(self) -> int | None:
        """The memory budget in bytes; None is the whole memory of the device."""
        return None if self.memory_budget_gb is None else round(self.memory_budget_gb * 1e9)
