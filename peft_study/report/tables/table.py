"""A table as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MISSING = "–"  # noqa: RUF001 - the dash of an empty cell in print
Mark = Literal["best", "best_of_model"]
NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the text in print.
        value: the number, in the column's unit; None for a text or a missing value.
        mark: "best" of the column, or "best_of_model".
        state: why the value is missing, or how unfinished runs ended; None if all runs succeeded.
        low: lower end of the 95 % interval over seeds and samples, in the column's unit; over samples for one run.
        high: upper end.
        runs: number of seeds that the value is the mean of.
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
    """A table.

    Attributes:
        name: the name of its files, such as "table3".
        title: in one line.
        columns: full names, distinct.
        cells: rows, with a cell for each column.
        notes: what a reader must know.
        groups: the heading above each column, a prefix of the column's name; "" for none. Empty without headings.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A short row would shift its cells under other headings, in each of three formats.
        for row in self.cells:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.name}: a row of {len(row)} cells under {len(self.columns)} columns")
        if self.groups and len(self.groups) != len(self.columns):
            raise ValueError(f"{self.name}: {len(self.groups)} headings over {len(self.columns)} columns")

    # Markdown and CSV have a single line of full names. LaTeX and the page have the headings above these.
    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the columns without their headings."""
        groups: Sequence[str] = self.groups or [""] * len(self.columns)
        return tuple(
            name.removeprefix(f"{group} ") if group else name for name, group in zip(self.columns, groups, strict=True)
        )
