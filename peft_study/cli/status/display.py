"""The state of a folder as a person reads it: counts, a table of running cells, failures by reason, time left."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from peft_study.cli.status.cells import STALE, CellState
from peft_study.cli.status.summary import FailureGroup, StatusSummary
from peft_study.console.formats import MISSING, duration, shorten
from peft_study.console.messages import printable
from peft_study.results.schema import Status

_MOST_GROUPS = 20
_MOST_PROBLEMS = 5
_OTHER_LINES = 8
"""Lines of a live display that are neither running cells nor failures."""
_LONGEST_HOST, _LONGEST_JOB, _SHORTEST_NAME = 14, 14, 20
AHEAD = "ahead"
"""Sign of a heartbeat that is later than the clock of this machine, so that it is unknown whether it is stale."""
_CLOCKS_AGREE_SECONDS = 60.0
_STYLES = {"beat": "cyan", STALE: "bold yellow", AHEAD: "bold yellow"}


def print_status(summary: StatusSummary, console: Console) -> None:
    """Print the state of a folder."""
    for part in _parts(summary, console, len(summary.running), _MOST_GROUPS):
        # A wrapped path cannot be copied.
        console.print(part, soft_wrap=isinstance(part, Text))


def live_status(summary: StatusSummary, console: Console) -> RenderableType:
    """Return the state of a folder, cut to the size of the terminal."""
    room = max(4, console.height - _OTHER_LINES)
    # A failure takes two lines. Half of the room goes to the failures, if there are as many.
    groups = min(len(summary.failures), room // 4)
    return Group(*_parts(summary, console, room - 2 * groups, groups, cut=True))


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


def _parts(
    summary: StatusSummary, console: Console, rows: int, groups: int, *, cut: bool = False
) -> Iterable[RenderableType]:
    """Yield the lines and the table, with at most `rows` running cells and `groups` of failures.

    If `cut`, a failure has two lines, and only the first problem is shown.
    """
    yield _text(f"{summary.root}: {counts_line(summary)}", console)
    if not summary.cells and not summary.problems:
        yield Text("no result.json and no sweep.json in this folder or below it")
    if summary.running:
        # Stale cells need a person, so they come first.
        shown = sorted(summary.running, key=lambda cell: cell.state != STALE)[: max(1, rows)]
        yield _running_table(shown, console)
        if len(shown) < len(summary.running):
            yield Text(f"and {len(summary.running) - len(shown):,} more")
    for group in summary.failures[:groups]:
        yield from _failure_lines(group, console, console.width if cut else None)
    if len(summary.failures) > groups:
        yield Text(f"and {len(summary.failures) - groups:,} more reasons, which --json lists")
    most_problems = 1 if cut else _MOST_PROBLEMS
    for problem in summary.problems[:most_problems]:
        line = _text(f"skipped: {problem.where}: {problem.what}", console)
        yield _cut(line, console.width) if cut else line
    if len(summary.problems) > most_problems:
        yield Text(f"and {len(summary.problems) - most_problems:,} more, which --json lists")
    if (left := time_left(summary)) is not None:
        yield Text(left)


def _running_table(cells: Sequence[CellState], console: Console) -> Table:
    titles = ("cell", "last sign", "for", "host", "job")
    rows = [[printable(value, console) for value in _row(cell)] for cell in cells]
    if sum(_widths(titles, rows)) > console.width:
        limits = (None, None, None, _LONGEST_HOST, _LONGEST_JOB)
        rows = [
            [value if limit is None else shorten(value, limit) for value, limit in zip(row, limits, strict=True)]
            for row in rows
        ]
    # rich would cut each column a little, and the ends of names first.
    name_width = max(_SHORTEST_NAME, console.width - sum(_widths(titles, rows)[1:]) - 1)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True, justify="right" if title == "for" else "left")
    for name, sign, *other_columns in rows:
        style = _STYLES.get(sign.partition(" ")[0], "")
        table.add_row(Text(shorten(name, name_width)), Text(sign, style=style), *map(Text, other_columns))
    return table


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column with the space behind it."""
    return [max(map(len, column)) + 1 for column in zip(titles, *rows, strict=True)]


def _row(cell: CellState) -> tuple[str, str, str, str, str]:
    lease = cell.lease
    if lease is None:
        return cell.cell_id, _last_sign(cell), _running_for(cell), MISSING, MISSING
    # The file may have been edited, so nothing is sure to be a string.
    host, job = str(lease.host).partition(".")[0], str(lease.job or f"pid {lease.process}")
    return cell.cell_id, _last_sign(cell), _running_for(cell), host, job


def _last_sign(cell: CellState) -> str:
    if cell.lease is not None:
        age = cell.lease.age_seconds
        if age < -_CLOCKS_AGREE_SECONDS and cell.state != STALE:
            return f"{AHEAD} {duration(-age)}"
        return f"{STALE if cell.state == STALE else 'beat'} {duration(max(0.0, age))}"
    # A version without heartbeats ran it.
    return MISSING if cell.written_seconds_ago is None else f"write {duration(cell.written_seconds_ago)}"


def _running_for(cell: CellState) -> str:
    if cell.started_at is None:
        return MISSING
    return duration(max(0.0, (datetime.now(UTC) - cell.started_at).total_seconds()))


def _failure_lines(group: FailureGroup, console: Console, width: int | None) -> Iterable[Text]:
    """Yield the reason of a group and its log: all lines of the reason, or two lines of a width."""
    first, *other_lines = group.reason.split("\n")
    head = f"{len(group.cells):,} {group.state}:"
    line = _text(f"{head} {first or 'no reason recorded'}", console)
    line.stylize("bold red", 0, len(head))
    log = printable(str(group.log), console)
    if width is not None:
        yield from (_cut(line, width), Text(f"  {shorten(log, width - 2)}"))
        return
    yield line
    for other in other_lines:
        yield _text(f"  {other}", console)
    yield Text(f"  {log}")


def _cut(line: Text, width: int) -> Text:
    if len(line) > width:
        line.truncate(width - 3)
        line.append("...")  # rich's ellipsis is not in every encoding
    return line


def _text(line: str, console: Console) -> Text:
    return Text(printable(line, console))
