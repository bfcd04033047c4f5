"""Reads the records of cells from folders."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_study.errors import UserError
from peft_study.report.read.cells import Row, row_of
from peft_study.results.schema import RunResult
from peft_study.results.store import RESULT


@dataclass(frozen=True)
class Problem:
    """Something that is not among the rows.

    Attributes:
        where: the file, the folder or the run.
        what: why.
    """

    where: str
    what: str


def load_folder(source: str) -> tuple[list[Row], list[Problem]]:
    """Read every cell below a folder.

    Args:
        source: a cell's folder, a study's, or any above them; a result.json stands for its folder.

    Returns:
        One row a readable record, in the order of their paths, and what could not be read.

    Raises:
        UserError: there is no such folder.
    """
    root = Path(source)
    if root.name == RESULT and root.is_file():
        root = root.parent
    if not root.is_dir():
        raise UserError(
            "no such folder of results",
            where=source,
            hint="name a cell's folder, a study's such as multirun/demo, or wandb://entity/project",
        )
    root = root.resolve()
    rows: list[Row] = []
    problems: list[Problem] = []
    for folder in cell_folders(root, problems):
        try:
            record = RunResult.from_json(json.loads(_read(folder / RESULT)))
            rows.append(row_of(record, str(folder), source))
        # RecursionError: a file of a million brackets.
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(str(folder / RESULT), _reason(error)))
    if not rows and not problems:
        problems.append(Problem(source, f"no {RESULT} in it or below it"))
    return rows, problems


def cell_folders(root: Path, problems: list[Problem]) -> Iterator[Path]:
    """Every folder with a result.json, ordered by path; what lies in such a folder is the cell's own.

    Links to folders are followed, last, so that a folder is found where it is and once.

    Args:
        root: where to look.
        problems: gets the folders that cannot be listed.
    """
    waiting, linked = [root], list[Path]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop()
        try:
            place = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            problems.append(Problem(str(folder), f"cannot be listed: {error.strerror or error}"))
            continue
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        if any(entry.name == RESULT for entry in entries):
            yield folder
            continue
        inner = sorted((entry for entry in entries if _is_folder(entry)), key=_name, reverse=True)
        waiting.extend(Path(entry) for entry in inner if not entry.is_symlink())
        linked.extend(Path(entry) for entry in inner if entry.is_symlink())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name[0] != "." and entry.is_dir()
    # A link to itself.
    except OSError:
        return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _read(file: Path) -> bytes:
    """A file's content; a pipe would wait for somebody to write into it."""
    if not file.is_file():
        raise OSError("no file")
    return file.read_bytes()


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"no JSON: {error}"
    if isinstance(error, RecursionError):
        return "no result: nested too deeply"
    return str(error) or type(error).__name__
