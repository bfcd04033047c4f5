"""A seccomp filter: which system calls a program may make, written as classic BPF.

What is not listed in `syscalls` does not exist for it. Of those with arguments: no new namespaces, no sockets but
connected pairs, no limits of other processes, no device controls, nobody else as the receiver of a file's signals.
"""

import errno
import struct

from peft_study.execution.syscalls import (
    ALLOWED,
    AUDIT_ARCHITECTURES,
    MACHINE,
    REFUSED,
    WITH_ARGUMENTS,
    WITHOUT_ATTRIBUTES,
)

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_CLONE_THREAD = 0x10000
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_PRCTLS = (3, 15, 16, 23, 39, 0x53564D41)
"""PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_SET_VMA."""
_FCNTLS_REFUSED = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY."""
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_OWN_PROCESS = 0x00C0FFEE
"""Stands for the process's own number until the filter is installed."""

Instruction = tuple[int, int, int, int]


def available() -> bool:
    """This machine's calls are numbered in `syscalls`."""
    return MACHINE in AUDIT_ARCHITECTURES


def program(*, processes: bool, signals: bool) -> bytes:
    """Write the filter.

    Args:
        processes: new processes are allowed, and not only threads.
        signals: any process may be signalled, as something else keeps those outside safe; otherwise only the own one.

    Returns:
        Eight bytes an instruction, for `own`.
    """
    code = _start()
    for number in WITHOUT_ATTRIBUTES.values():
        code += _if_number(number, [_refuse(errno.ENOTSUP)])
    for number in REFUSED.values():
        code += _if_number(number, [_refuse(errno.EPERM)])
    for name, body in _with_arguments(processes=processes, signals=signals).items():
        if name in WITH_ARGUMENTS:
            code += _if_number(WITH_ARGUMENTS[name], body)
    for number in ALLOWED.values():
        code += _if_number(number, [_RETURN_ALLOW])
    code.append(_refuse(errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def own(written: bytes, pid: int) -> bytes:
    """Put a process's number into a filter."""
    return written.replace(struct.pack("=I", _OWN_PROCESS), struct.pack("=I", pid))


_RETURN_ALLOW: Instruction = (_RETURN, 0, 0, _ALLOW)


def _start() -> list[Instruction]:
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, AUDIT_ARCHITECTURES[MACHINE]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if MACHINE == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL_PROCESS)]
    return code


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _if_number(number: int, body: list[Instruction]) -> list[Instruction]:
    """Every body returns, so that the number is still loaded behind it."""
    return [(_EQUAL, 0, len(body), number), *body]


def _with_arguments(*, processes: bool, signals: bool) -> dict[str, list[Instruction]]:
    refused = _refuse(errno.EPERM)
    clone: list[Instruction] = [_argument(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refused]
    if not processes:
        clone += [(_ANY_BIT, 1, 0, _CLONE_THREAD), refused]
    fork = [_RETURN_ALLOW if processes else refused]
    kill = [_RETURN_ALLOW] if signals else _one_of(0, (0, _OWN_PROCESS))
    return {
        "clone": [*clone, _RETURN_ALLOW],
        "fork": fork,
        "vfork": fork,
        "kill": kill,
        "tgkill": kill,
        "ioctl": _one_of(1, _IOCTLS),
        "prctl": _one_of(0, _PRCTLS),
        "prlimit64": _one_of(0, (0,)),
        "socketpair": [
            _argument(0),
            (_EQUAL, 1, 0, _AF_UNIX),
            refused,
            _argument(1),
            (_AND, 0, 0, _SOCK_TYPES),
            (_EQUAL, 1, 0, _SOCK_STREAM),
            refused,
            _RETURN_ALLOW,
        ],
        "sendto": [
            _argument(4),
            (_EQUAL, 1, 0, 0),
            refused,
            _argument(4, high=True),
            (_EQUAL, 1, 0, 0),
            refused,
            _RETURN_ALLOW,
        ],
        "fcntl": [
            _argument(1),
            *[(_EQUAL, len(_FCNTLS_REFUSED) - i, 0, number) for i, number in enumerate(_FCNTLS_REFUSED)],
            _RETURN_ALLOW,
            refused,
        ],
    }


def _argument(position: int, *, high: bool = False) -> Instruction:
    """Load the lower half of an argument, all that the kernel reads of an int; both machines are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * position + 4 * high)


def _one_of(position: int, values: tuple[int, ...]) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_argument(position), *tests, _refuse(errno.EPERM), _RETURN_ALLOW]
