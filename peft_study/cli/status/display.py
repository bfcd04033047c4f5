"""The state of a folder as a person reads it: counts, a table of running cells, failures by reason, time left."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from peft_study.cli.status.cells import STALE, CellState
from peft_study.cli.status.summary import FailureGroup, StatusSummary
from peft_study.console.formats import MISSING, duration
from peft_study.console.messages import printable
from peft_study.results.schema import Status

_MOST_GROUPS = 20
_MOST_PROBLEMS = 5
_OTHER_LINES = 6
"""Lines of a live display that are neither running cells nor failures."""
_STYLES = {Status.running: "cyan", STALE: "bold yellow"}


def print_status(summary: StatusSummary, console: Console) -> None:
    """Print the state of a folder."""
    for part in _parts(summary, console, len(summary.running), _MOST_GROUPS):
        # A wrapped path cannot be copied.
        console.print(part, soft_wrap=isinstance(part, Text))


def live_status(summary: StatusSummary, console: Console) -> RenderableType:
    """Return the state of a folder, cut to the height of the terminal."""
    room = max(4, console.height - _OTHER_LINES)
    # A failure takes at least two lines. Half of the room goes to the failures, if there are as many.
    groups = min(len(summary.failures), room // 4)
    return Group(*_parts(summary, console, room - 2 * groups, groups))


def counts_line(summary: StatusSummary) -> str:
    """Return the number of cells by state, in one line."""
    counts = ", ".join(f"{number:,} {state}" for state, number in summary.counts.items())
    return f"{summary.cells:,} cells" + (f": {counts}" if counts else "")


def time_left(summary: StatusSummary) -> str | None:
    """Return what is known of the time left, in one line; None if no cell is unfinished."""
    if not summary.unfinished:
        return None
    parts = []
    if summary.work_seconds_left is not None:
        parts.append(f"{duration(summary.work_seconds_left)} of work left")
    if summary.seconds_left is not None:
        now = summary.counts[Status.running]
        parts.append(f"about {duration(summary.seconds_left)} with {now:,} at a time")
    if summary.unpredicted:
        parts.append(f"time unknown for {summary.unpredicted:,}: no replicate has finished under this folder")
    return "; ".join(parts)


def _parts(summary: StatusSummary, console: Console, rows: int, groups: int) -> Iterable[RenderableType]:
    yield _text(f"{summary.root}: {counts_line(summary)}", console)
    if not summary.cells and not summary.problems:
        yield Text("no result.json and no sweep.json in this folder or below it")
    if summary.running:
        # Stale cells need a person, so they are never cut.
        shown = sorted(summary.running, key=lambda cell: cell.state != STALE)[: max(1, rows)]
        yield _running_table(shown, console)
        if len(shown) < len(summary.running):
            yield Text(f"and {len(summary.running) - len(shown):,} more running cells")
    for group in summary.failures[:groups]:
        yield from _failure_lines(group, console)
    if len(summary.failures) > groups:
        yield Text(f"and {len(summary.failures) - groups:,} more reasons, which --json lists")
    for problem in summary.problems[:_MOST_PROBLEMS]:
        yield _text(f"skipped: {problem.where}: {problem.what}", console)
    if len(summary.problems) > _MOST_PROBLEMS:
        yield Text(f"and {len(summary.problems) - _MOST_PROBLEMS:,} more, which --json lists")
    if (left := time_left(summary)) is not None:
        yield Text(left)


def _running_table(cells: Sequence[CellState], console: Console) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("cell", overflow="ellipsis", no_wrap=True, ratio=1)
    for title in ("state", "last sign", "for", "host", "job"):
        table.add_column(title, no_wrap=True, justify="right" if title in {"last sign", "for"} else "left")
    for cell in cells:
        lease = cell.lease
        # An explicit type, because the file may have been edited.
        job = MISSING if lease is None else str(lease.job or f"process {lease.process}")
        values = [_last_sign(cell), _running_for(cell), MISSING if lease is None else str(lease.host), job]
        state = Text(cell.state, style=_STYLES.get(cell.state, ""))
        table.add_row(_text(cell.cell_id, console), state, *(_text(value, console) for value in values))
    return table


def _last_sign(cell: CellState) -> str:
    if cell.lease is not None:
        return f"beat {duration(max(0.0, cell.lease.age_seconds))}"
    # A version without heartbeats ran it.
    return MISSING if cell.written_seconds_ago is None else f"write {duration(cell.written_seconds_ago)}"


def _running_for(cell: CellState) -> str:
    if cell.started_at is None:
        return MISSING
    return duration(max(0.0, (datetime.now(UTC) - cell.started_at).total_seconds()))


def _failure_lines(group: FailureGroup, console: Console) -> Iterable[Text]:
    first, *others = group.reason.split("\n")
    line = _text(f"{len(group.cells):,} {group.state}: {first or 'no reason recorded'}", console)
    line.stylize("bold red", 0, line.plain.index(":"))
    yield line
    for other in others:
        yield _text(f"  {other}", console)
    more = f" and {len(group.cells) - 1:,} more" if len(group.cells) > 1 else ""
    yield _text(f"  {group.log}{more}", console)


def _text(line: str, console: Console) -> Text:
    return Text(printable(line, console), overflow="fold")
