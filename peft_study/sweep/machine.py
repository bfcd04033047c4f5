"""The slots that one machine offers a sweep, each with a GPU or a share of the cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft_study.cell.environment import VISIBLE, visible_gpus
from peft_study.config.schema import Device, HardwareConfig
from peft_study.errors import UserError
from peft_study.results.limits import free_host_bytes
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
    """Choose how many cells of a sweep run side by side, and on which GPUs.

    Args:
        cells: the hardware settings of each cell.

    Raises:
        UserError: the cells differ in these settings, a GPU does not exist, or there are more cells at once than GPUs.
    """
    # The pool has one list of slots, so its settings cannot differ from cell to cell.
    for name in ("gpus", "cells_at_once", "gpus_per_cell"):
        values = {str(getattr(cell, name)) for cell in cells}
        if len(values) > 1:
            raise UserError(
                f"hardware.{name} must have one value in all cells of a sweep, got {' and '.join(sorted(values))}",
                where=f"hardware.{name}",
                hint=f"set it in the study's common settings or on the command line: hardware.{name}=...",
            )
    if not cells:
        return [Slot(None, available_cores())]
    hardware = cells[0]
    on_cpu = all(cell.device is Device.cpu for cell in cells)
    gpus = _grouped([] if on_cpu else _choose(hardware.gpus), hardware.gpus_per_cell)
    number = _cells_at_once(hardware, len(gpus))
    threads = max(1, available_cores() // (number * hardware.gpus_per_cell))
    return [Slot(gpus[index] if gpus else None, threads) for index in range(number)]


def _cells_at_once(hardware: HardwareConfig, gpus: int) -> int:
    """Return the number of slots; `gpus` is the number of GPUs, or groups of GPUs, for one cell each."""
    number = hardware.cells_at_once
    if number is not None and number < 1:
        what = f"hardware.cells_at_once must be at least 1, got {number}"
        raise UserError(what, where="hardware.cells_at_once", hint="hardware.cells_at_once=1")
    # Two cells on a GPU would compete for its memory, and each record would hold the other's peak in part.
    if gpus and number is not None and number > gpus:
        raise UserError(
            f"hardware.cells_at_once must be at most {gpus}, the GPUs divided by hardware.gpus_per_cell, got {number}",
            where="hardware.cells_at_once",
            hint=f"hardware.cells_at_once={gpus}, or hardware.device=cpu",
        )
    # One cell runs even if the free memory looks too small: its model may be tiny.
    processes = min(available_cores(), int(free_host_bytes() / 1e9 / GIGABYTES_A_CPU_CELL))
    return number or gpus or processes // hardware.gpus_per_cell or 1


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
    values = gpus if isinstance(gpus, list) else str(gpus).split(",")
    indices = [str(value).strip() for value in values]
    if not indices or not all(index.isdecimal() for index in indices) or len(set(indices)) < len(indices):
        raise UserError(f"hardware.gpus must be auto, none or distinct indices, got {gpus!r}", where=where, hint=hint)
    visible = visible_gpus()
    if not visible:
        raise UserError(
            f"hardware.gpus must be auto or none, because no GPU is visible, got {gpus!r}",
            where=where,
            hint="hardware.gpus=auto",
        )
    for index in indices:
        if int(index) >= len(visible):
            message = f"hardware.gpus must be below {len(visible)}, the number of visible GPUs, got {index}"
            raise UserError(message, where=where, hint=hint)
    # Indices count the visible GPUs, as torch does. CUDA_VISIBLE_DEVICES may hide others, or name them by UUID.
    return [visible[int(index)] for index in indices]
