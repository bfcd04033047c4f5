"""What the states of many cells add up to: counts, running cells, failures by reason, time left."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peft_study.cli.status.cells import SHOWN_STATES, STALE, UNREADABLE, WAITING, CellState
from peft_study.cost.durations import TimeKey, median_seconds
from peft_study.results.folders import Problem
from peft_study.results.schema import FAILURES, Status
from peft_study.results.store import most_telling_file

_FAILED = FAILURES | {Status.infeasible, UNREADABLE}
_UNFINISHED = (Status.running, STALE, Status.preempted, WAITING)
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d[\d.,]*")
_REASON_LINES = 3
_REASON_CHARACTERS = 500


@dataclass(frozen=True)
class FailureGroup:
    """The cells that did not succeed for the same reason, numbers aside.

    Attributes:
        state: how they ended.
        reason: the first lines of the first cell's reason.
        cells: the cells.
        log: the file that says most about the first cell.
    """

    state: str
    reason: str
    cells: tuple[CellState, ...]
    log: Path


@dataclass(frozen=True)
class StatusSummary:
    """The state of a folder.

    Attributes:
        root: the folder.
        read_at: when it was read.
        counts: number of cells by state, in the order of `SHOWN_STATES`; states without cells are left out.
        running: running and stale cells.
        failures: groups of failures, the largest first.
        work_seconds_left: predicted seconds of the unfinished cells, one at a time; None if none can be predicted.
        seconds_left: the same with as many at a time as run now; None if no cell runs.
        unfinished: number of cells that run, wait, or were interrupted.
        unpredicted: how many of them have no finished replicate to predict from.
        problems: what could not be read.
    """

    root: Path
    read_at: datetime
    counts: Mapping[str, int]
    running: tuple[CellState, ...]
    failures: tuple[FailureGroup, ...]
    work_seconds_left: float | None
    seconds_left: float | None
    unfinished: int
    unpredicted: int
    problems: tuple[Problem, ...]

    @property
    def cells(self) -> int:
        """Number of all cells."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain containers for JSON."""
        return {
            "folder": str(self.root),
            "read_at": self.read_at.isoformat(timespec="seconds"),
            "cells": self.cells,
            "states": dict(self.counts),
            "running": [_running_json(cell) for cell in self.running],
            "failures": [_failure_json(group) for group in self.failures],
            "work_seconds_left": self.work_seconds_left,
            "seconds_left": self.seconds_left,
            "unfinished": self.unfinished,
            "cells_of_unknown_time": self.unpredicted,
            "problems": [{"where": problem.where, "what": problem.what} for problem in self.problems],
        }


def summarize(root: Path, cells: Sequence[CellState], problems: Sequence[Problem]) -> StatusSummary:
    """Add up the states of cells.

    Args:
        root: the folder that was read.
        cells: its cells.
        problems: what could not be read.
    """
    counts = Counter(cell.state for cell in cells)
    left = _seconds_left(cells)
    predicted = [seconds for seconds in left if seconds is not None]
    now = counts[Status.running]
    return StatusSummary(
        root=root,
        read_at=datetime.now(UTC),
        counts={str(state): counts[state] for state in SHOWN_STATES if counts[state]},
        running=tuple(cell for cell in cells if cell.state in (Status.running, STALE)),
        failures=_group_failures(cells),
        work_seconds_left=sum(predicted) if predicted else None,
        # The longest cell is a lower bound.
        seconds_left=max(sum(predicted) / now, *predicted) if predicted and now else None,
        unfinished=len(left),
        unpredicted=len(left) - len(predicted),
        problems=tuple(problems),
    )


def _seconds_left(cells: Sequence[CellState]) -> list[float | None]:
    """Return the predicted seconds that each unfinished cell still takes; None without a finished replicate."""
    finished = ((cell.time_key, cell.seconds) for cell in cells if cell.state == Status.ok)
    typical: Mapping[TimeKey, float] = median_seconds(finished)
    left: list[float | None] = []
    for cell in cells:
        if cell.state in _UNFINISHED:
            seconds = typical.get(cell.time_key)
            left.append(None if seconds is None else max(0.0, seconds - cell.seconds))
    return left


def _group_failures(cells: Sequence[CellState]) -> tuple[FailureGroup, ...]:
    groups: dict[tuple[str, str], list[CellState]] = {}
    for cell in cells:
        if cell.state in _FAILED:
            first_line = (cell.reason or "").partition("\n")[0]
            # Bytes, steps and addresses differ between cells with the same problem.
            groups.setdefault((cell.state, _NUMBER.sub("#", first_line)), []).append(cell)
    # Groups of one size in the order of the states, so that a display that is read again does not jump.
    largest_first = sorted(groups.items(), key=lambda item: (-len(item[1]), SHOWN_STATES.index(item[0][0]), item[0]))
    return tuple(
        FailureGroup(state, _first_lines(group[0].reason or ""), tuple(group), most_telling_file(group[0].folder))
        for (state, _), group in largest_first
    )


def _first_lines(reason: str) -> str:
    return "\n".join(reason.strip().split("\n")[:_REASON_LINES])[:_REASON_CHARACTERS]


def _running_json(cell: CellState) -> dict[str, Any]:
    lease = cell.lease
    return {
        "cell_id": cell.cell_id,
        "folder": str(cell.folder),
        "state": cell.state,
        "host": lease.host if lease else None,
        "process": lease.process if lease else None,
        "job": lease.job if lease else None,
        "acquired_at": lease.acquired_at if lease else None,
        "beat_seconds_ago": lease.age_seconds if lease else None,
        "written_seconds_ago": cell.written_seconds_ago,
        "started_at": cell.started_at.isoformat() if cell.started_at else None,
        "work_seconds": cell.seconds,
    }


def _failure_json(group: FailureGroup) -> dict[str, Any]:
    return {
        "state": group.state,
        "reason": group.reason,
        "count": len(group.cells),
        "log": str(group.log),
        "cells": [str(cell.folder) for cell in group.cells],
    }
