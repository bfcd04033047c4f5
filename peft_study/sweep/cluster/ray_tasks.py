"""Runs the cells of a sweep as tasks of Ray."""

import math
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peft_study.cell.attempt import Outcome
from peft_study.console.interrupts import WARNINGS
from peft_study.errors import UserError
from peft_study.results.schema import Status
from peft_study.sweep.cluster.needs import GB, Limits, Need, needs_of
from peft_study.sweep.cluster.remote import RemoteCell
from peft_study.sweep.cluster.watch import CellWatch
from peft_study.sweep.outcomes import wait_for
from peft_study.sweep.plan import PlannedCell
from peft_study.sweep.pool import SECONDS_TO_SAVE

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
        watch = CellWatch(cells, stop_on_failure=stop_on_failure)
        tasks = {cell.folder: _start(cell, need, options) for cell, need in zip(cells, needs, strict=True)}
        _wait(tasks, watch)
        return watch.outcomes


def _wait(tasks: Mapping[Path, Any], watch: CellWatch) -> None:
    """Wait until all tasks have ended, and note how their cells ended."""
    import ray

    def cancel(cells: Sequence[PlannedCell]) -> None:
        # Raises KeyboardInterrupt in the workers, which lets their cells save. Waiting tasks do not start.
        for cell in cells:
            ray.cancel(tasks[cell.folder])

    with watch.display:
        try:
            while waiting := watch.waiting:
                ended, _ = ray.wait([tasks[cell.folder] for cell in waiting], num_returns=1, timeout=_LOOK_SECONDS)
                for cell in waiting:
                    # A task that waits for resources has not written a result.
                    if cell.folder not in watch.started and watch.has_begun(cell):
                        watch.show_start(cell)
                    if tasks[cell.folder] in ended:
                        _note(cell, tasks[cell.folder], watch)
                watch.stop_after_failure(cancel)
        except KeyboardInterrupt:
            unfinished = watch.waiting
            watch.display.interrupted(len(unfinished))
            cancel(unfinished)
            wait_for(unfinished, limit_seconds=SECONDS_TO_SAVE)
            raise


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


def _note(cell: PlannedCell, task: Any, watch: CellWatch) -> None:
    """Note how the cell of a task ended. The record of the cell has priority over what Ray reports."""
    import ray

    if watch.stopped and not watch.has_begun(cell):
        watch.note_not_started(cell)
        return
    returned: Outcome | None = None
    cause = None
    try:
        returned = ray.get(task)
    except Exception as error:
        if not watch.stopped:
            first_line = _COLOR.sub("", str(error).strip().partition("\n")[0])
            cause = f"Ray reports {type(error).__name__}: {first_line}"
    status = Status.oom if cause is not None and "OutOfMemoryError" in cause else Status.failed
    # The process of a worker that was lost is told to end, and writes its result.
    outcome = watch.outcome_after(cell, status, cause, limit_seconds=SECONDS_TO_SAVE)
    if returned is not None and not watch.has_begun(cell):  # the record is that of an earlier run
        outcome = replace(returned, folder=cell.folder)
    elif cause is not None and outcome.status is not Status.ok and cause not in str(outcome.reason):
        outcome = replace(outcome, reason=f"{outcome.reason}; {cause}")
    watch.note(cell, outcome)


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
