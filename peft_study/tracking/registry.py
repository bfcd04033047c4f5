"""Trackers by name: `tracking.kind` is the name of a module of this package that has `create_tracker`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from peft_study.config.schema import TrackingConfig
from peft_study.errors import UserError, near_names
from peft_study.tracking.base import Tracker

NONE = "none"


@dataclass(frozen=True)
class TrackerKind:
    """What a tracker's module states of it.

    Attributes:
        create: makes the tracker of a cell from its settings and its folder.
        files: names of the files and folders that the tracker leaves in a cell's folder. They do not count as work.
    """

    create: Callable[[TrackingConfig, Path], Tracker]
    files: frozenset[str]


@cache
def tracker_kinds() -> Mapping[str, TrackerKind]:
    """Find the trackers: every module of this package that has `create_tracker` and `FILES`."""
    # By name, so that a new tracker is a module and a YAML file, and no list has to be changed.
    kinds = {}
    for module_info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"{__package__}.{module_info.name}")
        if hasattr(module, "create_tracker"):
            kinds[module_info.name] = TrackerKind(module.create_tracker, frozenset(module.FILES))
    return kinds


def tracker_files() -> frozenset[str]:
    """Return the names of all files and folders that trackers leave in a cell's folder."""
    return frozenset().union(*(kind.files for kind in tracker_kinds().values()))


def check_tracker(tracking: TrackingConfig) -> None:
    """Check that the tracker exists.

    Raises:
        UserError: there is no tracker with this name.
    """
    names = [NONE, *tracker_kinds()]
    if tracking.kind not in names:
        raise UserError(
            f"tracking.kind must be one of {', '.join(names)}, got {tracking.kind!r}",
            where="tracking.kind",
            hint=near_names(tracking.kind, names),
        )


def create_tracker_of(tracking: TrackingConfig, folder: Path) -> Tracker | None:
    """Create the tracker of a cell from its settings and its folder; None for `tracking=none`."""
    return None if tracking.kind == NONE else tracker_kinds()[tracking.kind].create(tracking, folder)
