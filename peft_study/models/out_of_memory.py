"""Recognise exhausted memory: by the error, by the last lines of a process, and by the kernel's counters.

No torch is imported, because the process of a sweep asks too.
"""

import errno
import re
import sys
from collections.abc import Iterator

# CUDA and its libraries report exhausted memory also as a plain RuntimeError with one of these texts. The helper of
# accelerate 1.15 misses the first four. bitsandbytes and OpenMP print theirs, and end the process with exit code 1.
_SPELLINGS = (
    r"CUDA error: out of memory",
    r"CU(BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_ALLOC_FAILED",
    r"CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
    # A handle takes device memory, so that it is the first to fail on a full card.
    r"CU(BLAS|DNN|SOLVER)_STATUS_NOT_INITIALIZED.*[cC]reate",
    # torch prints memory statistics by NVML when an allocation fails, and NVML may be absent.
    r"NVML_SUCCESS == r INTERNAL ASSERT FAILED",
    r"\b(CUDA|HIP|XPU|MPS backend) out of memory",
    r"\bOutOfMemoryError\b",
    r"\b(cuda|hip)ErrorMemoryAllocation\b|\bcudaErrorMemoryValueTooLarge\b",
    r"^Error out of memory at line \d+ in file",
    r"DefaultCPUAllocator: (can't allocate|not enough) memory",
    r"unable to (mmap|allocate shared memory).*: Cannot allocate memory",
    r"\bCannot allocate memory\b",
    r"\bstd::bad_alloc\b",
    r"^memory allocation of \d+ bytes failed",
    r"libgomp: (Thread creation failed|Out of memory)",
    r"OMP: Error #\d+: (Cannot create thread|Memory allocation failed)",
    r"OpenBLAS.*(pthread_create failed|Memory allocation still failed)",
    r"can't start new thread",
    r"\bMemoryError\b",
    r"Detected \d+ oom[-_]kill event",
)
_ANY = re.compile("|".join(f"(?:{spelling})" for spelling in _SPELLINGS), re.MULTILINE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, means that device or host memory ran out."""
    return any(_is_out_of_memory(link) for link in _chain(error))


def spells_out_of_memory(text: str) -> str | None:
    """Return the line of a process's output that says that memory ran out; None if no line does."""
    return next((line.strip() for line in text.splitlines() if _ANY.search(line)), None)


def is_of_host(text: str) -> bool:
    """Whether a reason names memory of the host, which the cells of a sweep share, and not memory of a GPU."""
    return not re.search(r"CUDA|HIP|XPU|CU(BLAS|DNN|SOLVER|SPARSE|FFT)_|cuda|NVML|^Error out of memory at line", text)


def _is_out_of_memory(error: BaseException) -> bool:
    # A class of torch exists only in a process that imported torch.
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and spells_out_of_memory(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    # An error in the clean-up after exhausted memory is a consequence of it.
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
