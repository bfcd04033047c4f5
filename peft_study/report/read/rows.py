"""Loads the results of cells into one frame: a row for each cell, a column for each setting, cost and score."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from peft_study.errors import UserError
from peft_study.report.read.cells import COLUMNS, FLAGS, MAPPINGS, TEXTS, Row, row_of
from peft_study.report.read.wandb_runs import SCHEME, load_runs
from peft_study.results.folders import DAMAGED, Problem, cell_folders, describe_damage, read_regular
from peft_study.results.schema import RunResult
from peft_study.results.store import RESULT


@dataclass(frozen=True)
class Rows:
    """The results of cells.

    Attributes:
        frame: a row for each cell, with distinct `cell_id`. The columns are `COLUMNS`, and for every metric NAME,
            NAME_low and NAME_high. An unknown number is NaN, an unknown text or flag None. Shares are from 0 to 1,
            sizes in bytes, times in seconds.
        problems: what is not in the frame, and why.
    """

    frame: pd.DataFrame
    problems: tuple[Problem, ...]


def load(sources: Sequence[str | Path]) -> Rows:
    """Read cells from folders and from W&B.

    What cannot be read becomes a problem, not an error. Of a cell that occurs more than once, the frame has the run
    that succeeded, else the one whose files are on this machine, else the newest.

    Args:
        sources: folders (a cell, a study, anything above them), or "wandb://entity/project".

    Raises:
        UserError: a folder does not exist, or a W&B project cannot be read.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    for source in dict.fromkeys(str(source) for source in sources):
        read, unread = load_runs(source) if source.startswith(SCHEME) else _load_folder(source)
        rows += read
        problems += unread
    distinct, repeated = _distinct(rows)
    return Rows(frame_of(distinct), (*problems, *repeated))


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame with the types that `Rows` describes; missing columns are filled, metrics come last."""
    metrics = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in COLUMNS]
    objects = {*TEXTS, *FLAGS, *MAPPINGS}
    # pandas 3 would turn None beside texts into NaN, and make numbers that are all unknown objects.
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=object if name in objects else "float64")
        for name in (*COLUMNS, *metrics)
    }
    return pd.DataFrame(columns)


def _load_folder(source: str) -> tuple[list[Row], list[Problem]]:
    """Read every cell below a folder, in the order of their paths, or the cell of a result.json."""
    root = Path(source)
    if root.name == RESULT and root.is_file():
        root = root.parent
    if not root.is_dir():
        raise UserError(
            f"no such folder of results: {source}",
            where=source,
            hint="name the folder of a cell or of a study, such as multirun/demo, or wandb://entity/project",
        )
    # The folder of a row is its identity when a cell was read twice, so it must be the real path.
    root = root.resolve()
    rows: list[Row] = []
    problems: list[Problem] = []
    for folder in cell_folders(root, problems):
        try:
            record = RunResult.from_json(json.loads(read_regular(folder / RESULT)))
            rows.append(row_of(record, str(folder), source))
        # A damaged record must not hide the other cells.
        except DAMAGED as error:
            problems.append(Problem(str(folder / RESULT), describe_damage(error)))
    if not rows and not problems:
        problems.append(Problem(source, f"no {RESULT} in this folder or below it"))
    return rows, problems


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[Problem]]:
    """Return a row for each cell id, in the order of first occurrence, and which rows were dropped.

    A folder that was read twice is not reported.
    """
    chosen: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        other = chosen.setdefault(row["cell_id"], row)
        if other is row or (other["folder"] is not None and other["folder"] == row["folder"]):
            continue
        # A cell's folder and its run in W&B have the same id. Both together would count a seed twice.
        better, worse = (row, other) if _rank(row) > _rank(other) else (other, row)
        chosen[row["cell_id"]] = better
        problems.append(Problem(_location(worse), f"left out: the same cell as {_location(better)}"))
    return list(chosen.values()), problems


def _rank(row: Row) -> tuple[bool, bool, str]:
    return row["status"] == "ok", row["folder"] is not None, row["finished_at"] or ""


def _location(row: Row) -> str:
    return str(row["folder"] or f"{row['source']}: {row['cell_id']}")
