"""The pool's side of the processes that run cells: forked from a server (Linux), or started one by one."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import psutil

MAX_MESSAGE_BYTES = 1 << 20
"""Limit of a message between pool and server. The config of a cell takes some thousand bytes."""
_LOOK_SECONDS = 0.05


# The server learns of the ends of its cells through pidfds (Linux 5.3, and Python's build must know them).
_CAN_FORK = sys.platform == "linux" and hasattr(os, "pidfd_open")


def spawn(
    description: Mapping[str, Any], environment: Mapping[str, str], output: int, events: int
) -> "subprocess.Popen[bytes]":
    """Start a cell in a new session, in a new interpreter, which imports all libraries again.

    Args:
        description: see `child.run`.
        environment: variables that are added to those of this process.
        output: descriptor that gets the cell's output.
        events: descriptor that gets the cell's progress.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "peft_study.sweep.child", str(events)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[events],
        env={**os.environ, **environment},
        start_new_session=True,  # a Ctrl-C in the terminal reaches the sweep only, which passes it on once
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the pool collects a child that died at once like any other
        process.stdin.write(json.dumps({**description, "parent": os.getpid()}).encode())
        process.stdin.close()
    return process


class Starter:
    """Starts cells as `spawn` does, or lets a server fork them, which is faster (see `server`).

    If the server died, the next cell starts another one.
    """

    def __init__(self) -> None:
        # Servers that died stay in the list, because they hold the exit codes of their cells.
        self._servers: list[_Server] = []

    def start(
        self, description: Mapping[str, Any], environment: Mapping[str, str], output: int, events: int
    ) -> "CellProcess":
        """Start a cell; see `spawn`."""
        if not _CAN_FORK:
            return spawn(description, environment, output, events)
        if not self._servers or not self._servers[-1].alive:
            self._servers.append(_Server(environment))
        return self._servers[-1].start({**description, "environment": dict(environment)}, [output, events])

    def close(self) -> None:
        """End the servers. No cell follows."""
        for server in self._servers:
            server.close()


class ServerLostError(Exception):
    """The process that starts cells ended."""


class _Server:
    """The process of a server, with the exit codes of the cells that it forked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # SOCK_SEQPACKET keeps the bounds of messages: each `recv` returns one.
        self._socket, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        with remote:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "peft_study.sweep.server", str(remote.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=[remote.fileno()],
                # Libraries read their number of threads when they are imported, which the server does.
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._codes: dict[int, int] = {}

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def start(self, description: Mapping[str, Any], descriptors: list[int]) -> "_ForkedCell":
        try:
            socket.send_fds(self._socket, [json.dumps(description).encode()], descriptors)
            while True:
                # Other cells may end in the meantime.
                message = self._receive()
                if "started" in message:
                    return _ForkedCell(self, message["started"])
        except OSError as error:
            # The last line of a traceback says why the server ended.
            self._output.seek(0)
            last = self._output.read().decode(errors="replace").strip().rpartition("\n")[2]
            code = self._process.wait()
            raise ServerLostError(f"the process that starts cells ended with exit code {code}: {last}") from error

    def code_of(self, pid: int, timeout: float) -> int | None:
        """Return the exit code of a cell by its process id; None if it still runs after `timeout` seconds."""
        # Only a parent can wait for a process, and the server is the parent.
        deadline = time.monotonic() + timeout
        while pid not in self._codes:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            try:
                self._receive()
            except OSError:  # the server died, so the kernel terminates its cells
                if not psutil.pid_exists(pid):
                    return -signal.SIGKILL
                time.sleep(min(timeout, _LOOK_SECONDS))
                return None
        return self._codes[pid]

    def _receive(self) -> dict[str, int]:
        received = self._socket.recv(MAX_MESSAGE_BYTES)
        if not received:
            raise ConnectionResetError("closed")
        message: dict[str, int] = json.loads(received)
        if "ended" in message:
            self._codes[message["ended"]] = message["status"]
        return message

    def close(self) -> None:
        self._socket.close()
        self._process.wait()
        self._output.close()


class _ForkedCell:
    """A cell that a server forked, with the interface of `subprocess.Popen`."""

    def __init__(self, server: _Server, pid: int) -> None:
        self._server = server
        self._pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.code_of(self._pid, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a cell", timeout or 0.0)
            self.returncode = self._server.code_of(self._pid, _LOOK_SECONDS)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        # Asked first, because the kernel may give the number of a process that ended to another one.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, sig)


CellProcess = subprocess.Popen[bytes] | _ForkedCell
"""A process that runs a cell."""
