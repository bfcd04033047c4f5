"""The files that this interpreter needs. Only they stay readable in a sandbox."""

import os
import sys
from typing import NamedTuple

_LINKS = ("/lib64", "/lib", "/usr/lib64", "/usr/lib")
_ALSO = ("/usr/share/zoneinfo", "/usr/lib64", "/lib64")  # time zones, and the folders of the dynamic loader
_THIRD_PARTY = ("site-packages", "dist-packages")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Files(NamedTuple):
    """Paths that a sandboxed interpreter opens.

    Attributes:
        read: folders and single files.
        links: links at the root, such as /lib64, with their targets.
        hidden: folders of installed packages inside those of `read`.
    """

    read: list[str]
    links: dict[str, str]
    hidden: list[str]


def needed() -> Files:
    """Find the standard library, the executable and the folders of the loaded shared libraries."""
    library = os.path.dirname(os.path.realpath(os.__file__))
    folders, files = {library}, {os.path.realpath(sys.executable)}
    for entry in map(os.path.realpath, filter(os.path.isabs, sys.path)):
        if os.path.exists(entry) and _inside(entry, os.path.dirname(library)):
            (folders if os.path.isdir(entry) else files).add(entry)
    for path in _loaded():
        folder = os.path.dirname(path)
        if _inside(library, folder):
            # For example /usr/lib, which holds /usr/lib/python3.11: only its shared libraries.
            files |= {f"{folder}/{name}" for name in os.listdir(folder) if ".so" in name}
        else:
            folders.add(folder)
    folders |= {path for path in _ALSO if os.path.isdir(path) and not os.path.islink(path)}
    shown = [path for path in folders if not any(_inside(path, other) for other in folders - {path})]
    shown += [path for path in files if os.path.isfile(path) and not any(_inside(path, folder) for folder in shown)]
    links = {link: os.readlink(link) for link in _LINKS if os.path.islink(link)}
    hidden = [f"{folder}/{name}" for folder in shown for name in _THIRD_PARTY]
    return Files(sorted(shown), links, [path for path in hidden if os.path.isdir(path)])


def _loaded() -> set[str]:
    """Paths of the shared libraries that this process maps."""
    with open("/proc/self/maps") as maps:
        paths = [line.rstrip("\n").partition("/")[2] for line in maps]
    return {os.path.realpath(f"/{path}") for path in paths if ".so" in path}


def _inside(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
