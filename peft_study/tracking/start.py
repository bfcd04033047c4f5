"""Chooses the trackers that follow a cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import CellConfig
from peft_study.tracking.base import CellStart, Tracker, Trackers
from peft_study.tracking.console import ConsoleTracker
from peft_study.tracking.registry import create_tracker_of


def start_trackers(
    cell: CellConfig,
    config: Mapping[str, Any],
    cell_id: str,
    folder: Path,
    *,
    resumed: bool,
    watch: Tracker | None = None,
) -> Trackers:
    """Start to follow a cell on the console and, if its settings name one, on a dashboard.

    Args:
        cell: the typed config.
        config: the same as plain containers.
        cell_id: readable name with hash.
        folder: the cell's folder.
        resumed: whether the cell resumes an interrupted run.
        watch: replaces the console.
    """
    dashboard = create_tracker_of(cell.tracking, folder)
    combined = Trackers([watch or ConsoleTracker(), *([dashboard] if dashboard else [])])
    combined.start(
        CellStart(
            cell_id=cell_id,
            study=cell.study.name,
            model=cell.model.name,
            method=cell.method.name,
            dataset=cell.dataset.name,
            quantization=cell.quantization.name,
            seed=cell.seed,
            folder=folder,
            config=config,
            resumed=resumed,
        )
    )
    return combined
