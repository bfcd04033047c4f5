"""Finds the folders of cells, and reads records that may be damaged."""

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_study.results.store import RESULT

DAMAGED = (OSError, ValueError, RecursionError)
"""What reading a damaged record raises. JSON with a million brackets raises RecursionError."""


@dataclass(frozen=True)
class Problem:
    """Something that could not be read.

    Attributes:
        where: the file, the folder or the run.
        what: the reason.
    """

    where: str
    what: str


def cell_folders(root: Path, problems: list[Problem], marks: Collection[str] = (RESULT,)) -> Iterator[Path]:
    """Yield the folder of every cell, ordered by path; folders inside such a folder are not searched.

    Each folder is yielded once. Links are followed last, so that a folder is yielded under its real path if that is
    below `root`.

    Args:
        root: the folder to search.
        problems: receives the folders that cannot be listed.
        marks: a folder with a file of one of these names is the folder of a cell.
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
        if any(entry.name in marks for entry in entries):
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


def read_regular(file: Path) -> bytes:
    """Read a file that must be a regular one.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    # Opening a pipe would block until another process writes to it.
    if not file.is_file():
        raise OSError("not a regular file")
    return file.read_bytes()


def describe_damage(error: Exception) -> str:
    """Describe one of the errors `DAMAGED`."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"invalid JSON: {error}"
    if isinstance(error, RecursionError):
        return "invalid JSON: nested too deeply"
    return str(error) or type(error).__name__
