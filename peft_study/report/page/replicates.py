"""Replicates on the page: rows that differ in their seed alone, grouped as in the tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peft_study.metrics.scores import Floats
from peft_study.report.groups import score_of_values
from peft_study.report.study import Study

_DIFFERENCES = {
    "learning_rate": "learning rate",
    "epochs": "epochs",
    "sampled": "sampled",
    "trainable_parameters": "trained parameters",
    "test_samples": "test samples",
    "data_fingerprint": "data",
    "precision": "precision",
    "memory_kind": "kind of memory",
}
"""Columns in which two sets of a configuration may differ, with their names in a text."""
_LONGEST_VALUE = 24


@dataclass(frozen=True)
class Replicates:
    """Rows in sets of replicates, which are numbered.

    Attributes:
        lines: the number of each row's set.
        others: the sets that the tables leave out, because another set of the configuration has more finished cells.
            The text says how they differ from it.
        intervals: the 95 % interval of each score, as in the tables, for sets with several finished cells.
    """

    lines: tuple[int, ...]
    others: Mapping[int, str]
    intervals: Mapping[int, Mapping[str, tuple[float, float]]]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain containers for JSON."""
        return {
            "lines": list(self.lines),
            "others": {str(line): text for line, text in self.others.items()},
            "intervals": {
                str(line): {name: list(ends) for name, ends in scores.items()}
                for line, scores in self.intervals.items()
            },
        }


def replicates_of(study: Study) -> Replicates:
    """Group the rows into sets of replicates; a row without a model or a method is a set by itself.

    Args:
        study: rows of `rows.load`.
    """
    rows = study.frame
    sets: list[list[int]] = []
    others = {}
    intervals = {}
    # A metric may be called "x_low" itself, so a name needs both of its ends.
    names = [name for name in map(str, rows) if f"{name}_low" in rows and f"{name}_high" in rows]
    # Thousands of sets look up each column, which is fast in plain arrays only.
    columns = {name: rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float) for name in names}
    # An interval is of the cells that succeeded, as in the tables.
    done = (rows["status"] == "ok").to_numpy()
    for group in study.groups:
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
    return Replicates(tuple(lines[row] for row in range(len(rows))), others, intervals)


def _intervals(places: NDArray[np.intp], columns: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    """Compute the intervals of several runs, by their positions."""
    # The page has the ends of a single run in its row.
    if len(places) < 2:
        return {}
    scores = {name: score_of_values(*column[places].T.tolist()) for name, column in columns.items()}
    return {
        name: (score.low, score.high)
        for name, score in scores.items()
        if score is not None and score.low is not None and score.high is not None
    }


def _difference(rows: pd.DataFrame, shown: pd.DataFrame) -> str:
    """Describe a difference, such as "learning rate 0.001, not 0.0003"."""
    parts = []
    for column, title in _DIFFERENCES.items():
        # Unknown differs from nothing: a cell that was read from W&B lacks columns.
        ours, theirs = (_distinct(rows[column]) for rows in (rows, shown))
        if ours and theirs and ours != theirs:
            parts.append(f"{title} {', '.join(ours)}, not {', '.join(theirs)}")
    return "; ".join(parts) or "in a setting that is not a column; see the configurations of the cells"


def _distinct(column: "pd.Series[Any]") -> list[str]:
    values = sorted({f"{value:.10g}" if isinstance(value, float) else str(value) for value in column.dropna().tolist()})
    # A fingerprint of the data is a digest, of which the beginning identifies it.
    return [value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…" for value in values]
