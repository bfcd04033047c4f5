"""Which rows of the page are repeats of each other: the sets of the tables, and what the tables leave out."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd

from peft_study.report.groups import KEYS, groups

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
    shown = [one.frame.index.tolist() for one in groups(rows)]
    left = _left_out(rows.drop(index=list(chain(*shown))))
    unnamed = [[row] for row in rows.index.difference(list(chain(*shown, *left))).tolist()]
    lines = {row: line for line, places in enumerate((*shown, *left, *unnamed)) for row in places}
    configurations = rows.groupby(list(KEYS), dropna=False, sort=False).ngroup().tolist()
    in_tables = {configurations[places[0]]: places for places in shown}
    others = {
        lines[places[0]]: _difference(rows.loc[places], rows.loc[in_tables[configurations[places[0]]]])
        for places in left
    }
    return Repeats(tuple(lines[row] for row in range(len(rows))), others)


def _left_out(rows: pd.DataFrame) -> list[list[int]]:
    """The sets of the rows that are in no table, those of each setting apart, by the rules of the tables."""
    found: list[list[int]] = []
    left = rows.dropna(subset=["model", "method"])
    # A model for each setting, so that no set holds two; NUL is in no name of a file.
    left = left.assign(model=left["model"].astype(str) + "\0" + left["settings"].fillna("").astype(str))
    while len(left):
        found += [one.frame.index.tolist() for one in groups(left)]
        left = left.drop(index=left.index.intersection(list(chain(*found))))
    return found


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
