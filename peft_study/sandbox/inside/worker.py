"""The process that forks one child per test. It starts once and serves many tests.

It starts with an empty environment and without site-packages, confines itself, and answers the pool's messages on a
socket. A job is one fork of this interpreter, with commonly imported modules loaded. The child confines itself further
(`confine.enter`), closes all descriptors except its pipes, and only then reads the program. The pool receives two
messages: the end of the program, and later that its leftovers are killed and removed.
"""

import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from peft_study.sandbox.inside import encode, frames, harness
from peft_study.sandbox.inside.confinement import confine
from peft_study.sandbox.inside.confinement.packages_inside import SINGLE_THREADED

# Modules that programs commonly import, loaded once per worker. The list is short because a fork copies what is loaded.
# `threading` is left out: its work after each fork takes as long as the import.
_PRELOADED = (
    "array bisect collections copy datetime decimal enum fractions functools heapq io itertools json math operator "
    "random re string time typing"
)
_plain_signal = importlib.import_module("_signal")  # `signal` converts each number to an enum member, which is slow
# The last of the child's descriptors, after the standard streams, the reply and the tests. Open during the setup.
_SETUP = 5
_OUT_OF_THE_WAY = 64
_POLL_SECONDS = 0.002


def main(control_fd: int) -> None:
    """Serve jobs until the pool's end of the socket closes.

    Args:
        control_fd: descriptor of this process's end of the socket.
    """
    # Above the descriptor numbers that children use.
    control = socket.socket(fileno=fcntl.fcntl(control_fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY))
    os.close(control_fd)
    # Without a handler, process 1 of a namespace cannot be signalled from inside.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    first = frames.receive(control)
    if first is None:
        return
    try:
        confinement = confine.prepare(first[0], control)
        _warm_up(first[0].get("packages", []))
    except Exception as error:  # the pool reports any failure to the caller
        frames.send(control, {"op": "broken", "detail": f"{type(error).__name__}: {error}"})
        return
    frames.send(control, {"op": "ready", "layers": confinement.layers})
    try:
        while (message := frames.receive(control)) is not None:
            if message[0]["op"] == "job":
                frames.send(control, _run(control, message[0], message[1], confinement))
                # A second message, so that slow clearing up does not delay or change the result.
                frames.send(control, {"op": "cleared", "clean": confinement.clear()})
    except OSError:  # the pool ended during an answer
        return
    finally:
        confinement.kill_all()


def _warm_up(packages: list[str]) -> None:
    for name in _PRELOADED.split():
        with suppress(ImportError):  # an interpreter built without an optional module
            importlib.import_module(name)
    # A program could otherwise import the harness from `sys.modules` by name.
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft_study"]:
        del sys.modules[name]
    sys.modules.pop("__main__", None)
    os.environ.clear()
    if packages:
        os.environ.update(SINGLE_THREADED)
    # Importing numpy in each test would dominate its time: 120 tests would use the 11 s of the package's checker.
    for name in map(os.path.basename, packages):
        if name.isidentifier():  # skips the folders of shared libraries
            encode.know_scalars(importlib.import_module(name).generic)
    harness.prepare()
    gc.collect()
    gc.freeze()  # a collection in a child would write to pages that it shares with the worker, and so copy them


def _run(
    control: socket.socket, job: dict[str, Any], files: list[int], confinement: confine.Confinement
) -> dict[str, Any]:
    """Fork a child, wait for its end, and return the message for the pool."""
    setup_read, setup_write = os.pipe()
    used_before = _cpu_seconds()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(job, files, setup_write, confinement)
    for fd in (*files, setup_write):
        os.close(fd)
    status = _wait(control, pid)
    seconds = time.monotonic() - started
    with os.fdopen(setup_read, "rb") as setup:
        # A program cannot forge this: the child closes its end before it reads the program.
        problem = setup.read().decode(errors="replace")
    return {
        "op": "ended",
        "status": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - used_before,
        "problem": problem,
    }


def _wait(control: socket.socket, pid: int) -> int:
    """Wait for the child and return its wait status. A message from the pool, or the end of the pool, kills it."""
    # Only Linux has process descriptors (since 5.3). Elsewhere the child is polled.
    ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if ended is not None:
        poll.register(ended, select.POLLIN)
    try:
        while True:
            ready = {fd for fd, _ in poll.poll(None if ended is not None else _POLL_SECONDS * 1000)}
            if ended is None or ended in ready:
                gone, status = os.waitpid(pid, 0 if ended is not None else os.WNOHANG)
                if gone:
                    return status
            if control.fileno() in ready:
                frames.receive(control)
                os.kill(pid, signal.SIGKILL)
                return os.waitpid(pid, 0)[1]
    finally:
        if ended is not None:
            os.close(ended)


def _child(job: dict[str, Any], files: list[int], setup: int, confinement: confine.Confinement) -> None:
    """Become the program. Does not return."""
    exit_now = os._exit  # a program can replace the function in `os`
    try:
        os.setsid()
        _plain_signal.signal(signal.SIGINT, signal.default_int_handler)
        _arrange(files, setup)
        confinement.enter(job["limits"])
    except BaseException as error:
        os.write(_SETUP, f"{type(error).__name__}: {error}".encode(errors="replace") or b"unknown")
        exit_now(1)
    os.close(_SETUP)
    code = 1
    try:
        code = harness.run(job)
    finally:
        exit_now(code)


def _arrange(files: list[int], setup: int) -> None:
    """Move descriptors to the numbers that the harness expects."""
    # First out of the way: a target number may be that of a descriptor that is still to be moved.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for fd in (*files, setup)]
    os.closerange(0, confine.FIRST_KEPT)
    for number, fd in enumerate(high[:-1]):
        os.dup2(fd, number)
    os.dup2(high[-1], _SETUP)


def _cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system
