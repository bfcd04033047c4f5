"""The control groups of this process: which files state a limit of a container, a service or a job."""

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def group_files(controller: str, name: str) -> Iterator[Path]:
    """Yield a file of each control group that this process is in, the innermost first.

    Args:
        controller: such as "cpu" or "memory".
        name: of the file, such as "cpu.max" (version 2) or "memory.oom_control" (version 1).

    Yields:
        the files that exist. The group of a container is the outermost that it sees.
    """
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has a single hierarchy, with an empty list of controllers.
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / controllers if controllers else _ROOT
        relative = Path(path.lstrip("/"))
        for group in (relative, *relative.parents):
            if (root / group / name).is_file():
                yield root / group / name
