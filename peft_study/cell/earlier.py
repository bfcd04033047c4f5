"""Whether the earlier result of a cell stands, or the cell runs again."""

from peft_study.cell.retries import retry_follows
from peft_study.config.schema import CellConfig, Retry
from peft_study.results.schema import FAILURES, RunResult, Status

RETRIED = {
    Retry.all: FAILURES,
    Retry.failed: frozenset({Status.failed}),
    Retry.oom: frozenset({Status.oom}),
    Retry.none: frozenset[Status](),
}
"""The statuses of an earlier result with which a cell runs again, by the setting `retry`."""


def stands(cell: CellConfig, earlier: RunResult) -> bool:
    """Return whether a cell keeps its earlier result and does not run.

    Args:
        cell: the typed config. `rerun=true` has priority over `retry`.
        earlier: the result in the cell's folder.
    """
    # A sweep that was interrupted between two attempts continues with the next one, which uses less memory.
    if cell.rerun or retry_follows(cell, earlier):
        return False
    # Interrupted cells always resume, and so do those that ran out of memory and have not used up their attempts. A
    # refusal is checked again, because another command may have lifted it.
    left_alone = earlier.status in FAILURES - RETRIED[cell.retry] and not retry_follows(cell, earlier)
    return earlier.status is Status.ok or left_alone
