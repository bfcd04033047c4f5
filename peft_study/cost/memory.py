"""Wall-clock time, peak memory, energy and tokens of each phase of a cell."""

import gc
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from peft_study.cost.nvml import Card
from peft_study.results.schema import MemoryKind, PhaseCost, Work

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
# Documented in proc(5): writing 5 resets the peak resident set size.
_RESET_PEAK = "5"
_WORKING = frozenset({"train", "generate"})
"""Phases that a resumed cell continues. Load and score run again, so that their seconds could go backwards."""


class Meter:
    """Measures the phases of a cell.

    On a GPU the peak is the memory that torch allocated, which is deterministic and excludes the CUDA context. The
    memory that torch reserved, and what NVML counts for the process, are recorded too. On a CPU the peak is the largest
    resident set size of the process, with the interpreter and libraries.

    Args:
        device: device of the cell.
        earlier: costs of the phases of an interrupted run, see `PhaseCost.after`.
    """

    def __init__(self, device: torch.device, earlier: Mapping[str, PhaseCost] | None = None) -> None:
        self._device = device
        self._earlier = dict(earlier or {})
        self._card = Card.of(device)
        self._running: tuple[str, float, float | None] | None = None
        self._work: Work | None = None
        self._process_bytes: int | None = None
        self.phases: dict[str, PhaseCost] = dict(self._earlier)

    @property
    def kind(self) -> MemoryKind:
        """The kind of memory that the peaks count."""
        return MemoryKind.cuda_allocated if self._device.type == "cuda" else MemoryKind.cpu_peak_rss

    @contextmanager
    def phase(self, name: str, *, has_tokens: bool = False) -> Iterator[None]:
        """Measure a phase; a phase that raises has a cost too.

        Args:
            name: the phase.
            has_tokens: whether `add_work` counts tokens of this phase.
        """
        self._reset()
        self._work = Work() if has_tokens else None
        self._process_bytes = None
        self._running = (name, time.perf_counter(), self._energy_wh())
        try:
            yield
        finally:
            self.measure()
            self._running = None

    def measure(self) -> None:
        """Update the cost of the current phase. Callers record it, so that it survives a killed process."""
        if self._running is None:
            return
        name, began, energy_before = self._running
        # Kernels run asynchronously, so a clock that does not wait for them stops too early.
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        cost = self._cost(time.perf_counter() - began, energy_before)
        if self._work is not None:
            # The clock of the tokens runs inside the phase, so that tokens and their seconds belong together.
            flops = self._work.flops if name == "train" else None
            cost = replace(cost, tokens=self._work.tokens, token_seconds=self._work.seconds, flops=flops)
        self.phases[name] = self._with_earlier(name, cost)

    def sample(self, tokens_per_second: float | None = None) -> dict[str, Any]:
        """Return what the cell uses now, for a line of usage.jsonl. It does not wait for the device.

        Args:
            tokens_per_second: the current speed; None if unknown.

        Returns:
            "phase"; "seconds" and "energy_wh" of training and generation so far; "peak_bytes" of the phase;
            "reserved_bytes", of torch on a GPU, and "process_bytes", by NVML or on a CPU the resident set size, now;
            "tokens_per_second". Without the unknown ones.
        """
        if self._running is None:
            return {}
        name, began, energy_before = self._running
        current = self._with_earlier(name, self._cost(time.perf_counter() - began, energy_before))
        costs = [cost for phase, cost in self.phases.items() if phase in _WORKING and phase != name] + [current]
        energies = [cost.energy_wh for cost in costs if cost.energy_wh is not None]
        on_gpu = self._device.type == "cuda"
        measured = {
            "seconds": sum(cost.seconds for cost in costs),
            "peak_bytes": current.peak_bytes,
            "reserved_bytes": torch.cuda.memory_reserved(self._device) if on_gpu else None,
            "process_bytes": self._process_bytes_now() if on_gpu else rss_bytes(),
            "tokens_per_second": tokens_per_second,
            "energy_wh": sum(energies) if len(energies) == len(costs) else None,
        }
        return {"phase": name, **{key: value for key, value in measured.items() if value is not None}}

    def add_work(self, work: Work) -> None:
        """Count work of the current phase. `measure` puts it into the cost.

        Args:
            work: what was done since the last call.
        """
        if self._work is not None:
            self._work += work

    def _reset(self) -> None:
        # Garbage and cached memory of the previous phase must not count for this phase. With Hydra's basic launcher,
        # cells share a process, and the traceback of a failed cell keeps its tensors alive.
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            reset_peak_rss()

    def _cost(self, seconds: float, energy_before: float | None) -> PhaseCost:
        if self._device.type != "cuda":
            return PhaseCost(seconds, peak_rss_bytes(), None)
        energy = self._energy_wh()
        # NVML reports the memory of now. torch keeps what it reserved, so that a later sample is rarely smaller.
        samples = (self._process_bytes, self._process_bytes_now())
        self._process_bytes = max((used for used in samples if used is not None), default=None)
        return PhaseCost(
            seconds,
            torch.cuda.max_memory_allocated(self._device),
            torch.cuda.max_memory_reserved(self._device),
            process_bytes=self._process_bytes,
            energy_wh=None if energy is None or energy_before is None else energy - energy_before,
        )

    def _with_earlier(self, phase: str, cost: PhaseCost) -> PhaseCost:
        return cost.after(self._earlier[phase]) if phase in self._earlier else cost

    def _energy_wh(self) -> float | None:
        return None if self._card is None else self._card.energy_wh()

    def _process_bytes_now(self) -> int | None:
        return None if self._card is None else self._card.process_bytes()


def apply_budget(device: torch.device, budget_bytes: int | None) -> None:
    """Limit the GPU memory of this process, so that a large card runs out of memory like a smaller one.

    Args:
        device: device of the cell; on a CPU nothing is limited.
        budget_bytes: GPU memory that this process may allocate; None for no limit.
    """
    # Without a budget the share is set too: an earlier cell of this process may have had one.
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if budget_bytes is None else min(1.0, budget_bytes / total)
        torch.cuda.set_per_process_memory_fraction(share, device)


def device_bytes(device: torch.device, budget_bytes: int | None) -> int | None:
    """GPU memory that this process may allocate; None for a CPU.

    Args:
        device: device of the cell.
        budget_bytes: see `apply_budget`.
    """
    if device.type != "cuda":
        return None
    total: int = torch.cuda.get_device_properties(device).total_memory
    return total if budget_bytes is None else min(total, budget_bytes)


def rss_bytes() -> int | None:
    """Resident set size of this process; None outside Linux."""
    return _status_bytes("VmRSS:")


def peak_rss_bytes() -> int | None:
    """Peak resident set size of this process since the last reset, or since its start if the kernel allows no reset."""
    reported = _status_bytes("VmHWM:")
    if reported is not None:
        return reported
    # getrusage(2): in KiB, but on macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(name: str) -> int | None:
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def reset_peak_rss() -> None:
    """Start a new peak. Without /proc (outside Linux) the peak remains that of the whole process."""
    with suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK)
