"""Telling an exhausted memory from other errors."""

import torch

# torch.OutOfMemoryError is one of several ways in which CUDA says so.
_MESSAGES = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that device or host memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
