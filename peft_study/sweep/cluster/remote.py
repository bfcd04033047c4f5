"""A cell inside of a cluster's job or worker: it runs in a fresh process there, as under the local launcher.

A worker may run several cells, and its peak memory would be theirs together. A job gets the signals of its scheduler
in this process, which waits until the cell has written its result before it lets the job be requeued.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

from peft_study.cell.attempt import Outcome
from peft_study.cell.environment import visible_gpus
from peft_study.results.limits import KernelKills
from peft_study.results.store import OUTPUT, CellFolder
from peft_study.sandbox.cores import available_cores
from peft_study.sweep.ends import exhausted_by, outcome_of
from peft_study.sweep.machine import Slot
from peft_study.sweep.outcomes import add_cause, wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.pool import SECONDS_TO_SAVE
from peft_study.sweep.processes import spawn
from peft_study.sweep.records import ended_before, start_of

_LOOK_SECONDS = 0.1


class RemoteCell:
    """A function without arguments that runs a cell in a fresh process and returns its outcome.

    A launcher pickles it and calls it where the cell is to run.

    Args:
        cell: the cell.
        gpus: number of GPUs that its job has; 0 hides all GPUs.
        cores: number of cores that its job has. The scheduler's own limits count, too.
        show_traceback: let the cell print the frames of an error.
    """

    def __init__(self, cell: PlannedCell, gpus: int, cores: int, *, show_traceback: bool = False) -> None:
        self.cell = cell
        self.gpus = gpus
        self.cores = cores
        self.show_traceback = show_traceback
        self._process: int | None = None
        self._code: int | None = None
        self._killed = False
        self._earlier_start: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return partial(RemoteCell, show_traceback=self.show_traceback), (self.cell, self.gpus, self.cores)

    def __call__(self) -> Outcome:
        """Run the cell, or skip it if it is done."""
        # The process of a worker that was lost may still save. It has no parent that could wait for it.
        wait_for([self.cell], limit_seconds=SECONDS_TO_SAVE)
        earlier = ended_before(self.cell)
        if earlier is not None:
            return earlier
        outcome = self._attempt()
        while outcome.retry:
            self.cell = self.cell.for_retry()
            outcome = self._attempt()
        print(f"{outcome.cell_id}: {outcome.status or 'unknown'}: {outcome.reason or 'done'}; see {self.cell.folder}")  # noqa: T201
        return outcome

    def _attempt(self) -> Outcome:
        """Run the cell in one process."""
        self._earlier_start, kills = start_of(self.cell), KernelKills()
        self._code, self._killed = None, False
        output = CellFolder(self.cell.folder).path / OUTPUT
        output.touch()
        output_start = output.stat().st_size
        try:
            with self._passing_on():
                self._start()
                while not self._has_ended():
                    time.sleep(_LOOK_SECONDS)
        except Exception as error:  # submitit raises where a job must not be requeued again
            self._end()
            add_cause(self.cell, str(error))
            return replace(
                outcome_of(self.cell, self._exit_code, self._earlier_start, stopped=self._killed), retry=False
            )
        except BaseException:
            self._end()
            raise
        exhausted = exhausted_by(self.cell.folder, output_start, self._exit_code, kills)
        return outcome_of(self.cell, self._exit_code, self._earlier_start, exhausted=exhausted)

    def checkpoint(self) -> Any:
        """End the cell so that its job can be requeued; submitit calls this at a warning of Slurm.

        Returns:
            the submission that the requeued job runs; None if the cell has ended and needs no other job.
        """
        from submitit.helpers import DelayedSubmission

        self._end()
        if ended_before(self.cell) is not None:
            return None
        # What a rerun has done so far is not done again.
        begun = start_of(self.cell) != self._earlier_start
        cell = replace(self.cell, cell=replace(self.cell.cell, rerun=False)) if begun else self.cell
        return DelayedSubmission(RemoteCell(cell, self.gpus, self.cores, show_traceback=self.show_traceback))

    @contextmanager
    def _passing_on(self) -> Iterator[None]:
        """Let SIGTERM reach the cell, too: Slurm sends it to the job's process, but not to the sessions below."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM)

        def pass_on(number: int, frame: FrameType | None) -> None:
            self._signal(number)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, pass_on)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @property
    def _exit_code(self) -> int:
        return -signal.SIGKILL if self._code is None else self._code

    def _start(self) -> None:
        gpus = visible_gpus()[: self.gpus] if self.gpus else []
        cores = min(self.cores, available_cores())
        threads = max(1, cores // self.cell.cell.hardware.gpus_per_cell)
        environment = Slot(",".join(gpus) or None, threads).environment()
        description = self.cell.description(show_traceback=self.show_traceback)
        with (
            (CellFolder(self.cell.folder).path / OUTPUT).open("ab") as output,
            open(os.devnull, "wb") as events,  # noqa: PTH123 - nobody reads the progress
        ):
            process = spawn(description, environment, output.fileno(), events.fileno())
        self._process = process.pid

    def _has_ended(self) -> bool:
        # Not `Popen.wait`: a signal handler that calls it in the middle of another call would wait for ever.
        if self._process is None:
            return True
        try:
            process, status = os.waitpid(self._process, os.WNOHANG)
        except ChildProcessError:  # the handler of a signal has waited for it
            return True
        if process:
            self._code = os.waitstatus_to_exitcode(status)
        return bool(process)

    def _end(self) -> None:
        """Let the process write its result, and wait for it."""
        deadline = time.monotonic() + SECONDS_TO_SAVE
        self._signal(signal.SIGTERM)
        while not self._has_ended():
            if time.monotonic() > deadline:
                self._killed = True
                self._signal(signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)

    def _signal(self, number: int) -> None:
        if self._process is not None and not self._has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, number)
