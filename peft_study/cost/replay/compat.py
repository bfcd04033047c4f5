"""Private names of torch and bitsandbytes that a replay on fake tensors needs.

No release note announces a change of these names. After an upgrade, read this file first. Without one of them a replay
raises, and the cell runs without a predicted peak: `cost.predict` logs a warning. Checked with torch 2.13,
transformers 5.23 and bitsandbytes 0.50.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bitsandbytes import functional as bitsandbytes_functional
from bitsandbytes.autograd._functions import MatMul8bitLt
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "FakeTensorMode",
    "MatMul8bitLt",
    "TorchDispatchMode",
    "efficient_attention",
    "fill_table_of_8bit_values",
    "flash_attention",
    "is_read_as_number",
    "run_backward",
    "storage_key",
    "tree_leaves",
    "without_loading_threads",
]

_SYNCHRONOUS = "HF_DEACTIVATE_ASYNC_LOAD"

flash_attention = torch.ops.aten._scaled_dot_product_flash_attention
"""CUDA's attention kernel for 16-bit values without a mask; its fake version allocates what the kernel does."""
efficient_attention = torch.ops.aten._scaled_dot_product_efficient_attention
"""CUDA's attention kernel for everything else."""


def storage_key(storage: torch.UntypedStorage) -> int:
    """The address of a storage's C++ object, equal for all tensors that share the storage.

    `data_ptr` does not serve: it is 0 for every fake tensor.
    """
    key: int = storage._cdata
    return key


def is_read_as_number(operation: Any) -> bool:
    """Whether an operation turns a tensor of one element into a Python number (`item`, `bool`, `float`)."""
    return operation is torch.ops.aten._local_scalar_dense.default


def run_backward(loss: torch.Tensor) -> Any:
    """Do what `loss.backward()` does, with the active function modes left on.

    `Tensor.backward` turns a function mode off before it starts the engine, so that the mode would miss the operations
    that gradient checkpointing recomputes.
    """
    return torch.autograd.graph._engine_run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def fill_table_of_8bit_values() -> None:
    """Fill bitsandbytes' table of 8-bit values, which double quantisation reads, with a real tensor.

    The table belongs to the process. Filled during a replay, it would hold a fake tensor for every later cell.
    """
    if "dynamic" not in bitsandbytes_functional.name2qmap:
        bitsandbytes_functional.name2qmap["dynamic"] = bitsandbytes_functional.create_dynamic_map()  # type: ignore[no-untyped-call]


@contextmanager
def without_loading_threads() -> Iterator[None]:
    """Keep transformers from reading weights in other threads, in which no fake-tensor mode is active."""
    before = os.environ.get(_SYNCHRONOUS)
    os.environ[_SYNCHRONOUS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SYNCHRONOUS]
        else:
            os.environ[_SYNCHRONOUS] = before
