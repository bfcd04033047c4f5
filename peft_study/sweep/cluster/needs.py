"""What a cell needs of a cluster: cores, GPUs, memory and time, by the same predictions as a plan."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from peft_study.config import identity
from peft_study.config.schema import CellConfig, Device
from peft_study.cost.durations import TimeKey, time_key
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.records import median_work_seconds

GB = 1e9
LIBRARIES_GB = {False: 2.0, True: 6.0}
"""Memory of the process without its model, on a CPU (False) and with CUDA's libraries (True)."""
MARGIN = 1.3
"""What is asked for as a multiple of the prediction: a job that exceeds its memory is killed."""
TIME_FACTOR, TIME_EXTRA_MINUTES = 2.0, 10
CORES_A_GPU, CORES_WITHOUT = 4, 2


@dataclass(frozen=True)
class Limits:
    """What the launcher's settings ask for. None leaves a value to the prediction.

    Attributes:
        memory_gb: memory of the machine, in GB.
        cores: CPU cores.
        gpus: GPUs.
        minutes: time limit; 0 for no limit.
        minutes_if_unknown: time limit of a cell of which no replicate has finished.
        most_minutes: the longest time limit that the cluster allows; None for no limit.
        has_gpus: whether the cluster offers GPUs, for cells with `hardware.device=auto`.
    """

    memory_gb: int | None = None
    cores: int | None = None
    gpus: int | None = None
    minutes: int | None = None
    minutes_if_unknown: int = 240
    most_minutes: int | None = None
    has_gpus: bool = True


@dataclass(frozen=True)
class Need:
    """What one cell asks of a cluster. Cells with the same need share an array of jobs.

    Attributes:
        cores: CPU cores.
        gpus: GPUs.
        memory_gb: memory of the machine, in GB.
        minutes: time limit; 0 for no limit.
        requeues: how often it may continue in another job after a time limit.
    """

    cores: int
    gpus: int
    memory_gb: int
    minutes: int
    requeues: int

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPU" if self.gpus else ""
        time = f", {self.minutes} min" if self.minutes else ""
        return f"{self.cores} {'core' if self.cores == 1 else 'cores'}{gpus}, {self.memory_gb} GB{time}"


def needs_of(cells: Sequence[PlannedCell], limits: Limits) -> list[Need]:
    """Predict what each cell needs.

    Args:
        cells: the cells.
        limits: settings that have priority over the predictions.

    Returns:
        a need for each cell, in the same order.
    """
    durations = {} if limits.minutes is not None else median_work_seconds(cells)
    peaks = {} if limits.memory_gb is not None else _peak_bytes([cell.cell for cell in cells], limits)
    return [_need(cell.cell, limits, durations, peaks) for cell in cells]


def _need(
    cell: CellConfig, limits: Limits, durations: Mapping[TimeKey, float], peaks: Mapping[str | None, int | None]
) -> Need:
    config = identity.plain(cell)
    gpus, processes = _gpus(cell, limits), cell.hardware.gpus_per_cell
    memory = limits.memory_gb
    if memory is None:
        peak = peaks.get(identity.settings_key(config)) or 0
        # Each process of a cell loads the libraries and the model.
        memory = processes * math.ceil(LIBRARIES_GB[gpus > 0] + MARGIN * peak / GB)
    minutes = limits.minutes
    if minutes is None:
        seconds = durations.get(time_key(config))
        minutes = limits.minutes_if_unknown
        if seconds is not None:
            minutes = math.ceil(TIME_FACTOR * seconds / 60) + TIME_EXTRA_MINUTES
        # A cell that needs longer continues in another job.
        minutes = min(minutes, limits.most_minutes or minutes)
    cores = limits.cores or processes * (CORES_A_GPU if gpus else CORES_WITHOUT)
    return Need(cores, gpus, memory, minutes, cell.hardware.requeues)


def _gpus(cell: CellConfig, limits: Limits) -> int:
    if limits.gpus is not None:
        return limits.gpus
    device = cell.hardware.device
    uses_gpus = device is Device.cuda or (device is Device.auto and limits.has_gpus)
    return cell.hardware.gpus_per_cell if uses_gpus else 0


def _peak_bytes(cells: Sequence[CellConfig], limits: Limits) -> dict[str | None, int | None]:
    """Predict the memory of the machine that each configuration takes, by `identity.settings_key`."""
    # Imported late, because torch takes seconds and a setting of the launcher makes the prediction unnecessary.
    from peft_study.cost.choices import choose_all

    configurations = {identity.settings_key(identity.plain(cell)): _as_loaded(cell, limits) for cell in cells}
    peaks: dict[str | None, int | None] = {}
    for key, choice in choose_all(configurations).items():
        predicted = choice.predicted
        if predicted is None:
            peaks[key] = None
        elif configurations[key].hardware.device is Device.cpu:
            peaks[key] = predicted.peak_bytes
        else:  # the weights pass through the memory of the machine while they are loaded
            peaks[key] = predicted.load_peak_bytes
    return peaks


def _as_loaded(cell: CellConfig, limits: Limits) -> CellConfig:
    """Return a cell with the device that its job has. Each process loads the whole model before GPUs divide it."""
    on_cpu = cell.hardware.device is Device.auto and not _gpus(cell, limits)
    device = Device.cpu if on_cpu else cell.hardware.device
    return replace(cell, hardware=replace(cell.hardware, device=device, shard_weights=False))
