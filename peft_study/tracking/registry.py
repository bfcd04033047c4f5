"""Trackers by name: a key of `tracking.trackers` is the name of a module of this package that has `create_tracker`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.errors import UserError, near_names
from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Tracker, Trackers
from peft_study.tracking.console import ConsoleTracker

Create = Callable[[TrackingConfig, Mapping[str, Any], Path], Tracker]
"""From all settings of tracking, the options of this tracker, and the cell's folder."""


@dataclass(frozen=True)
class TrackerKind:
    """What a tracker's module states of it.

    Attributes:
        create: makes the tracker of a cell.
        files: names of the files and folders that the tracker leaves in a cell's folder. They do not count as work.
        options: names of the options that the tracker takes.
        package: the package that it imports, which is an optional extra with the tracker's name; None if it needs
            nothing else.
    """

    create: Create
    files: frozenset[str]
    options: frozenset[str]
    package: str | None


@cache
def tracker_kinds() -> Mapping[str, TrackerKind]:
    """Find the trackers: every module of this package that has `create_tracker` and `FILES`."""
    # By name, so that a new tracker is a module and a YAML file, and no list has to be changed.
    kinds = {}
    for module_info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"{__package__}.{module_info.name}")
        if hasattr(module, "create_tracker"):
            options, package = getattr(module, "OPTIONS", ()), getattr(module, "PACKAGE", None)
            kinds[module_info.name] = TrackerKind(
                module.create_tracker, frozenset(module.FILES), frozenset(options), package
            )
    return kinds


def tracker_files() -> frozenset[str]:
    """Return the names of all files and folders that trackers leave in a cell's folder."""
    return frozenset().union(*(kind.files for kind in tracker_kinds().values()))


def check_trackers(tracking: TrackingConfig) -> None:
    """Check that the trackers exist, take their options, and are installed.

    Raises:
        UserError: the first that does not.
    """
    for name, options in tracking.trackers.items():
        where = f"tracking.trackers.{name}"
        kind = tracker_kinds().get(name)
        if kind is None:
            names = list(tracker_kinds())
            what = f"tracking.trackers must be among {', '.join(names)}, got {name!r}"
            raise UserError(what, where=where, hint=near_names(name, names))
        if not isinstance(options, Mapping | None):
            raise UserError(f"{where} must be a mapping of options, got {options!r}", where=where, hint=f"{where}={{}}")
        unknown = sorted(set(options or {}) - kind.options)
        if unknown:
            takes = ", ".join(sorted(kind.options)) or "no options"
            raise UserError(f"{where} takes {takes}, got {unknown[0]!r}", where=f"{where}.{unknown[0]}", hint=None)
        if kind.package is not None and find_spec(kind.package) is None:
            what = f"tracking={name} needs the package {kind.package}, which is not installed"
            raise UserError(what, where=where, hint=f"pip install 'peft-study[{name}]', or tracking=jsonl")


def create_trackers(tracking: TrackingConfig, folder: Path) -> list[Tracker]:
    """Create the trackers of a cell from its settings and its folder."""
    kinds = tracker_kinds()
    return [kinds[name].create(tracking, options or {}, folder) for name, options in tracking.trackers.items()]


def start_trackers(
    tracking: TrackingConfig, result: RunResult, folder: Path, *, resumed: bool, watch: Tracker | None = None
) -> Trackers:
    """Start to follow a cell on the console and on the dashboards of its settings.

    Args:
        tracking: the cell's settings.
        result: the cell's record.
        folder: the cell's folder.
        resumed: whether the cell resumes an interrupted run.
        watch: replaces the console.
    """
    trackers = Trackers([watch or ConsoleTracker(), *create_trackers(tracking, folder)])
    trackers.start(CellStart.of_result(result, folder, resumed=resumed))
    return trackers


def track_refusal(tracking: TrackingConfig, result: RunResult, folder: Path) -> None:
    """Report a cell that was refused before it started to the dashboards of its settings.

    Args:
        tracking: the cell's settings.
        result: the record with the reason.
        folder: the cell's folder.
    """
    dashboards = Trackers(create_trackers(tracking, folder))
    dashboards.start(CellStart.of_result(result, folder, resumed=False))
    dashboards.finish(result)
    dashboards.close()
