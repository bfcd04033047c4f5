"""Installed packages that programs may import in addition to the standard library."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from peft_study.errors import UserError

ALLOWED = ("numpy",)
"""Tested packages. They import only themselves and the standard library."""
PACKAGES_VERSION = 2
"""Raised when a verdict on a program that uses a package may come out differently."""


def check_packages(names: Iterable[str], where: str) -> None:
    """Refuse packages that programs cannot import.

    Args:
        names: names of packages.
        where: the setting that the message names.

    Raises:
        UserError: a package is not allowed, or not installed.
    """
    for name in names:
        if name not in ALLOWED:
            raise UserError(
                f"packages must be among {', '.join(ALLOWED)}, got {name!r}",
                where=where,
                hint=f"for example {ALLOWED[0]}",
            )
        if importlib.util.find_spec(name) is None:
            raise UserError(f"package {name} is not installed", where=where, hint=f"pip install {name}")


def versioned(names: Iterable[str]) -> tuple[str, ...]:
    """Return names with versions. The version of a package can change a verdict."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in sorted(set(names)))


def folders_of(names: Iterable[str]) -> list[str]:
    """Return the folders of packages, and of the shared libraries that their wheels install beside them."""
    folders = []
    for name in names:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            folders += [path for path in (folder, f"{folder}.libs") if Path(path).is_dir()]
    return [os.path.realpath(folder) for folder in folders]


def link_packages(folders: Sequence[str], target: Path) -> None:
    """Make a folder of links to packages, so that other installed packages stay hidden."""
    target.mkdir(mode=0o755)
    for folder in folders:
        (target / Path(folder).name).symlink_to(folder)
