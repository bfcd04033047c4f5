"""Installed packages that programs may import beside the standard library."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from peft_study.errors import UserError

ALLOWED = ("numpy",)
"""Packages that were tried: they import nothing but themselves and the standard library."""
PACKAGES_VERSION = 2
"""Raised when a verdict on a program that uses a package may come out differently."""


def check_packages(names: Iterable[str], where: str) -> None:
    """Refuse packages that programs cannot import.

    Args:
        names: of packages.
        where: the setting, for the message.

    Raises:
        UserError: a package is not allowed, or not installed.
    """
    for name in names:
        if name not in ALLOWED:
            raise UserError(
                f"packages must be among {', '.join(ALLOWED)}, got {name!r}", where=where, hint=f"such as {ALLOWED[0]}"
            )
        if importlib.util.find_spec(name) is None:
            raise UserError(f"package {name} is not installed", where=where, hint=f"pip install {name}")


def versioned(names: Iterable[str]) -> tuple[str, ...]:
    """Names with versions, which decide verdicts."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))


def folders_of(names: Iterable[str]) -> list[str]:
    """The folders of packages and of the shared libraries that their wheels carry beside them."""
    folders = []
    for name in names:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            folders += [path for path in (folder, f"{folder}.libs") if Path(path).is_dir()]
    return [os.path.realpath(folder) for folder in folders]


def link_packages(folders: Sequence[str], place: Path) -> None:
    """Make a folder that holds links to packages, and so hides what is installed beside them."""
    place.mkdir(mode=0o755)
    for folder in folders:
        (place / Path(folder).name).symlink_to(folder)
