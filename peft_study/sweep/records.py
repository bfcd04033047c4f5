"""What the folders of a sweep's cells record, and how a record ends whose process cannot write it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from peft_study.cell.attempt import Outcome
from peft_study.cell.endings import end_attempt
from peft_study.cell.process import utc_now
from peft_study.cell.retries import keeps_result
from peft_study.console.exit import EXIT_FAILED, EXIT_OK, EXIT_USER_ERROR
from peft_study.cost.durations import TimeKey, median_seconds, time_key, work_seconds
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import OUTPUT, RESULT, CellFolder, read_result
from peft_study.sweep.plan import PlannedCell

_LAST_LINES, _LAST_CHARACTERS = 3, 2000
"""The part of a dead cell's output that its reason quotes."""


def result_of(cell: PlannedCell) -> RunResult | None:
    """Return a cell's result; None without a result that can be read."""
    return _readable(cell.folder / RESULT)


def _readable(file: Path) -> RunResult | None:
    try:
        return read_result(file)
    except (OSError, ValueError):
        return None


def start_of(cell: PlannedCell) -> str | None:
    """Return when the run that a cell's result records started; None without a result, and after a refusal."""
    result = result_of(cell)
    return None if result is None else result.started_at


def ended_before(cell: PlannedCell) -> Outcome | None:
    """Return the outcome of an earlier run, if it stands."""
    # Read before the cell starts, because a process only to find this out would take the slot for seconds. A result
    # that cannot be read is reported by the cell.
    result = result_of(cell)
    if result is None or not keeps_result(cell.cell, result):
        return None
    return outcome_from(result, cell.folder)


def median_work_seconds(cells: Sequence[PlannedCell]) -> Mapping[TimeKey, float]:
    """Return the median seconds of the finished cells of all studies under the same output folders, by time key."""
    files = (file for output in {cell.cell.output_dir for cell in cells} for file in Path(output).glob(f"*/*/{RESULT}"))
    return median_seconds(
        (time_key(result.config), work_seconds(result))
        for result in map(_readable, files)
        if result is not None and result.status is Status.ok
    )


def unreadable_reason(error: Exception) -> str:
    """Return why a cell does not run whose result cannot be read."""
    return f"its result cannot be read: {error}; rerun=true starts the cell over"


def recorded_outcome(cell: PlannedCell) -> Outcome:
    """Return the outcome that a cell's folder records. The status is None if there is no result."""
    name, folder = cell.folder.name, cell.folder
    try:
        result = read_result(folder / RESULT)
    except (OSError, ValueError) as error:
        return Outcome(name, None, unreadable_reason(error), EXIT_USER_ERROR, folder)
    if result is None:
        return Outcome(name, None, "it left no result", EXIT_FAILED, folder)
    return outcome_from(result, folder)


def outcome_from(result: RunResult, folder: Path) -> Outcome:
    """Return the outcome that a record states.

    Args:
        result: the record.
        folder: of the cell.
    """
    reason, code = result.reason, EXIT_FAILED
    match result.status:
        case Status.ok:
            reason, code = None, EXIT_OK
        case Status.running:
            reason = "its process ended without a result, or still runs"
        case Status.infeasible:
            code = EXIT_USER_ERROR
    return Outcome(folder.name, result.status, reason, code, folder)


def not_started(cell: PlannedCell) -> Outcome:
    """Return the outcome of a cell whose turn did not come, because `stop_on_failure` ended the sweep."""
    return Outcome(cell.folder.name, None, "not started", EXIT_FAILED, cell.folder, started=False)


def record_end(cell: PlannedCell, result: RunResult, status: Status, reason: str) -> None:
    """Write the end of a cell whose process died, and left "running" or no result.

    Args:
        cell: the cell.
        result: its record, filled in place.
        status: how it ended.
        reason: what is known of the end.

    Raises:
        CellBusyError: a process holds the cell, so that "running" is true.
        OSError: the folder cannot be written.
    """
    folder = CellFolder(cell.folder)
    with folder.locked():
        result.status, result.reason = status, reason
        result.finished_at = utc_now()
        end_attempt(cell.cell, result, killed=True)
        folder.write_result(result)


def last_output(folder: Path) -> str | None:
    """Return the last lines that a cell's process printed, as one line; None if it printed nothing."""
    lines = last_lines(folder / OUTPUT)
    return f"{OUTPUT} ends with: {lines}" if lines else None


def last_lines(file: Path) -> str | None:
    """Return the last lines of a text as one line, empty if it has none; None if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    lines = [line.strip() for line in text[-_LAST_CHARACTERS:].splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:])
