"""The pool's side of the processes that cells run in: forked from a server (Linux), or started one by one."""

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
from typing import Any, Protocol

MAX_MESSAGE_BYTES = 1 << 20
"""Of a message between pool and server; a cell's config takes some thousands."""
_LOOK_SECONDS = 0.05


class CellProcess(Protocol):
    """A process that runs a cell, as `subprocess.Popen` has it."""

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative signal; None while it runs."""

    def poll(self) -> int | None:
        """Look whether it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs still.
        """

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""


class Starter(Protocol):
    """Starts cells."""

    def start(
        self, description: Mapping[str, Any], environment: Mapping[str, str], output: int, events: int
    ) -> CellProcess:
        """Start a cell in a session of its own.

        Args:
            description: see `child.run`.
            environment: variables beside this process's.
            output: the descriptor of its output.
            events: the descriptor of its progress.
        """

    def close(self) -> None:
        """No cell follows."""


def starter() -> Starter:
    """The fastest way to start cells on this platform."""
    return ForkingStarter() if sys.platform == "linux" and hasattr(os, "pidfd_open") else SpawningStarter()


class SpawningStarter:
    """Starts an interpreter for each cell, which imports everything itself."""

    def start(
        self, description: Mapping[str, Any], environment: Mapping[str, str], output: int, events: int
    ) -> CellProcess:
        """See `Starter`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "peft_study.sweep.child", str(events)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[events],
            env={**os.environ, **environment},
            start_new_session=True,  # a Ctrl-C in the terminal comes to the sweep alone, which passes it on once
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a child that died at once is collected like any other
            process.stdin.write(json.dumps({**description, "parent": os.getpid()}).encode())
            process.stdin.close()
        return process

    def close(self) -> None:
        """See `Starter`."""


class ForkingStarter:
    """Lets a server fork the cells (`server`). One that died is started again with the next cell."""

    def __init__(self) -> None:
        # Those that died stay until the end: how their cells ended is asked of them.
        self._servers: list[_Server] = []

    def start(
        self, description: Mapping[str, Any], environment: Mapping[str, str], output: int, events: int
    ) -> CellProcess:
        """See `Starter`."""
        if not self._servers or not self._servers[-1].alive:
            self._servers.append(_Server(environment))
        return self._servers[-1].start({**description, "environment": dict(environment)}, [output, events])

    def close(self) -> None:
        """See `Starter`."""
        for server in self._servers:
            server.close()


class ServerLostError(Exception):
    """The server ended."""


class _Server:
    """The server's process, and the cells that it forked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "peft_study.sweep.server", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                # Libraries read their number of threads when they are loaded.
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
                message = self._receive()
                if "started" in message:
                    return _ForkedCell(self, message["started"])
        except OSError as error:
            self._output.seek(0)
            last = self._output.read().decode(errors="replace").strip().rpartition("\n")[2]
            code = self._process.wait()
            raise ServerLostError(f"the process that starts cells ended with exit code {code}: {last}") from error

    def code_of(self, process: int, timeout: float) -> int | None:
        """The exit code of a cell, None while it runs.

        Args:
            process: its id.
            timeout: how long to wait for it, in seconds.
        """
        deadline = time.monotonic() + timeout
        while process not in self._codes:
            ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            try:
                self._receive()
            except OSError:  # the server is gone, and the kernel asks its cells to end
                if not _exists(process):
                    return -signal.SIGKILL
                time.sleep(min(timeout, _LOOK_SECONDS))
                return None
        return self._codes[process]

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
    """See `CellProcess`."""

    def __init__(self, server: _Server, process: int) -> None:
        self._server = server
        self._process = process
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.code_of(self._process, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a cell", timeout or 0.0)
            self.returncode = self._server.code_of(self._process, _LOOK_SECONDS)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, sig)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
