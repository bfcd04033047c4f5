"""Count the bytes of live tensors while operations create them and Python frees them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from peft_study.cost.replay.compat import TorchDispatchMode, is_read_as_number, storage_key, tree_leaves

ALLOCATION_UNIT = 512
"""CUDA's caching allocator rounds each allocation up to a multiple of this (CUDACachingAllocator, kMinBlockSize)."""
Transient = Callable[[Sequence[Any]], int]


class LiveBytes(TorchDispatchMode):
    """Counts the live bytes of real and fake tensors, and their peak, while it is active.

    Args:
        unit: the size of each storage is rounded up to a multiple of this number of bytes.
        transients: by the name of an operation, the bytes that its kernel allocates and frees.

    Attributes:
        live: bytes that are allocated now.
        peaks: largest number of bytes allocated at a time, by segment.
        value_read_by_python: the value of a tensor without data when Python reads it.
    """

    def __init__(self, unit: int = ALLOCATION_UNIT, transients: Mapping[str, Transient] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peaks: dict[str, int] = {}
        self.value_read_by_python = 0
        self._unit = unit
        self._transients = transients or {}
        self._storages: dict[int, weakref.ref[Any]] = {}
        self.begin("")

    def begin(self, segment: str) -> None:
        """Begin another segment, which gets a separate peak."""
        self._segment = segment
        self._reach(self.live)

    def _reach(self, allocated: int) -> None:
        self.peaks[self._segment] = max(self.peaks.get(self._segment, 0), allocated)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the tensors that it creates."""
        if is_read_as_number(func):
            return bool(self.value_read_by_python) if args[0].dtype is torch.bool else self.value_read_by_python
        result = func(*args, **(kwargs or {}))
        # torch's own peak counts CUDA tensors only, and a replay has none.
        for leaf in tree_leaves(result):
            # Tensors on the meta device have a size, but take no memory.
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta":
                self._count(leaf)
        transient = self._transients.get(func.name())
        if transient is not None:
            self._reach(self.live + transient(args))
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage_key(storage)
        if key in self._storages:
            return
        size = -(-storage.nbytes() // self._unit) * self._unit

        def free(_: Any) -> None:
            self.live -= size
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, free)
        self.live += size
        self._reach(self.live)
