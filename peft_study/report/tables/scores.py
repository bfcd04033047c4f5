"""Grids of scores: a row for each configuration, a column for each score, with the best marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peft_study.report.caveats import caveats_between
from peft_study.report.groups import Group
from peft_study.report.names import dataset_name, method_name, model_name
from peft_study.report.tables.table import MISSING, NOT_RUN, Cell, Mark, Table

CONFIGURATION = ("Data set", "Model", "Method", "Examples")
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
    pairs = [
        (group, row.others[heading]) for row in rows for heading, group in row.groups.items() if heading in row.others
    ]
    table = replace(table, notes=(*table.notes, *caveats_between(pairs)))
    names, headings = [*labels], [""] * len(labels)
    columns: list[Sequence[Cell]] = list(zip(*(row.labels for row in rows), strict=True))
    for score in scores:
        cells = [score_cell(row.groups.get(score.heading), score.metric) for row in rows]
        names.append(score.name)
        columns.append(_marked(cells, rows))
        if other_name:
            others = [score_cell(row.others.get(score.heading), score.metric) for row in rows]
            names += [f"{score.name} {other_name}", f"{score.name} difference"]
            columns.append([replace(cell, state=None) if cell.state == NOT_RUN else cell for cell in others])
            columns.append([_difference(cell, other) for cell, other in zip(cells, others, strict=True)])
        headings += [score.heading] * (3 if other_name else 1)
    return replace(
        table,
        columns=tuple(names),
        cells=tuple(zip(*columns, strict=True)),
        groups=tuple(headings) if any(headings) else (),
    )


def _difference(cell: Cell, other: Cell) -> Cell:
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
    by_model: dict[str, list[float]] = {}
    for value, row in zip(values, rows, strict=True):
        if value is not None:
            by_model.setdefault(row.model, []).append(value)
    best = _best_of_several([value for value in values if value is not None])
    marked = []
    for cell, value, row in zip(cells, values, rows, strict=True):
        mark: Mark | None = None
        if value is not None and value == _best_of_several(by_model[row.model]):
            mark = "best_of_model"
        if value is not None and value == best:
            mark = "best"
        marked.append(replace(cell, mark=mark))
    return marked


def _best_of_several(values: Sequence[float]) -> float | None:
    return max(values) if len(values) > 1 else None


def configuration_cells(group: Group) -> tuple[Cell, ...]:
    """Return the cells under `CONFIGURATION`."""
    examples = group.num_examples
    return (
        Cell(dataset_name(group.dataset) if group.dataset else MISSING),
        Cell(model_name(group.model)),
        Cell(method_name(group.method, group.quantization)),
        Cell(MISSING if examples is None else f"{examples:.0f}", examples),
    )


def cost_cell(group: Group, column: str, unit: float, digits: int) -> Cell:
    """Return the median of a cost over the seeds.

    Args:
        group: the configuration.
        column: of the rows.
        unit: what the cost is divided by, such as 1e9 for gigabytes.
        digits: behind the point.
    """
    value = group.middle(column)
    return Cell(MISSING) if value is None else Cell(f"{value / unit:.{digits}f}", value / unit)


def parameters_cell(*groups: Group) -> Cell:
    """Return the trained parameters of the first group that has them, as in the paper: 0.17M, 12.6M or 220M."""
    # A cell that failed early may not have counted them, and its replicates have the same number.
    counts = (group.middle("trainable_parameters") for group in groups)
    count = next((count for count in counts if count is not None), None)
    return Cell(MISSING) if count is None else Cell(_short_count(count), count)


def _short_count(count: float) -> str:
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
