"""Grids of scores: a row for each configuration, a column for each score, with the best marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peft_study.report.caveats import caveats_between
from peft_study.report.groups import Group
from peft_study.report.tables.table import MISSING, NOT_RUN, Cell, Mark, Table

INTERVALS = "In brackets: the 95 % interval, over seeds and samples; of a single seed over its samples alone."
_PARTLY = "(2 of 3): the number of cells of a configuration that succeeded, and that its scores are of."
# Equal scores may differ in their last bits.
_DIGITS = 9


@dataclass(frozen=True)
class Score:
    """A column of scores.

    Attributes:
        heading: the heading above it, such as the data set; also a key of `GridRow.groups`.
        title: the score's name in print.
        metric: the column of the rows.
    """

    heading: str
    title: str
    metric: str

    @property
    def name(self) -> str:
        """The column's full name."""
        return f"{self.heading} {self.title}".strip()


@dataclass(frozen=True)
class GridRow:
    """A row of a grid.

    Attributes:
        labels: the first cells of the row.
        model: the best of each model is marked.
        groups: configurations by the scores' headings; a missing heading was not run.
        others: configurations to compare with, by heading.
    """

    labels: tuple[Cell, ...]
    model: str
    groups: Mapping[str, Group]
    others: Mapping[str, Group]


def score_cell(group: Group | None, metric: str) -> Cell:
    """Return a score in per cent: the mean over seeds with its 95 % interval, or the reason why it is missing."""
    if group is None:
        return Cell(MISSING, state=NOT_RUN)
    score, state = group.score(metric), group.state()
    if score is None:
        return Cell(state or MISSING, state=state or "no such score")
    mean = 100 * score.mean
    low, high = (None if end is None else 100 * end for end in (score.low, score.high))
    text = f"{mean:.2f}"
    if low is not None and high is not None:
        text += f" [{low:.2f}, {high:.2f}]"
    # A mean over the seeds that succeeded may be better than the mean over all.
    if state:
        text += f" ({score.runs} of {len(group.frame)})"
    return Cell(text, mean, None, state, low, high, score.runs)


def grid(
    table: Table, labels: Sequence[str], scores: Sequence[Score], rows: Sequence[GridRow], other_name: str | None
) -> Table:
    """Return a table with its cells filled.

    Args:
        table: gives the name, title and notes.
        labels: names of the columns before the scores.
        scores: the columns.
        rows: the rows in order.
        other_name: the heading of the values to compare with, such as "paper"; None for no such values.
    """
    if other_name and not any(row.others for row in rows):
        # Empty columns would look like results that are missing.
        table = replace(table, notes=(*table.notes, f"No configuration in common with: {other_name}."))
        other_name = None
    pairs = [(group, row.others[name]) for row in rows for name, group in row.groups.items() if name in row.others]
    table = replace(table, notes=(*table.notes, *caveats_between(pairs)))
    columns = [
        _marked([score_cell(row.groups.get(score.heading), score.metric) for row in rows], rows) for score in scores
    ]
    cells, names, groups = [list(row.labels) for row in rows], [*labels], [""] * len(labels)
    for score, column in zip(scores, columns, strict=True):
        names.append(score.name)
        groups.append(score.heading)
        if other_name:
            names += [f"{score.name} {other_name}", f"{score.name} difference"]
            groups += [score.heading] * 2
        for row, cell, line in zip(rows, column, cells, strict=True):
            line.append(cell)
            if other_name:
                other = score_cell(row.others.get(score.heading), score.metric)
                line += [replace(other, state=None if other.state == NOT_RUN else other.state), difference(cell, other)]
    headings = tuple(groups) if any(groups) else ()
    return replace(table, columns=tuple(names), cells=tuple(tuple(line) for line in cells), groups=headings)


def difference(cell: Cell, other: Cell) -> Cell:
    """Return the first value less the second, in points."""
    if cell.value is None or other.value is None:
        return Cell(MISSING)
    return Cell(signed_text(cell.value - other.value), cell.value - other.value)


def signed_text(difference: float) -> str:
    """Return a difference with a sign and two digits; one that rounds to 0 is "+0.00"."""
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(difference, 2) + 0.0:+.2f}"


def _marked(cells: Sequence[Cell], rows: Sequence[GridRow]) -> list[Cell]:
    """Mark the best of a column, and the best of each model with several values."""
    values = [None if cell.value is None else round(cell.value, _DIGITS) for cell in cells]
    present = [value for value in values if value is not None]
    by_model: dict[str, list[float]] = {}
    for value, row in zip(values, rows, strict=True):
        if value is not None:
            by_model.setdefault(row.model, []).append(value)
    marked = []
    for cell, value, row in zip(cells, values, rows, strict=True):
        same = by_model.get(row.model, [])
        mark: Mark | None = None
        if value is not None and len(same) > 1 and value == max(same):
            mark = "best_of_model"
        if value is not None and len(present) > 1 and value == max(present):
            mark = "best"
        marked.append(replace(cell, mark=mark))
    return marked


def parameters_cell(*groups: Group) -> Cell:
    """Return the trained parameters of the first group that has them, as in the paper: 0.17M, 12.6M or 220M."""
    # A cell that failed early may not have counted them, and its replicates have the same number.
    count = next(
        (parameters for group in groups if (parameters := group.middle("trainable_parameters")) is not None), None
    )
    if count is None:
        return Cell(MISSING)
    return Cell(short_count(count), count)


def short_count(count: float) -> str:
    """Return a count in millions, with as many digits as the paper gives."""
    # The limits are where rounding would add a digit: 99.96 would print as 100.0.
    millions = count / 1e6
    if millions >= 99.95:
        return f"{millions:.0f}M"
    digits = f"{millions:.1f}" if millions >= 0.995 else f"{millions:.2f}"
    return f"{digits.rstrip('0').rstrip('.')}M" if float(digits) else f"{count:.0f}"


def seeds_note(groups: Iterable[Group]) -> tuple[str, ...]:
    """Return what brackets and counts in parentheses mean, if there are any."""
    shown = [group for group in groups if len(group.done)]
    partly = any(group.state() for group in shown)
    return (*([INTERVALS] if shown else []), *([_PARTLY] if partly else []))
