"""Reads the records of cells from folders."""

import json
from pathlib import Path

from peft_study.errors import UserError
from peft_study.report.read.cells import Row, row_of
from peft_study.results.folders import DAMAGED, Problem, cell_folders, describe_damage, read_regular
from peft_study.results.schema import RunResult
from peft_study.results.store import RESULT


def load_folder(source: str) -> tuple[list[Row], list[Problem]]:
    """Read every cell below a folder.

    Args:
        source: a folder with cells at any depth, or the result.json of a cell.

    Returns:
        A row for each readable record, in the order of their paths, and what could not be read.

    Raises:
        UserError: the folder does not exist.
    """
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
