"""Counts the bytes of the tensors that are alive, as the operations create them and Python frees them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from peft_study.cost.replay.compat import TorchDispatchMode, is_read_as_number, storage_key, tree_leaves

ALLOCATION_UNIT = 512
"""CUDA's caching allocator rounds each allocation up to a multiple of this (CUDACachingAllocator, kMinBlockSize)."""
Transient = Callable[[Sequence[Any]], int]


class LiveBytes(TorchDispatchMode):
    """Counts live bytes and their peak while it is active, of real and of fake tensors alike.

    Args:
        unit: each storage counts as a multiple of this many bytes.
        transients: bytes that a kernel allocates and frees within one operation, by the operation's name.
        scalar: what a tensor without data answers when Python asks for its value; None lets it raise.

    Attributes:
        live: bytes that are allocated now.
        peaks: the most that were allocated at once, by segment of the work.
    """

    def __init__(
        self, unit: int = ALLOCATION_UNIT, transients: Mapping[str, Transient] | None = None, scalar: int | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peaks: dict[str, int] = {}
        self.scalar = scalar
        self._unit = unit
        self._transients = transients or {}
        self._storages: dict[int, weakref.ref[Any]] = {}
        self.begin("")

    def begin(self, segment: str) -> None:
        """Count what follows as another segment of the work."""
        self._segment = segment
        self._reach(self.live)

    def _reach(self, allocated: int) -> None:
        self.peaks[self._segment] = max(self.peaks.get(self._segment, 0), allocated)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it creates."""
        if self.scalar is not None and is_read_as_number(func):
            return bool(self.scalar) if args[0].dtype is torch.bool else self.scalar
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            # What lies on the meta device has a size and takes no memory.
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
