"""Reads the state of every cell under a folder, from the cells' files alone."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from peft_study.cost.durations import TimeKey, time_key, work_seconds
from peft_study.errors import UserError
from peft_study.results.folders import DAMAGED, Problem, cell_folders, describe_damage, read_regular
from peft_study.results.lease import LEASE, STALE_SECONDS, Lease, read_lease
from peft_study.results.lock import LOCK, is_locked
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import LOG, METRICS, OUTPUT, RESULT
from peft_study.results.sweep_record import SWEEP, read_sweep

WAITING, STALE, UNREADABLE = "waiting", "stale", "unreadable"
SHOWN_STATES = (*Status, WAITING, STALE, UNREADABLE)
"""Every state that is shown: those of a result, and three that follow from other files."""
_GROWING = (RESULT, METRICS, LOG, OUTPUT)
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class CellState:
    """One cell, now.

    Attributes:
        cell_id: name of its folder.
        folder: its folder.
        state: one of `SHOWN_STATES`.
        reason: why it did not succeed; None if it did, or if it still may.
        lease: who runs it, or ran it last; None if the folder has no lease.
        written_seconds_ago: time since the last write of a result, a step or a log; only of running and stale cells.
        started_at: start of the last run; None if unknown.
        seconds: seconds of all phases so far.
        time_key: see `cost.durations`.
    """

    cell_id: str
    folder: Path
    state: str
    reason: str | None = None
    lease: Lease | None = None
    written_seconds_ago: float | None = None
    started_at: datetime | None = None
    seconds: float = 0.0
    time_key: TimeKey = (None, None)


class StatusReader:
    """Reads the states of all cells under a folder. A result that did not change since the last time is not read again.

    Args:
        root: a folder with cells at any depth, or the folder of a cell.

    Raises:
        UserError: the folder does not exist.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = f"FOLDER must be a folder of results, got {root}"
            raise UserError(what, where=str(root), hint="name a study, such as multirun/demo, or all of multirun")
        self._root = root
        self._records: dict[Path, tuple[tuple[int, int, int], CellState]] = {}

    def read(self, advance: Advance | None = None) -> tuple[list[CellState], list[Problem]]:
        """Read the states now.

        Args:
            advance: called with the number of cells read and the number of all cells.

        Returns:
            the cells, ordered by path, with the waiting cells of a sweep at the end; and what could not be read.
        """
        problems: list[Problem] = []
        folders = list(cell_folders(self._root, problems, (RESULT, LEASE)))
        states = []
        for number, folder in enumerate(folders, start=1):
            states.append(self._state(folder))
            if advance is not None:
                advance(number, len(folders))
        self._records = {folder: self._records[folder] for folder in folders if folder in self._records}
        states += self._waiting(set(folders), problems)
        return states, problems

    def _state(self, folder: Path) -> CellState:
        cell, lease = self._recorded(folder), _lease(folder)
        if lease is not None:
            cell = replace(cell, started_at=_time(lease.acquired_at))
        # A cell that runs again keeps its earlier result until it is loaded, so the lease says more.
        if lease is not None and not is_stale(lease):
            seconds = 0.0 if cell.state == Status.ok else cell.seconds
            cell = replace(cell, state=str(Status.running), reason=None, seconds=seconds)
        elif cell.state == Status.running and (lease is not None or _has_ended(folder)):
            cell = replace(cell, state=STALE)
        if cell.state in (Status.running, STALE):
            cell = replace(cell, lease=lease, written_seconds_ago=_written_seconds_ago(folder))
        return cell

    def _recorded(self, folder: Path) -> CellState:
        """Return what result.json alone says of a cell."""
        file, cell_id = folder / RESULT, folder.absolute().name  # the folder may be "."
        try:
            stat = file.stat()
            version = stat.st_mtime_ns, stat.st_size, stat.st_ino
            cached = self._records.get(folder)
            if cached is not None and cached[0] == version:
                return cached[1]
            result = RunResult.from_json(json.loads(read_regular(file)))
        except FileNotFoundError:  # the process that holds the lease has not written it yet
            return CellState(cell_id, folder, str(Status.running))
        except DAMAGED as error:
            return CellState(cell_id, folder, UNREADABLE, f"{RESULT}: {describe_damage(error)}")
        cell = CellState(
            cell_id=cell_id,
            folder=folder,
            state=str(result.status),
            reason=None if result.status is Status.ok or result.reason is None else str(result.reason),
            started_at=_time(result.started_at),
            seconds=work_seconds(result),
            time_key=time_key(result.config),
        )
        # A study's whole results would take gigabytes.
        self._records[folder] = version, cell
        return cell

    def _waiting(self, folders: set[Path], problems: list[Problem]) -> Iterator[CellState]:
        """Yield the cells of the last sweep over each study that left nothing yet."""
        for study in _studies(self._root, folders):
            try:
                sweep = read_sweep(study)
            except DAMAGED as error:
                problems.append(Problem(str(study / SWEEP), describe_damage(error)))
                continue
            for cell in sweep.cells if sweep is not None else ():
                folder = study / cell.cell_id
                if folder not in folders:
                    yield CellState(cell.cell_id, folder, WAITING, time_key=(cell.settings, cell.hardware))


def is_stale(lease: Lease) -> bool:
    """Return whether the process of a lease is dead, or has written no heartbeat for `STALE_SECONDS`."""
    # Containers share a kernel and hide their processes from each other, but have different names.
    if lease.is_of_this_machine and lease.host == socket.gethostname() and not _is_alive(lease.process):
        return True
    # By the clocks of two machines. A takeover does not trust them, but a display may.
    return lease.age_seconds >= STALE_SECONDS


def _studies(root: Path, folders: set[Path]) -> list[Path]:
    studies = {root, *(folder.parent for folder in folders)} - folders
    with contextlib.suppress(OSError):
        studies |= {Path(entry) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)} - folders
    # The study of a single cell is outside of what was asked for.
    return sorted(study for study in studies if study == root or root in study.parents)


def _lease(folder: Path) -> Lease | None:
    with contextlib.suppress(*DAMAGED):
        return read_lease(folder)
    return None


def _is_alive(process: object) -> bool:
    if not isinstance(process, int) or process <= 0:  # the file was edited
        return False
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError):
        return False
    except psutil.Error:  # another user's process
        return True


def _time(text: object) -> datetime | None:
    with contextlib.suppress(ValueError, TypeError):
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _has_ended(folder: Path) -> bool:
    """Whether the process of a cell without a lease is gone, by the kernel's lock. False if the kernel cannot tell."""
    return (folder / LOCK).exists() and is_locked(folder) is False


def _written_seconds_ago(folder: Path) -> float | None:
    written = []
    for name in _GROWING:
        with contextlib.suppress(OSError):
            written.append((folder / name).stat().st_mtime)
    return max(0.0, time.time() - max(written)) if written else None
