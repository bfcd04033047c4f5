"""Predict the memory of many cells, in several processes where that pays."""

import multiprocessing
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

from peft_study.config.schema import CellConfig
from peft_study.cost.policy import MemoryChoice, choose_memory
from peft_study.sandbox.cores import available_cores

CELLS_A_PROCESS = 16
"""Fewest cells for each process, because a process first imports the libraries."""
Key = TypeVar("Key", bound=Hashable)


def choose_all(
    cells: Mapping[Key, CellConfig], advance: Callable[[int, int], None] | None = None
) -> dict[Key, MemoryChoice]:
    """Choose how each cell divides its batch, within its own budget.

    Args:
        cells: by any key.
        advance: called with the number of cells done and the number of all cells.

    Returns:
        the choice by the same key.

    Raises:
        UserError: peft does not accept an adapter's settings.
    """
    processes = min(available_cores(), len(cells) // CELLS_A_PROCESS)
    if processes < 2:
        return _collect(cells, map(_choose, cells.values()), advance)
    # A fork of this process would take its threads' locks along. The server is forked before torch starts any.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(processes, context, _use_one_thread) as executor:
        try:
            return _collect(cells, executor.map(_choose, cells.values()), advance)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _collect(
    cells: Mapping[Key, CellConfig], choices: Iterable[MemoryChoice], advance: Callable[[int, int], None] | None
) -> dict[Key, MemoryChoice]:
    by_key: dict[Key, MemoryChoice] = {}
    for key, choice in zip(cells, choices, strict=True):
        by_key[key] = choice
        if advance is not None:
            advance(len(by_key), len(cells))
    return by_key


def _use_one_thread() -> None:
    """Keep a process to its core: two torch threads beside another busy process are slower than one."""
    torch.set_num_threads(1)


def _choose(cell: CellConfig) -> MemoryChoice:
    return choose_memory(cell, cell.hardware.budget_bytes)
