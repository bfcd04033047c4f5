"""Which files this interpreter needs: what stays readable in a sandbox, and nothing else."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

_LINKS = ("/lib64", "/lib", "/usr/lib64", "/usr/lib")
_ALSO = ("/usr/share/zoneinfo", "/usr/lib64", "/lib64")
"""Time zones, and the program that loads every other one."""
_THIRD_PARTY = ("site-packages", "dist-packages")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass
class Files:
    """Paths that a sandboxed interpreter opens.

    Attributes:
        read: folders and single files.
        links: links at the root, such as /lib64, with where they point.
        hidden: folders inside those of `read` that hold what other people installed.
    """

    read: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)


def needed() -> Files:
    """Find the standard library, the executable, and the folders of the shared libraries that are loaded now."""
    library = Path(os.__file__).resolve().parent
    folders, files = {library}, {Path(sys.executable).resolve()}
    for entry in map(Path, sys.path):
        if entry.is_absolute() and entry.exists() and entry.resolve().is_relative_to(library.parent):
            (folders if entry.is_dir() else files).add(entry.resolve())
    for path in _loaded():
        if library.is_relative_to(path.parent):
            # /usr/lib beside /usr/lib/python3.11, say: not the whole of it.
            files |= set(path.parent.glob("*.so*"))
        else:
            folders.add(path.parent)
    folders |= {path for path in map(Path, _ALSO) if path.is_dir() and not path.is_symlink()}
    shown = [path for path in folders if not any(path.is_relative_to(other) for other in folders - {path})]
    shown += [path for path in files if not any(path.is_relative_to(folder) for folder in shown)]
    links = {link: str(Path(link).readlink()) for link in _LINKS if Path(link).is_symlink()}
    hidden = [folder / name for folder in shown for name in _THIRD_PARTY]
    return Files(sorted(map(str, shown)), links, [str(path) for path in hidden if path.is_dir()])


def _loaded() -> set[Path]:
    """Shared libraries mapped into this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path("/" + line.partition("/")[2]).resolve() for line in lines if ".so" in line.partition("/")[2]}
