"""One tidy frame from everything that a person names: one row a cell, a column for each setting, cost and score."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from peft_study.report.read.cells import COLUMNS, FLAGS, MAPPINGS, TEXTS, Row
from peft_study.report.read.folders import Problem, load_folder
from peft_study.report.read.wandb_runs import SCHEME, load_runs

__all__ = ["COLUMNS", "Problem", "Rows", "frame_of", "load"]


@dataclass(frozen=True)
class Rows:
    """What was found.

    Attributes:
        frame: one row a cell; `COLUMNS` and every metric under its own name with NAME_low and NAME_high. Numbers are
            floats and NaN where unknown, texts and flags None; shares are from 0 to 1, sizes in bytes, times in
            seconds. `cell_id` is distinct.
        problems: what is not in the frame, and why.
    """

    frame: pd.DataFrame
    problems: tuple[Problem, ...]


def load(sources: Sequence[str | Path]) -> Rows:
    """Read cells from folders and from W&B.

    What cannot be read is listed and stops nothing. A cell that occurs more than once is one row: the one that ended
    well, then one with its files here, then the newest.

    Args:
        sources: folders (a cell, a study, anything above them), or "wandb://entity/project".

    Raises:
        UserError: a folder does not exist, or a W&B project cannot be read.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    for source in dict.fromkeys(str(source) for source in sources):
        found, failed = load_runs(source) if source.startswith(SCHEME) else load_folder(source)
        rows += found
        problems += failed
    distinct, repeated = _distinct(rows)
    return Rows(frame_of(distinct), (*problems, *repeated))


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """A frame of rows with the types that `Rows` promises; missing columns are filled, metrics come last."""
    metrics = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in COLUMNS]
    objects = {*TEXTS, *FLAGS, *MAPPINGS}
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=object if name in objects else "float64")
        for name in (*COLUMNS, *metrics)
    }
    return pd.DataFrame(columns)


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[Problem]]:
    """One row a cell id, where it first occurred; a place named twice is not worth a word."""
    chosen: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        other = chosen.setdefault(row["cell_id"], row)
        if other is row or (other["folder"] is not None and other["folder"] == row["folder"]):
            continue
        better, worse = (row, other) if _worth(row) > _worth(other) else (other, row)
        chosen[row["cell_id"]] = better
        problems.append(Problem(_place(worse), f"left out: the same cell as {_place(better)}"))
    return list(chosen.values()), problems


def _worth(row: Row) -> tuple[bool, bool, str]:
    return row["status"] == "ok", row["folder"] is not None, row["finished_at"] or ""


def _place(row: Row) -> str:
    return str(row["folder"] or f"{row['source']}: {row['cell_id']}")
