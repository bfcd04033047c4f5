"""What NVML, NVIDIA's management library, measures of a GPU: memory of this process, and energy.

It needs `nvidia-ml-py` (`pip install peft-study[nvml]`). Without it, without a driver or without permission, every
value is None.
"""

import logging
import os
from typing import Any, Self

import torch

MILLIJOULES_PER_WH = 3_600_000
logger = logging.getLogger(__name__)


class Card:
    """A GPU as NVML sees it.

    Args:
        pynvml: the imported library, initialized.
        handle: NVML's handle of the GPU.
    """

    def __init__(self, pynvml: Any, handle: Any) -> None:
        self._pynvml = pynvml
        self._handle = handle

    @classmethod
    def of(cls, device: torch.device) -> Self | None:
        """Find the card of a device.

        Args:
            device: device of the cell.

        Returns:
            None for a CPU, and if NVML cannot be used.
        """
        if device.type != "cuda":
            return None
        try:
            import pynvml  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            logger.info("energy and NVML's memory are not measured: nvidia-ml-py is not installed")
            return None
        try:
            pynvml.nvmlInit()
            # NVML counts all cards, and torch only those of CUDA_VISIBLE_DEVICES. The identifier is common to both.
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        except pynvml.NVMLError as error:
            logger.info("energy and NVML's memory are not measured: %s", error)
            return None
        return cls(pynvml, handle)

    def process_bytes(self) -> int | None:
        """Return the memory that the driver counts for this process now, with CUDA's context.

        Returns:
            None if the driver does not report it, as in a container with its own process ids.
        """
        try:
            processes = self._pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._pynvml.NVMLError:
            return None
        used = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
        return None if not used or used[0] is None else int(used[0])

    def energy_wh(self) -> float | None:
        """Return the energy that the whole card has used since its driver was loaded, in Wh.

        Returns:
            None if the card does not count it; cards from Volta on do.
        """
        try:
            return float(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / MILLIJOULES_PER_WH
        except self._pynvml.NVMLError:
            return None
