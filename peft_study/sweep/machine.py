"""What one machine offers a sweep: places for cells, each with its GPU or its share of the cores."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from peft_study.config.schema import Device, HardwareConfig
from peft_study.errors import UserError
from peft_study.sandbox.cores import SHARE, available_cores

GIGABYTES_A_CPU_CELL = 2.0
"""Free memory, in GB (1e9 bytes), that a cell on the CPU is given where nobody says how many run at once: torch and its
relatives take 0.8 GB before there is a model."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Slot:
    """Where one cell at a time can run.

    Attributes:
        gpu: what CUDA_VISIBLE_DEVICES is set to; None leaves a cell without a GPU.
        threads: its share of the cores.
    """

    gpu: str | None
    threads: int

    def environment(self) -> dict[str, str]:
        """The variables that keep a process in its place; a number of threads that the person set stays."""
        threads = os.environ.get(THREADS) or str(self.threads)
        return {VISIBLE: self.gpu or "", THREADS: threads, SHARE: str(self.threads)}


def slots_for(cells: Sequence[HardwareConfig]) -> list[Slot]:
    """Decide how many cells run side by side, and on what, from what the cells themselves say.

    Args:
        cells: the hardware group of each.

    Raises:
        UserError: they do not agree, there is no such GPU, or there are more cells at once than GPUs.
    """
    for name in ("gpus", "cells_at_once"):
        values = {str(getattr(hardware, name)) for hardware in cells}
        if len(values) > 1:
            raise UserError(
                f"the cells differ in what holds for a sweep as a whole: {' and '.join(sorted(values))}",
                where=f"hardware.{name}",
                hint=f"one value, in a study's common settings or behind its name: hardware.{name}=...",
            )
    if not cells:
        return places("none", 1)
    cpu_only = all(hardware.device is Device.cpu for hardware in cells)
    return places(cells[0].gpus, cells[0].cells_at_once, cpu_only=cpu_only)


def places(gpus: Any, cells_at_once: int | None, *, cpu_only: bool = False) -> list[Slot]:
    """Decide how many cells run side by side, and on what.

    Args:
        gpus: "auto", "none", or the indices as a list or as text ("0,1").
        cells_at_once: how many; None is one a GPU or, without one, as many as cores and free memory carry.
        cpu_only: the cells were told to run on the CPU.

    Raises:
        UserError: there is no such GPU, or there are more cells at once than GPUs.
    """
    chosen = [] if cpu_only else _choose(gpus)
    if cells_at_once is not None and cells_at_once < 1:
        raise UserError(
            f"{cells_at_once} cells at once", where="hardware.cells_at_once", hint="hardware.cells_at_once=1 or more"
        )
    if chosen and cells_at_once is not None and cells_at_once > len(chosen):
        raise UserError(
            f"{cells_at_once} cells at once on {len(chosen)} GPUs: each cell needs a GPU of its own",
            where="hardware.cells_at_once",
            hint=f"hardware.cells_at_once={len(chosen)}, or hardware.device=cpu",
        )
    cores = available_cores()
    number = cells_at_once or len(chosen) or min(cores, int(_free_gigabytes() / GIGABYTES_A_CPU_CELL)) or 1
    threads = max(1, cores // number)
    return [Slot(chosen[index] if chosen else None, threads) for index in range(number)]


def visible_gpus() -> list[str]:
    """The GPUs that a process started here would see, by index or UUID, without importing torch."""
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip() not in {"", "-1"}]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return found.stdout.split() if found.returncode == 0 else []


def _choose(gpus: Any) -> list[str]:
    where, hint = "hardware.gpus", "hardware.gpus=auto, hardware.gpus=none or hardware.gpus=[0,1]"
    if gpus in ("auto", "none", None):
        return visible_gpus() if gpus == "auto" else []
    wanted = gpus.split(",") if isinstance(gpus, str) else gpus if isinstance(gpus, list) else [gpus]
    indices = [str(gpu).strip() for gpu in wanted]
    if not indices or not all(index.isdecimal() for index in indices) or len(set(indices)) < len(indices):
        raise UserError(f"{gpus!r} names no GPUs", where=where, hint=hint)
    seen = visible_gpus()
    for index in indices:
        if int(index) >= len(seen):
            raise UserError(f"there is no GPU {index}: this machine shows {len(seen)}", where=where, hint=hint)
    return [seen[int(index)] for index in indices]


def _free_gigabytes() -> float:
    return float(psutil.virtual_memory().available) / 1e9
