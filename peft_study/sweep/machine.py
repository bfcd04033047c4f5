"""The slots that one machine offers a sweep, each with a GPU or a share of the cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from peft_study.cell.environment import VISIBLE, visible_gpus
from peft_study.config.schema import Device, HardwareConfig
from peft_study.errors import UserError
from peft_study.sandbox.cores import SHARE, available_cores

GIGABYTES_A_CPU_CELL = 2.0
"""Free memory, in GB (1e9 bytes), reserved for a cell on the CPU if `hardware.cells_at_once` is not set. The libraries
alone take 0.8 GB."""
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Slot:
    """A GPU or a share of the cores, for one cell at a time.

    Attributes:
        gpu: value of CUDA_VISIBLE_DEVICES, which may name several GPUs; None hides all GPUs.
        threads: number of cores.
    """

    gpu: str | None
    threads: int

    def environment(self) -> dict[str, str]:
        """Return the variables that confine a process to this slot. An OMP_NUM_THREADS that the user set stays."""
        # torch takes all cores by default. Beside a busy process on two cores, two threads are several times slower
        # than one.
        threads = os.environ.get(THREADS) or str(self.threads)
        return {VISIBLE: self.gpu or "", THREADS: threads, SHARE: str(self.threads)}


def slots_for(cells: Sequence[HardwareConfig]) -> list[Slot]:
    """Choose the slots of a sweep from the settings of its cells.

    Args:
        cells: the hardware settings of each cell.

    Raises:
        UserError: the cells differ in these settings, a GPU does not exist, or there are more cells at once than GPUs.
    """
    # The pool has one list of slots, so its settings cannot differ from cell to cell.
    for name in ("gpus", "cells_at_once", "gpus_per_cell"):
        values = {str(getattr(hardware, name)) for hardware in cells}
        if len(values) > 1:
            raise UserError(
                f"hardware.{name} must have one value in all cells of a sweep, got {' and '.join(sorted(values))}",
                where=f"hardware.{name}",
                hint=f"set it in the study's common settings or on the command line: hardware.{name}=...",
            )
    if not cells:
        return slots("none", 1)
    cpu_only = all(hardware.device is Device.cpu for hardware in cells)
    return slots(cells[0].gpus, cells[0].cells_at_once, cells[0].gpus_per_cell, cpu_only=cpu_only)


def slots(gpus: Any, cells_at_once: int | None, gpus_per_cell: int = 1, *, cpu_only: bool = False) -> list[Slot]:
    """Choose how many cells run side by side, and on which GPUs.

    Args:
        gpus: "auto", "none", or the indices as a list or as text ("0,1").
        cells_at_once: number of slots. None means one for each GPU or, without GPUs, as many as the cores and the free
            memory allow.
        gpus_per_cell: number of GPUs in a slot; without GPUs, the number of processes that share its cores.
        cpu_only: whether the settings keep all cells on the CPU.

    Raises:
        UserError: a GPU does not exist, or there are more cells at once than GPUs.
    """
    chosen = _grouped([] if cpu_only else _choose(gpus), gpus_per_cell)
    if cells_at_once is not None and cells_at_once < 1:
        what = f"hardware.cells_at_once must be at least 1, got {cells_at_once}"
        raise UserError(what, where="hardware.cells_at_once", hint="hardware.cells_at_once=1")
    # Two cells on a GPU would compete for its memory, and each record would hold the other's peak in part.
    if chosen and cells_at_once is not None and cells_at_once > len(chosen):
        raise UserError(
            f"hardware.cells_at_once must be at most {len(chosen)}, the GPUs divided by hardware.gpus_per_cell, got"
            f" {cells_at_once}",
            where="hardware.cells_at_once",
            hint=f"hardware.cells_at_once={len(chosen)}, or hardware.device=cpu",
        )
    cores = available_cores()
    # One cell runs even if the free memory looks too small: its model may be tiny.
    processes = min(cores, int(_free_gigabytes() / GIGABYTES_A_CPU_CELL))
    number = cells_at_once or len(chosen) or processes // gpus_per_cell or 1
    threads = max(1, cores // (number * gpus_per_cell))
    return [Slot(chosen[index] if chosen else None, threads) for index in range(number)]


def _grouped(gpus: Sequence[str], size: int) -> list[str]:
    """Group GPUs into values of CUDA_VISIBLE_DEVICES."""
    if gpus and len(gpus) < size:
        raise UserError(
            f"hardware.gpus_per_cell must be at most {len(gpus)}, the number of GPUs, got {size}",
            where="hardware.gpus_per_cell",
            hint=f"hardware.gpus_per_cell={len(gpus)}",
        )
    return [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


def _choose(gpus: Any) -> list[str]:
    where, hint = "hardware.gpus", "hardware.gpus=auto, hardware.gpus=none or hardware.gpus=[0,1]"
    if gpus in ("auto", "none", None):
        return visible_gpus() if gpus == "auto" else []
    wanted = gpus.split(",") if isinstance(gpus, str) else gpus if isinstance(gpus, list) else [gpus]
    indices = [str(gpu).strip() for gpu in wanted]
    if not indices or not all(index.isdecimal() for index in indices) or len(set(indices)) < len(indices):
        raise UserError(f"hardware.gpus must be auto, none or distinct indices, got {gpus!r}", where=where, hint=hint)
    visible = visible_gpus()
    for index in indices:
        if int(index) >= len(visible):
            message = f"hardware.gpus must be below {len(visible)}, the number of visible GPUs, got {index}"
            raise UserError(message, where=where, hint=hint)
    # Indices count the visible GPUs, as torch does. CUDA_VISIBLE_DEVICES may hide others, or name them by UUID.
    return [visible[int(index)] for index in indices]


def _free_gigabytes() -> float:
    return float(psutil.virtual_memory().available) / 1e9
