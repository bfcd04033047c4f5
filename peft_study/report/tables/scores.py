"""Grids of scores: a row a configuration, a column a score, what is best marked, the other study's value beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peft_study.report.groups import Group, caveats_between
from peft_study.report.tables.table import MISSING, NOT_RUN, Cell, Mark, Table

INTERVALS = "In brackets: the 95 % interval, over seeds and samples; of a single seed over its samples alone."
# Equal scores may differ in their last bits.
_DIGITS = 9


@dataclass(frozen=True)
class Score:
    """One column of scores.

    Attributes:
        heading: what stands above it, such as the data set; also what `GridRow.groups` are called by.
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
    """One row.

    Attributes:
        labels: what it is.
        model: within which it is compared.
        groups: its cells by the scores' headings; a heading that is not there was not run.
        others: those to compare with.
    """

    labels: tuple[Cell, ...]
    model: str
    groups: Mapping[str, Group]
    others: Mapping[str, Group]


def score_cell(group: Group | None, metric: str) -> Cell:
    """A score in per cent: the mean over seeds with its 95 % interval, or why there is none."""
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
    if state:
        text += f" ({score.runs} of {len(group.frame)})"
    return Cell(text, mean, None, state, low, high, score.runs)


def grid(
    table: Table, labels: Sequence[str], scores: Sequence[Score], rows: Sequence[GridRow], other_name: str | None
) -> Table:
    """Fill a table.

    Args:
        table: its name, title and notes.
        labels: names of the columns before the scores.
        scores: the columns.
        rows: in their order.
        other_name: heads the values to compare with, as "paper"; None for none.
    """
    if other_name and not any(row.others for row in rows):
        table = replace(table, notes=(*table.notes, f"Nothing of it to compare with: {other_name}."))
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
    """The first value less the second, in points."""
    if cell.value is None or other.value is None:
        return Cell(MISSING)
    return Cell(signed_text(cell.value - other.value), cell.value - other.value)


def signed_text(difference: float) -> str:
    """Two digits and a sign, of which none is before nothing but zeros below zero."""
    return f"{round(difference, 2) + 0.0:+.2f}"


def _marked(cells: Sequence[Cell], rows: Sequence[GridRow]) -> list[Cell]:
    """Mark the best of a column, and the best of each model that has more than one value."""
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
    """Trainable parameters as the paper writes them, such as 0.17M, 12.6M and 220M, of the first that knows them."""
    count = next(
        (parameters for group in groups if (parameters := group.middle("trainable_parameters")) is not None), None
    )
    if count is None:
        return Cell(MISSING)
    return Cell(short_count(count), count)


def short_count(count: float) -> str:
    """A count in millions, with as many digits as the paper gives."""
    millions = count / 1e6
    if millions >= 99.95:
        return f"{millions:.0f}M"
    digits = f"{millions:.1f}" if millions >= 0.995 else f"{millions:.2f}"
    return f"{digits.rstrip('0').rstrip('.')}M" if float(digits) else f"{count:.0f}"


def seeds_note(groups: Iterable[Group]) -> tuple[str, ...]:
    """What brackets and counts in parentheses mean, where there are any."""
    shown = list(groups)
    partly = any(len(group.done) and group.state() for group in shown)
    return (
        *([INTERVALS] if any(len(group.done) for group in shown) else []),
        *(["(2 of 3): so many cells of a configuration ended well, and have part in its scores."] if partly else []),
    )
