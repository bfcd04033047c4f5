"""A seccomp filter in classic BPF: the system calls that a program may make.

Calls that `syscalls` does not list return "function not implemented". Arguments are restricted too: no new namespaces,
no sockets except connected pairs, no limits of other processes, no device controls, no signals of files to others.
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
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_SET_VMA.
_PRCTLS = (3, 15, 16, 23, 39, 0x53564D41)
# F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: they direct a file's signals to any process.
_FCNTLS_REFUSED = (8, 10, 15, 1024, 1026)
_RIGHTS = ("chmod", "fchmod", "fchmodat", "fchmodat2", "truncate")
_TIMES = ("utime", "utimes", "utimensat", "futimesat")
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPES = 1, 1, 0xF
# Placeholder for the process id until the filter is installed: a program is built once and used for every child.
_OWN_PROCESS = 0x00C0FFEE

Instruction = tuple[int, int, int, int]


def _packed(code: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def available() -> bool:
    """Return whether `syscalls` lists the calls of this machine."""
    return MACHINE in AUDIT_ARCHITECTURES


def worker_program() -> bytes:
    """Build the filter of a worker.

    Children inherit it, because installing a long filter takes a millisecond. It still allows the calls that confine
    children. `child_program` refuses those.

    Returns:
        BPF, eight bytes per instruction.
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
    """Build the filter that a child adds to that of its worker.

    Args:
        processes: allow new processes, not only threads.
        signals: allow signals to any process, because another layer protects those outside. Otherwise only to itself.
        rights: allow changes of file permissions. Landlock does not restrict them, so files of the same user outside
            would be exposed.
        times: allow changes of file times. Landlock does not restrict them either.

    Returns:
        BPF, eight bytes per instruction, for `with_pid`.
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


def with_pid(program: bytes, pid: int) -> bytes:
    """Insert the process id into a filter."""
    return program.replace(struct.pack("=I", _OWN_PROCESS), struct.pack("=I", pid))


_RETURN_ALLOW: Instruction = (_RETURN, 0, 0, _ALLOW)


def _start() -> list[Instruction]:
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, AUDIT_ARCHITECTURES[MACHINE]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # x32 calls have the same architecture and other numbers, so a list of numbers alone would miss them (seccomp(2)).
    if MACHINE == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL_PROCESS)]
    return code


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _if_number(number: int, body: list[Instruction]) -> list[Instruction]:
    # Every body returns, so the number of the call is still loaded after it.
    return [(_EQUAL, 0, len(body), number), *body]


def _confining() -> dict[str, list[Instruction]]:
    """Calls that only a worker makes: to replace the work folder and to confine its children."""
    names = "mount umount2 setgroups setresgid setresuid capset landlock_restrict_self seccomp pidfd_open"
    return {name: [_refuse(errno.EPERM)] for name in names.split()}


def _restricted(*, processes: bool, signals: bool) -> dict[str, list[Instruction]]:
    """Calls that children may make with fewer arguments than a worker."""
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
    # A filter cannot read memory, so it cannot check the address of sendmsg. A datagram socket could send to any
    # abstract socket that way. A stream socket cannot.
    return {
        "clone": [_argument(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACES), refused, _RETURN_ALLOW],
        "ioctl": _one_of(1, _IOCTLS),
        "prlimit64": _one_of(0, (0,)),
        "socketpair": [
            *_must_be(0, _AF_UNIX),
            _argument(1),
            (_AND, 0, 0, _SOCK_TYPES),
            (_EQUAL, 1, 0, _SOCK_STREAM),
            refused,
            _RETURN_ALLOW,
        ],
        "sendto": [*_must_be(4, 0), *_must_be(4, 0, high=True), _RETURN_ALLOW],
        "fcntl": [
            _argument(1),
            *[(_EQUAL, len(_FCNTLS_REFUSED) - i, 0, number) for i, number in enumerate(_FCNTLS_REFUSED)],
            _RETURN_ALLOW,
            refused,
        ],
    }


def _argument(position: int, *, high: bool = False) -> Instruction:
    """Load the lower half of an argument. The kernel reads only that of an int, and both machines are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * position + 4 * high)


def _must_be(position: int, value: int, *, high: bool = False) -> list[Instruction]:
    return [_argument(position, high=high), (_EQUAL, 1, 0, value), _refuse(errno.EPERM)]


def _one_of(position: int, values: tuple[int, ...]) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_argument(position), *tests, _refuse(errno.EPERM), _RETURN_ALLOW]
