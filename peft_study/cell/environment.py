"""The process of a cell: its environment variables, its interpreter, its imports and the GPUs that it may use.

This module imports no torch, because the process of a sweep calls `visible_gpus` too.
"""

import functools
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peft_study.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Read in accelerate 1.15 (state.py, accelerator.py, utils/environment.py, utils/dataclasses.py), transformers 5.23
# (training_args.py, utils/import_utils.py, distributed/) and torch 2.13 (distributed/rendezvous.py). Slurm's
# variables are not in the list: none of these libraries reads them, and submitit needs them.
_NAMES = frozenset({
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "SM_FRAMEWORK_PARAMS", "SM_HP_MP_PARAMETERS"),
})  # fmt: skip
_PREFIXES = (
    *("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "TORCHELASTIC_"),
    *("MV2_COMM_WORLD_", "OMPI_COMM_WORLD_"),
)
_WITHOUT_DOCSTRINGS = 2

logger = logging.getLogger(__name__)


@contextmanager
def one_process() -> Iterator[None]:
    """Hide the variables of a distributed job while a cell runs, because a cell is one process."""
    # With `RANK` and `WORLD_SIZE` of an interactive job, `accelerate` waits for processes that do not exist. With
    # `ACCELERATE_USE_DEEPSPEED` or `ACCELERATE_TORCH_DEVICE`, it fails, or uses another device than the record says.
    hidden = _take_distributed_variables()
    if hidden:
        logger.info("a cell is one process and ignores %s", ", ".join(sorted(hidden)))
    try:
        yield
    finally:
        # `training.arguments` sets such a variable, which the next cell of this process would report as the user's.
        _take_distributed_variables()
        os.environ.update(hidden)


def _take_distributed_variables() -> dict[str, str]:
    """Remove the variables of a distributed job from the environment, and return them."""
    names = [name for name in os.environ if name in _NAMES or name.startswith(_PREFIXES)]
    return {name: os.environ.pop(name) for name in names}


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import the libraries of a cell inside this context, without what only takes time (docs/performance-log.md).

    Collections during the imports free nothing. Afterwards, the half a million objects of the libraries are excluded
    from them. torch's compiler is loaded when a function that it compiles is first called: bitsandbytes compiles
    functions when it is imported, and few cells call them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import torch

        compile_now = torch.compile
        torch.compile = functools.partial(_compiled_at_first_call, compile_now)
        try:
            yield
        finally:
            torch.compile = compile_now
        # Before the collector starts again, which would go through all of the new objects at once.
        _freeze()
    finally:
        if was_enabled:
            gc.enable()


def _compiled_at_first_call(compile_now: Callable[..., Any], function: Any = None, **settings: Any) -> Any:
    """Stands for `torch.compile`: as a decorator, or called with a function."""
    if function is None:
        return functools.partial(_compiled_at_first_call, compile_now, **settings)

    @functools.cache
    def compiled() -> Any:
        return compile_now(function, **settings)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return compiled()(*arguments, **named)

    return call


@functools.cache
def _freeze() -> None:
    # Once in a process and in those that it forks. `gc.get_freeze_count` would tell as well, but takes 75 ms.
    # Without a collection first, which takes a tenth of the imports' time and frees no memory worth it.
    gc.freeze()


def check_interpreter() -> None:
    """Check that the interpreter keeps docstrings, because transformers cannot be imported without them.

    Raises:
        UserError: the interpreter was started with PYTHONOPTIMIZE=2 or -OO.
    """
    if sys.flags.optimize >= _WITHOUT_DOCSTRINGS:
        raise UserError(
            f"PYTHONOPTIMIZE must be 0 or 1, because transformers needs docstrings, got {sys.flags.optimize}",
            where="PYTHONOPTIMIZE, or python -OO",
            hint="unset PYTHONOPTIMIZE, or PYTHONOPTIMIZE=1 (python -O)",
        )


def visible_gpus() -> list[str]:
    """Return the GPUs that a process started now would see, by index or UUID."""
    # A scheduler such as Slurm sets it to what the job may use; -1 and nothing hide all GPUs.
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip() not in {"", "-1"}]
    # torch takes seconds to import, and its question to CUDA would initialize CUDA in the process of the sweep.
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listing.stdout.split() if listing.returncode == 0 else []
