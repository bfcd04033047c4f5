"""A report's folder appears whole or not at all, and replaces nothing but a report."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from peft_study.errors import UserError
from peft_study.results.store import sync_folder, write_atomically

MANIFEST = "report.json"
"""What a report consists of; written last."""
_MOST_NAMED = 3
_ELSEWHERE = "--out FOLDER with a folder that does not exist, is empty or holds a report"


def check_replaceable(out: Path) -> None:
    """Refuse to replace what no report wrote.

    Args:
        out: where a report is to go.

    Raises:
        UserError: there is a file, or a folder that holds something else than a report or cannot be replaced.
    """
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise UserError("there is a file where the report would go", where=str(out), hint=_ELSEWHERE)
    written = _written(out)
    # A few are enough to refuse; a home folder has millions.
    foreign = list(islice((name for name in _files_below(out) if name not in written), _MOST_NAMED + 1))
    if not foreign:
        _check_movable(out)
        return
    if written:
        what = f"the report's folder holds {_some(foreign)}, which no report wrote"
        raise UserError(what, where=str(out), hint="move it away, or --out FOLDER elsewhere")
    raise UserError("the folder holds something else than a report", where=str(out), hint=_ELSEWHERE)


def _check_movable(out: Path) -> None:
    place = out.resolve()
    if place.is_mount():
        raise UserError("a mount point cannot be replaced", where=str(out), hint=f"--out {out / 'report'}")
    try:
        here = Path.cwd()
    # It was deleted.
    except FileNotFoundError:
        return
    if here.is_relative_to(place):
        what = "the folder that the command runs in cannot be replaced"
        raise UserError(what, where=str(out), hint=f"--out {out / 'report'}")


@contextmanager
def published(out: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """A new folder that takes the place of `out` once everything is in it.

    Until the end `out` stays as it was; an error or an interrupt leaves it so and removes what was begun.

    Args:
        out: where the report goes.
        about: what the manifest says beside the files.

    Raises:
        UserError: `out` may not be replaced or cannot be written.
    """
    check_replaceable(out)
    out = out.resolve()
    begun = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        begun.mkdir(parents=True)
        yield begun
        files = sorted(_files_below(begun))
        write_atomically(begun / MANIFEST, json.dumps({**about, "files": files}, indent=2, ensure_ascii=False) + "\n")
        check_replaceable(out)
        _swap(begun, out)
    except OSError as error:
        what = f"the report cannot be written: {error.strerror or error}"
        raise UserError(what, where=str(out), hint="a folder that can be written, with room: --out FOLDER") from error
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _swap(begun: Path, out: Path) -> None:
    earlier = out.with_name(f".{out.name}.{os.getpid()}.earlier")
    try:
        if out.exists():
            out.rename(earlier)
        begun.rename(out)
    except BaseException:
        if earlier.exists() and not out.exists():
            earlier.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _files_below(folder: Path) -> Iterator[str]:
    """Whatever is below a folder and no folder itself, as it is found: names relative to the folder.

    A link is one, wherever it leads, and so is a folder that cannot be listed: nobody knows what it holds.
    """
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
    """What an earlier report wrote, by its manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {MANIFEST, *map(str, files)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _some(names: list[str]) -> str:
    named = ", ".join(repr(name) for name in names[:_MOST_NAMED])
    return f"{named} and more" if len(names) > _MOST_NAMED else named
