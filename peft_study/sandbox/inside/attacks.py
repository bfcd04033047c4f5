"""Attacks on the sandbox. Runs as a program in it and is never imported.

Reads the targets from standard input as JSON, and prints the names of the successful attacks as a JSON list.
"""

import ctypes
import json
import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_CALLS = {
    "x86_64": {"ptrace": 101, "keyctl": 250, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298},
    "aarch64": {"ptrace": 117, "keyctl": 219, "bpf": 280, "userfaultfd": 282, "perf_event_open": 241},
}
_PTRACE_SEIZE = 0x4206
_NEW_USER_NAMESPACE = 0x10000000
_NEW_SEGMENT, _REMOVE = 0o1600, 0  # IPC_CREAT with access for the owner, and IPC_RMID of linux/ipc.h


def _call(name: str, *arguments: int) -> bool:
    number = _CALLS[platform.machine()][name]
    return bool(_libc.syscall(number, *map(ctypes.c_long, arguments)) != -1)


def _connects(family: int, address: Any) -> bool:
    with socket.socket(family) as tried:
        tried.settimeout(2)
        tried.connect(address)
    return True


def _runs(function: Callable[..., object], *arguments: object) -> bool:
    function(*arguments)
    return True


def _keeps_rights(path: str) -> bool:
    """Whether `fchmod` works on a file that is open for reading. It sets the permissions that the file has."""
    with Path(path).open("rb") as opened:
        os.fchmod(opened.fileno(), os.fstat(opened.fileno()).st_mode & 0o7777)
    return True


def _makes_shared_memory() -> bool:
    """Whether a segment of System V can be made. It outlives its processes, so it is removed."""
    segment = _libc.shmget(0, 4096, _NEW_SEGMENT)
    if segment != -1:
        _libc.shmctl(segment, _REMOVE, None)
    return bool(segment != -1)


def main() -> None:
    """Run all attacks."""
    aim = json.load(sys.stdin)
    outside = Path(aim["folder"])
    attempts: dict[str, Callable[[], bool]] = {
        "read a file outside": lambda: _runs((outside / "secret").read_bytes),
        "write a file outside": lambda: _runs((outside / "written").write_bytes, b""),
        "change a file outside": lambda: _runs((outside / "secret").write_bytes, b""),
        "change the rights of a file outside": lambda: _runs((outside / "secret").chmod, 0o666),
        "change the times of a file outside": lambda: _runs(os.utime, outside / "secret", (0, 0)),
        "change the rights of the interpreter's files": lambda: _keeps_rights(os.__file__),
        "connect to a port": lambda: _connects(socket.AF_INET, ("127.0.0.1", aim["port"])),
        "connect to a local socket": lambda: _connects(socket.AF_UNIX, f"\0{aim['abstract']}"),
        "signal a process outside": lambda: _runs(os.kill, aim["pid"], 0),
        "trace a process outside": lambda: _call("ptrace", _PTRACE_SEIZE, aim["pid"], 0, 0),
        "read the password file": lambda: _runs(Path("/etc/passwd").read_bytes),
        "see processes": lambda: _runs(Path("/proc/1/status").read_bytes),
        # With packages, the worker sets the numbers of threads of BLAS.
        "read its environment": lambda: any(not name.endswith("_NUM_THREADS") for name in os.environ),
        "become root": lambda: _runs(os.setuid, 0),
        "make a namespace": lambda: _libc.unshare(_NEW_USER_NAMESPACE) == 0,
        "make shared memory": _makes_shared_memory,
        "use the kernel's keys": lambda: _call("keyctl", 0, -3, 1),
        "load a kernel program": lambda: _call("bpf", 0, 0, 0),
        "handle page faults": lambda: _call("userfaultfd", 1),
        "read performance counters": lambda: _call("perf_event_open", 0, 0, -1, -1, 0),
        "queue input and output": lambda: _libc.syscall(425, 1, ctypes.create_string_buffer(256)) != -1,
    }
    # Any other exception is an error of this program, which then must not count as contained.
    escaped = []
    for name, attempt in attempts.items():
        try:
            if attempt():
                escaped.append(name)
        except OSError:
            continue
    print(json.dumps(escaped))  # noqa: T201


if __name__ == "__main__":
    main()
