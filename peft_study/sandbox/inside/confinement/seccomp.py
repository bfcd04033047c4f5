"""A seccomp filter: which system calls a program may make, written as classic BPF.

What is not listed in `syscalls` does not exist for it. Of those with arguments: no new namespaces, no sockets but
connected pairs, no limits of other processes, no device controls, nobody else as the receiver of a file's signals.
"""

import errno
import struct

from peft_study.sandbox.inside.confinement.syscalls import (
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
_RIGHTS = ("chmod", "fchmod", "fchmodat", "fchmodat2", "truncate")
_TIMES = ("utime", "utimes", "utimensat", "futimesat")
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
_OWN_PROCESS = 0x00C0FFEE
"""Stands for the process's own number until the filter is installed."""

Instruction = tuple[int, int, int, int]


def _packed(code: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def available() -> bool:
    """This machine's calls are numbered in `syscalls`."""
    return MACHINE in AUDIT_ARCHITECTURES


def worker_program() -> bytes:
    """Write the filter of a worker, which its children inherit: the kernel takes a millisecond to install a long one.

    Returns:
        Eight bytes an instruction. It leaves what a worker needs to confine its children: `child_program` takes that.
    """
    code = _start()
    for number in WITHOUT_ATTRIBUTES.values():
        code += _if_number(number, [_refuse(errno.ENOTSUP)])
    taken = _confining()
    for name, number in REFUSED.items():
        code += _if_number(number, [_RETURN_ALLOW if name in taken else _refuse(errno.EPERM)])
    checked = _with_arguments()
    for name, number in WITH_ARGUMENTS.items():
        code += _if_number(number, checked.get(name, [_RETURN_ALLOW]))
    for number in ALLOWED.values():
        code += _if_number(number, [_RETURN_ALLOW])
    code.append(_refuse(errno.ENOSYS))
    return _packed(code)


def child_program(*, processes: bool, signals: bool, rights: bool, times: bool) -> bytes:
    """Write what a child adds to its worker's filter.

    Args:
        processes: new processes are allowed, and not only threads.
        signals: any process may be signalled, as something else keeps those outside safe; otherwise only the own one.
        rights: rights of files may be changed, by their path or once they are open to be read, which Landlock does not
            keep from the files of the same user outside.
        times: times of files may be changed, which Landlock does not keep from files that the user may write to.

    Returns:
        Eight bytes an instruction, for `own`.
    """
    code = _start()
    for name in (*(() if rights else _RIGHTS), *(() if times else _TIMES)):
        if name in ALLOWED:
            code += _if_number(ALLOWED[name], [_refuse(errno.EPERM)])
    numbers = WITH_ARGUMENTS | REFUSED
    for name, body in (_restricted(processes=processes, signals=signals) | _confining()).items():
        if name in numbers:
            code += _if_number(numbers[name], body)
    return _packed([*code, _RETURN_ALLOW])


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


def _confining() -> dict[str, list[Instruction]]:
    """What only a worker does: it makes and unmakes the work folder, and takes from its children what it has."""
    names = "mount umount2 setgroups setresgid setresuid capset landlock_restrict_self seccomp pidfd_open"
    return {name: [_refuse(errno.EPERM)] for name in names.split()}


def _restricted(*, processes: bool, signals: bool) -> dict[str, list[Instruction]]:
    """What a worker may do in more ways than its children."""
    refused = _refuse(errno.EPERM)
    fork = [_RETURN_ALLOW if processes else refused]
    kill = [_RETURN_ALLOW] if signals else _one_of(0, (0, _OWN_PROCESS))
    only_threads = [] if processes else [_argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD), refused]
    return {
        "clone": [*only_threads, _RETURN_ALLOW],
        "fork": fork,
        "vfork": fork,
        "kill": kill,
        "tgkill": kill,
        "prctl": _one_of(0, _PRCTLS),
    }


def _with_arguments() -> dict[str, list[Instruction]]:
    refused = _refuse(errno.EPERM)
    return {
        "clone": [_argument(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refused, _RETURN_ALLOW],
        "ioctl": _one_of(1, _IOCTLS),
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
