"""A table as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MISSING = "–"  # noqa: RUF001 - the dash of an empty cell in print
Mark = Literal["best", "best_of_model"]
NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is read.
        value: what it says, in the column's unit; None for words and for what is missing.
        mark: whether it is the best of its column, or of its model alone.
        state: why there is no value, or how some of its runs ended otherwise; None where all is well.
        low: lower end of the 95 % interval, over seeds and samples, in the column's unit; of a single run over samples.
        high: upper end.
        runs: how many seeds the value is the mean of.
    """

    text: str
    value: float | None = None
    mark: Mark | None = None
    state: str | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files, such as "table3".
        title: one line.
        columns: their full names, distinct.
        cells: rows of as many cells as there are columns.
        notes: what a reader must know to read it.
        groups: the heading above each column, which its full name begins with; "" for none, empty for no headings.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.cells:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.name}: a row of {len(row)} cells under {len(self.columns)} columns")
        if self.groups and len(self.groups) != len(self.columns):
            raise ValueError(f"{self.name}: {len(self.groups)} headings over {len(self.columns)} columns")

    @property
    def heads(self) -> tuple[str, ...]:
        """The columns' names below their headings."""
        groups: Sequence[str] = self.groups or [""] * len(self.columns)
        return tuple(
            name.removeprefix(f"{group} ") if group else name for name, group in zip(self.columns, groups, strict=True)
        )
