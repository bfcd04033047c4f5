"""Which rows of the page are repeats of each other: the sets of the tables, and what the tables leave out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peft_study.metrics.intervals import Floats
from peft_study.report.groups import groups, score_of_values

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
        intervals: of the sets with several finished cells, both ends of each score's 95 % interval, those of the
            tables.
    """

    lines: tuple[int, ...]
    others: Mapping[int, str]
    intervals: Mapping[int, Mapping[str, tuple[float, float]]]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "lines": list(self.lines),
            "others": {str(line): text for line, text in self.others.items()},
            "intervals": {
                str(line): {name: list(ends) for name, ends in scores.items()}
                for line, scores in self.intervals.items()
            },
        }


def repeats(frame: pd.DataFrame) -> Repeats:
    """Find the sets.

    A row without a model or a method is a set of its own.

    Args:
        frame: rows as of `rows.load`.
    """
    rows = frame.reset_index(drop=True)
    sets: list[list[int]] = []
    others = {}
    intervals = {}
    names = [str(name).removesuffix("_low") for name in rows if str(name).endswith("_low")]
    # As plain arrays: thousands of sets ask for each column.
    columns = {name: rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float) for name in names}
    done = (rows["status"] == "ok").to_numpy()
    for group in groups(rows):
        for cells in (group.frame, *group.left_out):
            if cells is not group.frame:
                others[len(sets)] = _difference(cells, group.frame)
            places = cells.index.to_numpy()
            if ends := _intervals(places[done[places]], columns):
                intervals[len(sets)] = ends
            sets.append(cells.index.tolist())
    named = {row for places in sets for row in places}
    sets += [[row] for row in range(len(rows)) if row not in named]
    lines = {row: line for line, places in enumerate(sets) for row in places}
    return Repeats(tuple(lines[row] for row in range(len(rows))), others, intervals)


def _intervals(places: NDArray[np.intp], columns: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    """Of several runs, by their places among the rows; a single one's interval is in its row."""
    if len(places) < 2:
        return {}
    scores = {name: score_of_values(*column[places].T.tolist()) for name, column in columns.items()}
    return {
        name: (score.low, score.high)
        for name, score in scores.items()
        if score is not None and score.low is not None and score.high is not None
    }


def _difference(rows: pd.DataFrame, shown: pd.DataFrame) -> str:
    """In words, such as "learning rate 0.001, not 0.0003"."""
    parts = []
    for column, title in _TOLD.items():
        ours, theirs = (_distinct(rows[column]) for rows in (rows, shown))
        if ours and theirs and ours != theirs:
            parts.append(f"{title} {', '.join(ours)}, not {', '.join(theirs)}")
    return "; ".join(parts) or "in a setting that is not among the columns; the cells' configurations have it"


def _distinct(column: "pd.Series[Any]") -> list[str]:
    values = sorted({f"{value:.10g}" if isinstance(value, float) else str(value) for value in column.dropna().tolist()})
    return [value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…" for value in values]
