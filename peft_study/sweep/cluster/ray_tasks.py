"""Runs the cells of a sweep as tasks of Ray."""

import math
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peft_study.cell.attempt import Outcome
from peft_study.console.interrupts import WARNINGS
from peft_study.errors import UserError
from peft_study.results.schema import FAILURES, Status
from peft_study.sweep.cluster.needs import GB, Limits, Need, needs_of
from peft_study.sweep.cluster.remote import RemoteCell
from peft_study.sweep.display import SweepDisplay
from peft_study.sweep.outcomes import earlier_stays, record_death, wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.pool import SECONDS_TO_SAVE
from peft_study.sweep.records import not_started, recorded_outcome, start_of

_LOOK_SECONDS = 1.0
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class TaskOptions:
    """How tasks are started.

    Attributes:
        init: arguments of `ray.init`.
        remote: further options of `ray.remote`.
        max_retries: how often a cell resumes after its worker was lost.
        show_traceback: let cells print the frames of an error.
    """

    init: Mapping[str, Any] = field(default_factory=dict)
    remote: Mapping[str, Any] = field(default_factory=dict)
    max_retries: int = 3
    show_traceback: bool = False


def run_tasks(
    cells: Sequence[PlannedCell], limits: Limits, options: TaskOptions, *, stop_on_failure: bool = False
) -> list[Outcome]:
    """Run cells as tasks of Ray and wait until all of them have ended.

    Args:
        cells: the cells, none of them finished.
        limits: settings that have priority over predicted needs.
        options: how tasks are started.
        stop_on_failure: after the first cell that fails, cancel the tasks of the others.

    Returns:
        the outcome of each cell, in the same order.

    Raises:
        KeyboardInterrupt: after an interrupt. The running cells are asked to save their state.
        UserError: Ray cannot be reached, or offers less than a cell needs.
    """
    if not cells:
        return []
    with _connected(options.init) as resources:
        needs = needs_of(cells, replace(limits, has_gpus=resources.get("GPU", 0) > 0))
        for need in set(needs):
            _check(need, resources)
        starts = {cell.folder: start_of(cell) for cell in cells}
        tasks = {_start(cell, need, options): cell for cell, need in zip(cells, needs, strict=True)}
        return _Wait(tasks, starts, stop_on_failure=stop_on_failure).run()


class _Wait:
    """Waits for the tasks of a sweep's cells, and shows how the cells fare."""

    def __init__(
        self, tasks: Mapping[Any, PlannedCell], starts: Mapping[Path, str | None], *, stop_on_failure: bool
    ) -> None:
        self._tasks = tasks
        self._starts = starts
        self._stop_on_failure = stop_on_failure
        self._display = SweepDisplay([cell.folder.name for cell in tasks.values()], len(tasks))
        self._outcomes: dict[Path, Outcome] = {}
        self._started: set[Path] = set()
        self._stopped = False

    def run(self) -> list[Outcome]:
        """Wait until all tasks have ended. Return the outcome of each cell, in their order."""
        import ray

        with self._display:
            try:
                while waiting := self._waiting():
                    ended, _ = ray.wait(list(waiting), num_returns=1, timeout=_LOOK_SECONDS)
                    for cell in waiting.values():
                        if self._has_begun(cell):
                            self._show_start(cell)
                    for task in ended:
                        self._note(task)
            except KeyboardInterrupt:
                unfinished = self._waiting()
                self._display.interrupted(len(unfinished))
                _cancel(unfinished)
                wait_for(list(unfinished.values()), limit_seconds=SECONDS_TO_SAVE)
                raise
        return [self._outcomes[cell.folder] for cell in self._tasks.values()]

    def _note(self, task: Any) -> None:
        """Note the end of a task, which may stop the sweep."""
        cell = self._tasks[task]
        if self._stopped and not self._has_begun(cell):
            self._outcomes[cell.folder] = not_started(cell)
            return
        outcome = _outcome(cell, task, self._starts[cell.folder], cancelled=self._stopped)
        self._outcomes[cell.folder] = outcome
        self._show_start(cell)
        self._display.ended(outcome.cell_id, str(outcome.status), outcome.reason)
        # Without a status, the cell could not even write a result.
        if self._stop_on_failure and not self._stopped and outcome.status in FAILURES | {None}:
            self._stopped = True
            waiting = self._waiting()
            _cancel(waiting)
            self._display.stopped(outcome.cell_id, sum(not self._has_begun(cell) for cell in waiting.values()))

    def _waiting(self) -> dict[Any, PlannedCell]:
        return {task: cell for task, cell in self._tasks.items() if cell.folder not in self._outcomes}

    def _has_begun(self, cell: PlannedCell) -> bool:
        # A task that waits for resources has not written a result.
        return start_of(cell) != self._starts[cell.folder]

    def _show_start(self, cell: PlannedCell) -> None:
        if cell.folder not in self._started:
            self._started.add(cell.folder)
            self._display.started(cell.folder.name)


def _cancel(tasks: Iterable[Any]) -> None:
    """Raise KeyboardInterrupt in the workers of tasks, which lets their cells save. Waiting tasks do not start."""
    import ray

    for task in tasks:
        ray.cancel(task)


def _start(cell: PlannedCell, need: Need, options: TaskOptions) -> Any:
    import ray

    settings = {
        "num_cpus": need.cores,
        "num_gpus": need.gpus,
        "memory": round(need.memory_gb * GB),
        "max_retries": options.max_retries,
        # A worker that runs a second cell would keep what the first one left in it.
        "max_calls": 1,
        "name": cell.folder.name,
        **options.remote,
    }
    # Workers run in a folder of Ray's, so the cell's is stated in full.
    absolute = replace(cell, folder=cell.folder.absolute())
    function = RemoteCell(absolute, need.gpus, need.cores, show_traceback=options.show_traceback)
    return ray.remote(**settings)(_call).remote(function, Path.cwd())


def _call(function: RemoteCell, folder: Path) -> Outcome:
    """Run a cell in a worker, from the folder of the command, to which the paths of its settings are relative."""
    import os

    os.chdir(folder)
    return function()


def _outcome(cell: PlannedCell, task: Any, earlier_start: str | None, *, cancelled: bool) -> Outcome:
    """Return how the cell of a task ended. The record of the cell has priority over what Ray reports."""
    import ray

    returned: Outcome | None = None
    cause = None
    try:
        returned = ray.get(task)
    except Exception as error:
        if not cancelled:
            first_line = _COLOR.sub("", str(error).strip().partition("\n")[0])
            cause = f"Ray reports {type(error).__name__}: {first_line}"
    # The process of a worker that was lost is told to end, and writes its result.
    wait_for([cell], limit_seconds=SECONDS_TO_SAVE)
    out_of_memory = cause is not None and "OutOfMemoryError" in cause
    status = Status.oom if out_of_memory else Status.failed
    record_death(cell, status, cause)
    if start_of(cell) == earlier_start:  # the record is that of an earlier run
        if returned is not None:
            return replace(returned, folder=cell.folder)
        if cause is not None:
            return earlier_stays(cell, status, cause)
    outcome = recorded_outcome(cell)
    if cause is not None and outcome.status is not Status.ok and cause not in str(outcome.reason):
        outcome = replace(outcome, reason=f"{outcome.reason}; {cause}")
    return outcome


def _check(need: Need, resources: Mapping[str, float]) -> None:
    """Refuse a need that no set of free nodes can meet, because Ray would wait for ever."""
    requested = {"CPU": need.cores, "GPU": need.gpus, "memory": need.memory_gb * GB}
    settings = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "mem_gb"}
    for resource, amount in requested.items():
        offered = resources.get(resource, 0)
        if amount > offered:
            most = math.floor(offered / GB if resource == "memory" else offered)
            setting = f"hydra.launcher.{settings[resource]}"
            raise UserError(
                f"{setting} must be at most {most}, which Ray offers, got {need}",
                where="hydra/launcher=ray",
                hint=f"{setting}={most}",
            )


@contextmanager
def _connected(init: Mapping[str, Any]) -> Iterator[Mapping[str, float]]:
    """Connect to Ray, or start it. Yield the resources of the cluster."""
    import ray

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, *WARNINGS)}
    settings = {"log_to_driver": False, "include_dashboard": False} | dict(init)
    try:
        ray.init(**settings)
    except Exception as error:  # Ray raises what its connection raises
        what = f"hydra.launcher.init must lead to Ray, got {type(error).__name__}: {error}"
        raise UserError(
            what, where="hydra/launcher=ray", hint="+hydra.launcher.init.address=auto, or leave it out"
        ) from error
    # Ray ends the process at SIGTERM, before the cells are asked to save.
    for number, handler in before.items():
        signal.signal(number, handler)
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
