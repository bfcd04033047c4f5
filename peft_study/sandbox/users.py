"""Users for programs to run as: numbers that belong to nobody."""

import itertools
import os
from pathlib import Path

_FIRST = 0x70000000
"""From here to 2^31 systemd's table of user numbers (Users, Groups, UIDs and GIDs on systemd Systems) has nothing."""
MOST_WORKERS = 64
"""Of one process, each with a user that no other has."""
_PIDS = 1 << 22
_serial = itertools.count()


def can_change_user() -> bool:
    """This process is root, may become somebody else, and there is somebody else: a namespace may have few users."""
    if os.geteuid() != 0 or all(count <= MOST_WORKERS for _, count in _ranges()):
        return False
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return True
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> 6 & effective >> 7 & 1)  # CAP_SETGID and CAP_SETUID


def next_user() -> int:
    """A number that no other worker of this machine uses now; in a container, one of those that it has."""
    offset = os.getpid() % _PIDS * MOST_WORKERS + next(_serial) % MOST_WORKERS
    if any(start <= _FIRST + offset < start + count for start, count in _ranges()):
        return _FIRST + offset
    start, count = max(each for each in _ranges() if each[1] > MOST_WORKERS)
    return start + count - 1 - offset % MOST_WORKERS


def _ranges() -> list[tuple[int, int]]:
    """The users that there are for this process: where each range begins, and how many it has."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        rows = []
    return [(int(start), int(count)) for start, _, count in rows] or [(0, 1 << 32)]


def map_users(pid: int, own_user: int | None, inner_id: int) -> None:
    """Say who the users in a process's namespace are.

    Args:
        pid: the process.
        own_user: the user outside that `inner_id` stands for, with this process's user as 0; None makes `inner_id` this
            process's user.
        inner_id: the user that programs run as, inside.

    Raises:
        OSError: the machine denies it.
    """
    folder = Path(f"/proc/{pid}")
    if own_user is None:
        (folder / "setgroups").write_text("deny")
    for name, ours in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        lines = [(inner_id, ours, 1)] if own_user is None else [(0, ours, 1), (inner_id, own_user, 1)]
        (folder / name).write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
