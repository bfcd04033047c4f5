"""Linux system calls that Python lacks, through ctypes."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
# The C library has no function for this call (pivot_root(2)).
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPGET_VERSION_3 = 0x20080522


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()
_THIS_PROCESS = (ctypes.c_uint32 * 2)(_CAPGET_VERSION_3, 0)


def call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call by its number.

    Raises:
        OSError: the call failed.
    """
    converted = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *converted))


def unshare(flags: int) -> None:
    """Move this process into new namespaces (unshare(2))."""
    # Python has `os.unshare` only since 3.12.
    _checked(_libc.unshare(ctypes.c_int(flags)))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount (mount(2)). The error names the target."""
    answer = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _checked(answer, target)


def unmount(target: str) -> None:
    """Detach a mount at once, even if it is in use (umount2(2))."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), target)


def pivot_root() -> None:
    """Make the current folder, which is a mount, the root, and detach the old root (pivot_root(2), use of ".")."""
    call(_PIVOT_ROOT[os.uname().machine], b".", b".")
    unmount(".")
    os.chdir("/")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory."""
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of each descendant whose parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Keep programs that are started from here from gaining privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Drop all capabilities."""
    _checked(_libc.capset(_THIS_PROCESS, _NO_CAPABILITIES))


def install_filter(program: bytes) -> None:
    """Install a seccomp filter on this thread.

    Args:
        program: classic BPF, eight bytes per instruction.
    """
    filled = _Program(len(program) // 8, program)
    answer = _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(filled), 0, 0)
    _checked(answer, "seccomp")


def _prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _checked(answer: int, what: str | None = None) -> int:
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return answer
