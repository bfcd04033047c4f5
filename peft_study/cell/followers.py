"""The other processes of a cell that trains on several GPUs, or on shares of the cores."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from peft_study.cell.environment import VISIBLE, visible_gpus
from peft_study.config import identity
from peft_study.config.schema import CellConfig
from peft_study.errors import UserError
from peft_study.training.ranks import ALONE, Ranks, is_ready, join, leave, rendezvous

SECONDS_TO_END = 30.0
"""How long a follower may take to end after a signal before it is killed."""
SECONDS_TO_EXPLAIN = 5.0
"""How long an error of this process waits for a follower that may have caused it."""

_LOOK_SECONDS = 0.05
_LAST_LINES = 3
"""Lines of a follower's output that an error quotes."""


class FollowerError(RuntimeError):
    """A process of the cell ended before the others."""


@contextmanager
def joined_ranks(
    cell: CellConfig, folder: Path, device: torch.device, prompts_at_once: int | None = None
) -> Iterator[Ranks]:
    """Start the other processes of a cell, and end them with the context.

    Args:
        cell: the typed config; `hardware.gpus_per_cell` is the number of processes.
        folder: the cell's folder.
        device: device of this process.
        prompts_at_once: most prompts of a batch in generation; None for no limit.

    Yields:
        the ranks, of which this process is the first.

    Raises:
        UserError: fewer GPUs are visible.
        FollowerError: another process ended first.
    """
    size = cell.hardware.gpus_per_cell
    if size == 1:
        yield ALONE
        return
    gpus = _gpus(size) if device.type == "cuda" else []
    store = rendezvous(size)
    with contextlib.ExitStack() as stack:
        followers = [stack.enter_context(_Follower(rank, gpus)) for rank in range(1, size)]
        description = {
            "config": identity.plain(cell),
            "folder": str(folder),
            "size": size,
            "port": store.port,
            "prompts_at_once": prompts_at_once,
        }
        for follower in followers:
            follower.send(description)
        # Before `join`, which waits in C++: no signal interrupts it, and it does not notice a follower that died.
        for follower in followers:
            follower.wait_until_ready(store)
        try:
            ranks = join(0, size, store, device, shards=cell.hardware.shard_weights)
            stack.callback(leave, ranks)
            yield ranks
        except RuntimeError as error:
            # An exchange fails when another process ended. Its last words are the cause.
            for follower in followers:
                follower.explain_end(error)
            raise
        for follower in followers:
            follower.wait()


def _gpus(size: int) -> Sequence[str]:
    visible = visible_gpus()
    if len(visible) < size:
        raise UserError(
            f"hardware.gpus_per_cell must be at most {len(visible)}, the number of visible GPUs, got {size}",
            where="hardware.gpus_per_cell",
            hint=f"hardware.gpus_per_cell={len(visible)}",
        )
    return visible


class _Follower:
    """A process with a rank above 0. It ends with the context.

    Args:
        rank: its rank.
        gpus: the visible GPUs; empty on a CPU.
    """

    def __init__(self, rank: int, gpus: Sequence[str]) -> None:
        self._rank = rank
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the context closes it
        environment = {VISIBLE: gpus[rank]} if gpus else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peft_study.cell.follower"],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # a Ctrl-C in the terminal reaches the first rank only
        )

    def __enter__(self) -> "_Follower":
        return self

    def send(self, description: dict[str, object]) -> None:
        """Send the process what it runs.

        Args:
            description: see `follower.main`; the rank and this process's id are added.
        """
        message = json.dumps({**description, "rank": self._rank, "parent": os.getpid()})
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(message.encode())
            self._process.stdin.close()

    def wait_until_ready(self, store: TCPStore) -> None:
        """Wait until the process has loaded its model.

        Raises:
            FollowerError: it ended before.
        """
        while not is_ready(self._rank, store):
            if (code := self._process.poll()) is not None:
                raise self._error(code)
            time.sleep(_LOOK_SECONDS)

    def explain_end(self, cause: BaseException) -> None:
        """Raise FollowerError with the last lines of the process's output, if it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(SECONDS_TO_EXPLAIN)
            if code:
                raise self._error(code) from cause

    def wait(self) -> None:
        """Wait until the process has ended.

        Raises:
            FollowerError: it ended with an error.
        """
        if code := self._process.wait():
            raise self._error(code)

    def _error(self, code: int) -> FollowerError:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        last = " | ".join(line.strip() for line in lines[-_LAST_LINES:])
        return FollowerError(f"process {self._rank} of the cell ended with code {code}: {last}")

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()
