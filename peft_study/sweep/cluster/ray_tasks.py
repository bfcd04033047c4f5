"""Runs the cells of a sweep as tasks of Ray."""

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
from peft_study.sweep.outcomes import record_death, wait_for
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
        limits = replace(limits, has_gpus=resources.get("GPU", 0) > 0)
        needs = needs_of(cells, limits)
        for need in set(needs):
            _check(need, resources)
        return _run(cells, needs, options, stop_on_failure=stop_on_failure)


def _run(
    cells: Sequence[PlannedCell], needs: Sequence[Need], options: TaskOptions, *, stop_on_failure: bool
) -> list[Outcome]:
    import ray

    outcomes: dict[Path, Outcome] = {}
    starts = {cell.folder: start_of(cell) for cell in cells}
    tasks = {_start(cell, need, options): cell for cell, need in zip(cells, needs, strict=True)}
    stopped = False
    with SweepDisplay([cell.folder.name for cell in cells], len(cells)) as display:
        try:
            while waiting := [task for task, cell in tasks.items() if cell.folder not in outcomes]:
                ended, _ = ray.wait(waiting, num_returns=1, timeout=_LOOK_SECONDS)
                for cell in [cell for cell in cells if cell.folder in starts]:
                    # A task that waits for resources has not written a result.
                    if cell.folder in outcomes or start_of(cell) != starts[cell.folder]:
                        del starts[cell.folder]
                        display.started(cell.folder.name)
                for task in ended:
                    cell = tasks[task]
                    if stopped and cell.folder in starts:
                        outcomes[cell.folder] = not_started(cell)
                        del starts[cell.folder]
                        continue
                    outcome = outcomes[cell.folder] = _outcome(cell, task, cancelled=stopped)
                    display.ended(outcome.cell_id, str(outcome.status), outcome.reason)
                    # Without a status, the cell could not even write a result.
                    if stop_on_failure and not stopped and outcome.status in FAILURES | {None}:
                        stopped = True
                        _cancel(task for task, cell in tasks.items() if cell.folder not in outcomes)
                        display.stopped(outcome.cell_id, len(starts.keys() - outcomes.keys()))
        except KeyboardInterrupt:
            unfinished = [(task, cell) for task, cell in tasks.items() if cell.folder not in outcomes]
            display.interrupted(len(unfinished))
            _cancel(task for task, _ in unfinished)
            wait_for([cell for _, cell in unfinished], limit_seconds=SECONDS_TO_SAVE)
            raise
    return [outcomes[cell.folder] for cell in cells]


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


def _outcome(cell: PlannedCell, task: Any, *, cancelled: bool) -> Outcome:
    """Return how the cell of a task ended. The record of the cell has priority over what Ray reports."""
    import ray

    cause = None
    try:
        ray.get(task)
    except Exception as error:
        if not cancelled:
            first_line = _COLOR.sub("", str(error).strip().partition("\n")[0])
            cause = f"Ray reports {type(error).__name__}: {first_line}"
    # The process of a worker that was lost is told to end, and writes its result.
    wait_for([cell], limit_seconds=SECONDS_TO_SAVE)
    out_of_memory = cause is not None and "OutOfMemoryError" in cause
    record_death(cell, Status.oom if out_of_memory else Status.failed, cause)
    outcome = recorded_outcome(cell)
    if cause is not None and outcome.status is not Status.ok:
        outcome = replace(outcome, reason=f"{outcome.reason}; {cause}")
    return outcome


def _check(need: Need, resources: Mapping[str, float]) -> None:
    """Refuse a need that no set of free nodes can meet, because Ray would wait for ever."""
    offered = {"CPU": need.cores, "GPU": need.gpus, "memory": need.memory_gb * GB}
    names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "mem_gb"}
    for resource, amount in offered.items():
        if amount > resources.get(resource, 0):
            most = resources.get(resource, 0) / (GB if resource == "memory" else 1)
            raise UserError(
                f"hydra.launcher.{names[resource]} must be at most {most:.0f}, which Ray offers, got {need}",
                where="hydra/launcher=ray",
                hint=f"hydra.launcher.{names[resource]}={most:.0f}",
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
