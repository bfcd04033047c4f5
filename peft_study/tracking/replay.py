"""A cell's folder as the calls that its trackers got, so that a run can be built again from the record."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Tracker
from peft_study.tracking.summary import summary_of


def start_of(result: RunResult, folder: Path, *, resumed: bool) -> CellStart:
    """Return what a tracker learned when the cell started.

    Args:
        result: the cell's record.
        folder: where the tracker may write.
        resumed: whether an earlier run of the cell was tracked.
    """
    groups = {group: result.config.get(group) or {} for group in ("model", "method", "dataset", "quantization")}
    return CellStart(
        cell_id=result.cell_id,
        study=result.study,
        model=str(groups["model"].get("name", "")),
        method=str(groups["method"].get("name", "")),
        dataset=str(groups["dataset"].get("name", "")),
        quantization=str(groups["quantization"].get("name", "")),
        seed=int(result.config.get("seed", 0)),
        folder=folder,
        config=result.config,
        resumed=resumed,
    )


def replay(tracker: Tracker, start: CellStart, rows: Iterable[Mapping[str, Any]], result: RunResult) -> None:
    """Track a cell from its record.

    Args:
        tracker: gets the calls of a cell that runs.
        start: see `start_of`.
        rows: lines of metrics.jsonl.
        result: the cell's record.
    """
    tracker.start(start)
    for row in rows:
        # The file holds None for a number that is not finite.
        tracker.step(row["step"], {name: value for name, value in row.items() if name != "step" and value is not None})
    tracker.summary(summary_of(result))
    tracker.finish(str(result.status))
