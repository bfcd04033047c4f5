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
    """Something that could not be read.

    Attributes:
        where: the file, the folder or the run.
        what: the reason.
    """

    where: str
    what: str


def load_folder(source: str) -> tuple[list[Row], list[Problem]]:
    """Read every cell below a folder.

    Args:
        source: a folder with cells at any depth, or the result.json of a cell.

    Returns:
        A row for each readable record, in the order of their paths, and what could not be read.

    Raises:
        UserError: there is no such folder.
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
            record = RunResult.from_json(json.loads(_read(folder / RESULT)))
            rows.append(row_of(record, str(folder), source))
        # JSON with a million brackets raises RecursionError. A damaged record must not hide the other cells.
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(str(folder / RESULT), _reason(error)))
    if not rows and not problems:
        problems.append(Problem(source, f"no {RESULT} in this folder or below it"))
    return rows, problems


def cell_folders(root: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield every folder with a result.json, ordered by path; folders inside such a folder are not searched.

    Each folder is yielded once. Links are followed last, so that a folder is yielded under its real path if that is
    below `root`.

    Args:
        root: the folder to search.
        problems: receives the folders that cannot be listed.
    """
    waiting, linked = [root], list[Path]()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop()
        try:
            stat = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            problems.append(Problem(str(folder), f"cannot be listed: {error.strerror or error}"))
            continue
        # Links may form a circle.
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        # A record deeper in a cell's folder is a copy of something, not another cell.
        if any(entry.name == RESULT for entry in entries):
            yield folder
            continue
        # The stack yields the last folder first, so the names are pushed in reverse.
        inner = sorted((entry for entry in entries if _is_folder(entry)), key=lambda entry: entry.name, reverse=True)
        waiting.extend(Path(entry) for entry in inner if not entry.is_symlink())
        linked.extend(Path(entry) for entry in inner if entry.is_symlink())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        # Hidden folders are work in progress, such as a report that is being written.
        return entry.name[0] != "." and entry.is_dir()
    # A link to itself cannot be resolved.
    except OSError:
        return False


def _read(file: Path) -> bytes:
    # Opening a pipe would block until another process writes to it.
    if not file.is_file():
        raise OSError("not a regular file")
    return file.read_bytes()


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"invalid JSON: {error}"
    if isinstance(error, RecursionError):
        return "invalid JSON: nested too deeply"
    return str(error) or type(error).__name__
