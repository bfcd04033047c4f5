"""A cell's folder as the calls that its trackers got, so that a run can be built again from the record."""

from collections.abc import Sequence

from peft_study.results.schema import RunResult
from peft_study.tracking.base import CellStart, Row, Tracker


def replay(tracker: Tracker, start: CellStart, steps: Sequence[Row], usages: Sequence[Row], result: RunResult) -> None:
    """Track a cell from its record. After an error the tracker stays open, because to close it can wait for a server.

    Args:
        tracker: gets the calls of a cell that resumes and has nothing left to do.
        start: of a cell that resumes.
        steps: the lines of metrics.jsonl.
        usages: the lines of usage.jsonl.
        result: the cell's record.
    """
    tracker.start(start)
    tracker.restore(steps, usages)
    tracker.finish(result)
    tracker.close()
