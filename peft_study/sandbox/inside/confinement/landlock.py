"""Landlock: restricts which files a process may open, and its access to sockets and processes outside.

Rights and structures are from linux/landlock.h. Rights that the kernel's version lacks are left out.
"""

import os
import stat
import struct
from collections.abc import Iterator, Sequence

from peft_study.sandbox.inside.confinement import kernel

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHARACTER_DEVICE, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_BLOCK_DEVICE = 1 << 6, 1 << 9, 1 << 10, 1 << 11
_TRUNCATE = 1 << 14
_FILE_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_VERSION, _SCOPE_VERSION = 4, 6
_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def version() -> int:
    """Return the Landlock version of the kernel, 0 without Landlock."""
    try:
        return kernel.call(_CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def scopes_signals() -> bool:
    """Return whether Landlock restricts signals, too."""
    return version() >= _SCOPE_VERSION


def ruleset(read: Sequence[str], hidden: Sequence[str], write: Sequence[str], devices: Sequence[str]) -> int:
    """Build a ruleset. It restricts nothing until `restrict` applies it.

    Args:
        read: folders and files that may be read and executed.
        hidden: folders directly inside those of `read` that may not be read.
        write: folders in which regular files, folders and links may be made.
        devices: files that may be read and written.

    Returns:
        A descriptor for `restrict`.

    Raises:
        OSError: this kernel has no Landlock, or a path does not exist.
    """
    kernel_version = version()
    # The kernel refuses a ruleset with a right that it does not know.
    rights = max(right for least, right in _FILE_RIGHTS_BY_VERSION.items() if least <= max(kernel_version, 1))
    fields = [rights]
    if kernel_version >= _NETWORK_VERSION:
        fields.append(_BIND_AND_CONNECT_TCP)
    if kernel_version >= _SCOPE_VERSION:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    fd = kernel.call(_CREATE, attributes, len(attributes), 0)
    special = _MAKE_CHARACTER_DEVICE | _MAKE_SOCKET | _MAKE_FIFO | _MAKE_BLOCK_DEVICE
    for paths, allowed in (
        (_beside(read, hidden), _EXECUTE | _READ_FILE | _READ_DIR),
        (read, _READ_DIR),
        (write, rights & ~special & ~_EXECUTE),
        (devices, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights),
    ):
        for path in paths:
            _allow(fd, path, allowed)
    return fd


def restrict(fd: int) -> None:
    """Apply a ruleset to this thread and its children. It cannot be undone."""
    kernel.call(_RESTRICT, fd, 0)


def _beside(read: Sequence[str], hidden: Sequence[str]) -> Iterator[str]:
    # A rule allows everything below a folder. If an entry is hidden, the others are allowed one by one.
    for path in read:
        if any(os.path.dirname(other) == path for other in hidden):
            yield from (entry.path for entry in os.scandir(path) if entry.path not in hidden)
        else:
            yield path


def _allow(fd: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            # The kernel refuses rights of folders on a single file (landlock_add_rule(2)).
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
        if not rights:
            return
        kernel.call(_ADD_RULE, fd, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)
