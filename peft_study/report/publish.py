"""Writes a report's folder as a whole, and replaces nothing but an earlier report."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft_study.errors import UserError
from peft_study.results.store import sync_folder, write_atomically

MANIFEST = "report.json"
"""Lists the files of a report; written last."""


def check_replaceable(out: Path) -> None:
    """Refuse to replace a folder that holds anything but a report.

    Args:
        out: where a report is to be written.

    Raises:
        UserError: `out` is a file, or a folder with a file that no report wrote.
    """
    if not os.path.lexists(out):
        return
    hint = "--out FOLDER with a folder that does not exist, is empty or holds a report"
    if not out.is_dir():
        raise UserError("--out must be a folder, got a file", where=str(out), hint=hint)
    written = _written(out)
    # The first such file decides: a home folder has millions.
    foreign = next((name for name in _files_below(out) if name not in written), None)
    if foreign is not None:
        raise UserError(f"the folder holds {foreign!r}, which no report wrote", where=str(out), hint=hint)


@contextmanager
def published(out: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a new folder that replaces `out` when the block succeeds.

    An error or an interrupt leaves `out` as it was and removes the new folder.

    Args:
        out: where the report is to be written.
        about: what the manifest says beside the list of files.

    Raises:
        UserError: `out` must not be replaced or cannot be written.
    """
    check_replaceable(out)
    out = out.resolve()
    new = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        # Beside `out`, because a rename works only within a file system.
        new.mkdir(parents=True)
        yield new
        files = sorted(_files_below(new))
        write_atomically(new / MANIFEST, json.dumps({**about, "files": files}, indent=2, ensure_ascii=False) + "\n")
        # Writing takes minutes, in which files may have appeared.
        check_replaceable(out)
        _swap(new, out)
    except OSError as error:
        what = f"the report cannot be written: {error.strerror or error}"
        raise UserError(
            what, where=str(out), hint="--out FOLDER with a folder that is writable and has room"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    # A folder with files cannot be the target of a rename, so that the earlier report is renamed first.
    earlier = out.with_name(f".{out.name}.{os.getpid()}.earlier")
    try:
        if out.exists():
            out.rename(earlier)
        new.rename(out)
    # An interrupt between the two renames would leave no report at all.
    except BaseException:
        if earlier.exists() and not out.exists():
            earlier.rename(out)
        raise
    # The earlier report is removed only when the new name is on the disk.
    sync_folder(out.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _files_below(folder: Path) -> Iterator[str]:
    """Yield everything below a folder but folders, relative to it.

    A link counts as a file, and so does a folder that cannot be listed, as its files are unknown.
    """
    # Not by `Path.rglob`, which in Python 3.11 passes over folders that cannot be listed.
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            with os.scandir(folder / inner) as entries:
                for entry in entries:
                    name = str(Path(inner, entry.name))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    else:
                        yield name
        except OSError:
            yield inner or "."


def _written(folder: Path) -> set[str]:
    """Return the files that an earlier report wrote, by its manifest."""
    # A damaged manifest names no files, so all of them are foreign and the folder is kept.
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {MANIFEST, *map(str, files)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
