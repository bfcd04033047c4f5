"""Which rows of the page are repeats of each other: the sets of the tables, and what the tables leave out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from peft_study.report.groups import groups

_TOLD = {
    "learning_rate": "learning rate",
    "epochs": "epochs",
    "sampled": "sampled",
    "trainable_parameters": "trained parameters",
    "test_samples": "test samples",
    "data_fingerprint": "data",
    "precision": "precision",
    "memory_kind": "kind of memory",
}
"""What two sets of one configuration may differ in and the rows tell, and what it is called."""
_LONGEST_VALUE = 24


@dataclass(frozen=True)
class Repeats:
    """Rows in sets.

    Attributes:
        lines: the number of its set, of each row.
        others: of the sets that the tables do not show, because another one of the same configuration has more
            finished cells: in what they differ from that one.
    """

    lines: tuple[int, ...]
    others: Mapping[int, str]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {"lines": list(self.lines), "others": {str(line): text for line, text in self.others.items()}}


def repeats(frame: pd.DataFrame) -> Repeats:
    """Find the sets.

    A row without a model or a method is a set of its own.

    Args:
        frame: rows as of `rows.load`.
    """
    rows = frame.reset_index(drop=True)
    sets: list[list[int]] = []
    others = {}
    for one in groups(rows):
        for cells in (one.frame, *one.left_out):
            if cells is not one.frame:
                others[len(sets)] = _difference(cells, one.frame)
            sets.append(cells.index.tolist())
    named = {row for places in sets for row in places}
    sets += [[row] for row in range(len(rows)) if row not in named]
    lines = {row: line for line, places in enumerate(sets) for row in places}
    return Repeats(tuple(lines[row] for row in range(len(rows))), others)


def _difference(rows: pd.DataFrame, shown: pd.DataFrame) -> str:
    """In words, such as "learning rate 0.001, not 0.0003"."""
    parts = []
    for column, title in _TOLD.items():
        ours, theirs = (_distinct(one[column]) for one in (rows, shown))
        if ours and theirs and ours != theirs:
            parts.append(f"{title} {', '.join(ours)}, not {', '.join(theirs)}")
    return "; ".join(parts) or "in a setting that is not among the columns; the cells' configurations have it"


def _distinct(column: "pd.Series[Any]") -> list[str]:
    values = sorted({f"{one:.10g}" if isinstance(one, float) else str(one) for one in column.dropna().tolist()})
    return [one if len(one) <= _LONGEST_VALUE else f"{one[:_LONGEST_VALUE]}…" for one in values]
