"""The control groups of this process: which files state a limit of a container, a service or a job."""

import contextlib
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


def oom_kills() -> int:
    """Return how many processes of this process's control group the kernel has killed because memory ran out."""
    for name in ("memory.events", "memory.oom_control"):
        for file in group_files("memory", name):
            with contextlib.suppress(OSError, ValueError):
                fields = dict(line.split(maxsplit=1) for line in file.read_text().splitlines() if " " in line)
                if "oom_kill" in fields:
                    return int(fields["oom_kill"])
    return 0
