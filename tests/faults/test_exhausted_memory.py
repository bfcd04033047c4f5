"""Exhausted memory by its real spellings: raised by the libraries, printed by them, and counted by the kernel."""

import mmap
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import bitsandbytes
import numpy as np
import pytest
import torch

from peft_study.cell.endings import classify, what_fits
from peft_study.cli.run import arguments_again
from peft_study.config.compose import compose_cell
from peft_study.errors import UserError
from peft_study.models.out_of_memory import is_of_host, is_out_of_memory, spells_out_of_memory
from peft_study.results.attempts import Attempt
from peft_study.results.schema import MemoryKind, RunResult, Status

PETABYTE = 1 << 50
RAISED: dict[str, Callable[[], object]] = {
    "torch on a CPU": lambda: torch.empty(PETABYTE),
    "Python": lambda: bytearray(1 << 60),
    "numpy": lambda: np.empty(PETABYTE),
    "mmap": lambda: mmap.mmap(-1, 1 << 60),
}


@pytest.mark.parametrize("name", RAISED)
def test_libraries_raise_exhausted_memory_that_is_recognized(name: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - every library has its own
        RAISED[name]()

    assert classify(raised.value)[0] is Status.oom


TEXTS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp",
    "cudaErrorMemoryAllocation: out of memory",
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
    "unable to mmap 5368709120 bytes from file </m.safetensors>: Cannot allocate memory (12)",
    "std::bad_alloc",
    "can't start new thread",
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_runtime_error_with_the_text_of_exhausted_memory(text: str) -> None:
    assert classify(RuntimeError(text))[0] is Status.oom


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
        "out of resource: shared memory, Required: 131072, Hardware limit: 101376",
        "the memory of the model is fine",
    ],
)
def test_other_errors_are_not_exhausted_memory(text: str) -> None:
    assert classify(RuntimeError(text))[0] is Status.failed


def test_an_error_that_is_raised_from_exhausted_memory_counts() -> None:
    error = UserError("the model cannot be loaded", where="model")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory.")

    assert is_out_of_memory(error)
    assert classify(error)[0] is Status.oom


def test_the_message_of_bitsandbytes_is_that_of_its_library() -> None:
    # Its CUDA code prints this format and exits with code 1, so that no exception reaches Python.
    library = next(Path(bitsandbytes.__file__).parent.glob("libbitsandbytes_cuda1*.so")).read_bytes()
    (form,) = set(re.findall(rb"Error %s at line %d in file [^\0]*", library))
    line = form.decode() % ("out of memory", 380, "/src/csrc/pythonInterface.cpp")

    assert spells_out_of_memory(f"loading\n{line}\n") == line.strip()
    assert not is_of_host(line)
    assert spells_out_of_memory(form.decode() % ("invalid argument", 380, "ops.cu")) is None


LIMITED = """
import resource, sys, threading
{imports}
resource.setrlimit(resource.RLIMIT_AS, ({bytes}, {bytes}))
{work}
"""


def printed_under_limit(imports: str, limit: str, work: str, threads: int = 1) -> tuple[int, str]:
    """Run a program in a process with a limited address space. Return its exit code and what it printed."""
    used = "int(open('/proc/self/statm').read().split()[0]) * 4096"
    program = LIMITED.format(imports=imports, bytes=f"{used} + {limit}", work=work)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("imports", "limit", "work", "threads"),
    [
        pytest.param("", "2**24", "list(range(10**9))", 1, id="Python"),
        pytest.param(
            "", "2**20", "for _ in range(64): threading.Thread(target=threading.Event().wait, daemon=True).start()", 1,
            id="a thread",
        ),
        pytest.param("import torch", "2**25", "torch.rand(2000, 2000) @ torch.rand(2000, 2000)", 64, id="OpenMP"),
        pytest.param("import torch", "2**24", "torch.empty(2**30)", 1, id="torch"),
    ],
)  # fmt: skip
def test_a_process_with_a_limited_address_space_says_so_in_its_output(
    imports: str, limit: str, work: str, threads: int
) -> None:
    code, printed = printed_under_limit(imports, limit, work, threads)

    assert code != 0
    line = spells_out_of_memory(printed)
    assert line is not None, printed
    assert is_of_host(line)


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A memory control group with a limit of 64 MiB."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"peft-study-test-{os.getpid()}-{threading.get_ident()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(64 << 20))
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("memory control groups cannot be made here")


KILLED = """
import os, signal, sys
from peft_study.results.limits import KernelKills, host_limit_bytes
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
kills = KernelKills()
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "kill" else bytearray(256 << 20)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), kills.take(), kills.take(), host_limit_bytes())
"""


@pytest.mark.parametrize(("how", "taken"), [("allocate", True), ("kill", False)])
def test_the_kernels_counter_tells_an_exhausted_group_from_another_kill(
    control_group: Path, how: str, taken: bool
) -> None:
    command = [sys.executable, "-c", KILLED, str(control_group), how]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["-9", str(taken), "False", str(64 << 20)]


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (["-m", "peft_study", "seed=1"], ["-m", "peft_study", "seed=1", "rerun=false", "retry=all"]),
        (["seed=1", "rerun=true"], ["seed=1", "rerun=false", "retry=all"]),
        (["+rerun=true", "retry=none", "seed=1"], ["seed=1", "rerun=false", "retry=all"]),
    ],
)
def test_a_cell_that_starts_again_keeps_its_attempts(arguments: list[str], again: list[str]) -> None:
    # A YAML file with rerun: true would otherwise start the cell over without end.
    assert arguments_again(arguments) == again


@pytest.mark.parametrize(
    ("settings", "phase", "kind", "named"),
    [
        (["training.memory=fast"], "train", MemoryKind.cpu_peak_rss, True),
        (["training.micro_batch_size=4"], "train", MemoryKind.cpu_peak_rss, True),
        (["training.memory=auto"], "train", MemoryKind.cpu_peak_rss, False),  # smaller attempts came before
        (["training.memory=fast"], "generate", MemoryKind.cpu_peak_rss, False),
        (["training.memory=fast"], "train", MemoryKind.cuda_allocated, False),  # the host's memory ran out
    ],
)
def test_a_division_that_the_settings_fix_is_named_as_what_would_fit(
    settings: list[str], phase: str, kind: MemoryKind, named: bool
) -> None:
    cell = compose_cell(["model=tiny-llama", *settings])
    result = RunResult("a", "b", Status.oom, memory_kind=kind, attempts=[Attempt(status="oom", phase=phase)])

    assert ("training.memory=small" in what_fits(cell, result, predicts=False)) is named
