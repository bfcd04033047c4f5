"""Unassigned user numbers for programs to run as."""

import itertools
import os
from pathlib import Path

# systemd assigns no user numbers from this one to 2^31 (Users, Groups, UIDs and GIDs on systemd Systems).
_FIRST = 0x70000000
MOST_WORKERS = 64
"""Workers of one process. Each has a separate user."""
_PIDS = 1 << 22  # PID_MAX_LIMIT of linux/threads.h on 64-bit machines
_serial = itertools.count()


def can_change_user() -> bool:
    """Return whether this process may change its user, and its namespace has enough users."""
    if os.geteuid() != 0 or all(count <= MOST_WORKERS for _, count in _ranges()):
        return False
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return True
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> 6 & effective >> 7 & 1)  # CAP_SETGID and CAP_SETUID


def next_user() -> int:
    """Return a user number that no other worker of this machine uses. In a container, one that is mapped there."""
    offset = os.getpid() % _PIDS * MOST_WORKERS + next(_serial) % MOST_WORKERS
    if any(start <= _FIRST + offset < start + count for start, count in _ranges()):
        return _FIRST + offset
    start, count = max(each for each in _ranges() if each[1] > MOST_WORKERS)
    return start + count - 1 - offset % MOST_WORKERS


def _ranges() -> list[tuple[int, int]]:
    """Start and length of each range of users that is mapped in this namespace."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        rows = []
    return [(int(start), int(count)) for start, _, count in rows] or [(0, 1 << 32)]


def map_users(pid: int, own_user: int | None, inner_id: int) -> None:
    """Map the users of a process's namespace.

    Args:
        pid: id of the process.
        own_user: the outer user of `inner_id`. This process's user then becomes user 0. None maps `inner_id` to this
            process's user.
        inner_id: the user that programs run as inside the namespace.

    Raises:
        OSError: the machine denies the mapping.
    """
    folder = Path(f"/proc/{pid}")
    # The kernel lets a process without privileges map groups only after this (user_namespaces(7)).
    if own_user is None:
        (folder / "setgroups").write_text("deny")
    for name, ours in (("uid_map", os.geteuid()), ("gid_map", os.getegid())):
        lines = [(inner_id, ours, 1)] if own_user is None else [(0, ours, 1), (inner_id, own_user, 1)]
        (folder / name).write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
