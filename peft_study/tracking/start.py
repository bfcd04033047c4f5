"""Chooses the trackers that follow a cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_study.config.schema import CellConfig
from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Tracker, Trackers
from peft_study.tracking.console import ConsoleTracker
from peft_study.tracking.registry import create_trackers


def start_trackers(
    cell: CellConfig,
    config: Mapping[str, Any],
    cell_id: str,
    folder: Path,
    *,
    resumed: bool,
    watch: Tracker | None = None,
) -> Trackers:
    """Start to follow a cell on the console and on the dashboards of its settings.

    Args:
        cell: the typed config.
        config: the same as plain containers.
        cell_id: readable name with hash.
        folder: the cell's folder.
        resumed: whether the cell resumes an interrupted run.
        watch: replaces the console.
    """
    combined = Trackers([watch or ConsoleTracker(), *create_trackers(cell.tracking, folder)])
    combined.start(_start_of(cell, config, cell_id, folder, resumed=resumed))
    return combined


def track_refusal(cell: CellConfig, result: RunResult, folder: Path) -> None:
    """Report a cell that was refused before it started to the dashboards of its settings.

    Args:
        cell: the typed config, whose trackers are checked.
        result: the record with the reason.
        folder: the cell's folder.
    """
    dashboards = Trackers(create_trackers(cell.tracking, folder))
    dashboards.start(_start_of(cell, result.config, result.cell_id, folder, resumed=False))
    dashboards.finish(result)
    dashboards.close()


def _start_of(cell: CellConfig, config: Mapping[str, Any], cell_id: str, folder: Path, *, resumed: bool) -> CellStart:
    return CellStart(
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
