"""The parent's side of a worker: starts it, hands it jobs, watches what they use, and ends those that use too much."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peft_study.execution import frames
from peft_study.execution.assertions import Proof
from peft_study.execution.capture import STDERR_TAIL_BYTES, Sink, Source
from peft_study.execution.jobs import Ending, Job, Kind, Limits, Ran
from peft_study.execution.usage import descendants, kill_user, usage

_ROOT = str(Path(__file__).resolve().parents[2])
_START = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); from peft_study.execution.worker import main; "
    "del sys.path[0]; main(int(sys.argv[1]))"
)
START_SECONDS = 20.0
"""How long a worker may take to be ready."""
_LEAVE_SECONDS = 5.0
"""How long a worker may take to clear up behind a test."""
_LOOK_SECONDS = 0.02
"""How often memory, CPU time and files of a running test are looked at."""


class WorkerLostError(Exception):
    """The worker's process ended, or did not answer."""


@dataclass
class Worker:
    """One worker process.

    Args:
        plan: what it is to confine itself to, as `confine.prepare` reads it.
        map_ids: called with the process's id once it is in a user namespace and needs its users mapped.
    """

    plan: dict[str, Any]
    map_ids: Callable[[int], None] | None = None
    layers: list[str] = field(default_factory=list)
    _interrupted: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _control: socket.socket | None = None
    _forker: int = 0
    _folder_outside: str | None = None

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            WorkerLostError: it is not; the message says why.
        """
        self.stop()
        self._interrupted = False
        self.layers = []
        ours, theirs = socket.socketpair()
        ours.settimeout(START_SECONDS)
        # Not -I, which would leave out the hash seed: the order of sets is part of what a program prints.
        arguments = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _START, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                arguments,
                env={"PYTHONHASHSEED": "0"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        self._control = ours
        try:
            frames.send(ours, self.plan)
            while (message := frames.receive(ours)) is not None:
                if message[0]["op"] == "ready":
                    self.layers = message[0]["layers"]
                    self._look_at()
                    return
                if message[0]["op"] == "broken":
                    raise WorkerLostError(message[0]["detail"])
                if self.map_ids is not None:
                    self.map_ids(self._process.pid)
                frames.send(ours, {"op": "mapped"})
            raise WorkerLostError("it ended before it was ready")
        except (OSError, TimeoutError) as error:
            raise WorkerLostError(f"it did not become ready: {error}") from error
        finally:
            if not self.layers:
                self.stop()

    def _look_at(self) -> None:
        """Note where this process sees what a test uses."""
        assert self._process is not None
        self._forker, self._folder_outside = self._process.pid, self.plan["work"]
        if self.plan["level"] == "A":
            # The process started waits outside the namespaces for the one that forks; the work folder is in there.
            self._forker, self._folder_outside = next(iter(descendants(self._process.pid)), 0), None

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._interrupted

    def run(self, job: Job, limits: Limits) -> Ran:
        """Run one test.

        Raises:
            WorkerLostError: the worker did not come back from it.
        """
        assert self._control is not None
        assert self._process is not None
        with ExitStack() as stack:
            run = _Run(self._control, self._forker, job, limits, stack, self._folder_outside)
            ran, clean = run.wait()
        if not clean:
            self.stop()
        return ran

    def interrupt(self) -> None:
        """End the worker and what it runs; may be called from another thread."""
        self._interrupted = True
        control = self._control
        if control is not None:
            with suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End the process and everything in it."""
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.returncode != 0 and self.plan["inner_id"] is not None and self.plan["level"] == "B":
                kill_user(self.plan["inner_id"])  # its own clearing up may not have happened


class _Run:
    """One test, from the first byte to the last."""

    def __init__(
        self, control: socket.socket, pid: int, job: Job, limits: Limits, stack: ExitStack, work: str | None
    ) -> None:
        self._control = control
        self._pid = pid
        self._limits = limits
        self._kind = job.kind
        self._work = work
        self._stack = stack
        self._poll = select.poll()
        self._sources: dict[int, Source] = {}
        self._why: Ending | None = None
        self._detail = ""
        self._proof = Proof(job.tests) if job.kind is Kind.asserts else None
        theirs: list[int] = []
        self._add_source(job.stdin, theirs)
        self._out = self._add_sink(limits.output_bytes, theirs)
        self._err = self._add_sink(limits.output_bytes, theirs, tail_bytes=STDERR_TAIL_BYTES)
        self._reply: Sink | None = None
        if job.kind is not Kind.script:
            self._reply = self._add_sink(limits.output_bytes, theirs)
        self._tests_fd: int | None = None
        if self._proof is not None and self._reply is not None:
            self._reply.watch = self._on_reply
            theirs_tests, self._tests_fd = os.pipe()
            theirs.append(theirs_tests)
        self._sinks = {sink.fd: sink for sink in (self._out, self._err, self._reply) if sink is not None}
        message = {
            "op": "job",
            "kind": str(job.kind),
            "prelude": job.prelude,
            "source": job.source,
            "function": job.function,
            "arguments": job.arguments.decode("utf-8"),
            "limits": asdict(limits),
        }
        try:
            frames.send(control, message, theirs)
        except OSError as error:
            raise WorkerLostError(f"it takes no more work: {error}") from error
        finally:
            for fd in theirs:
                os.close(fd)
        self._started = time.monotonic()

    def wait(self) -> tuple[Ran, bool]:
        """Wait for the end.

        Returns:
            How it ended, and whether the worker has nothing left of it.
        """
        self._poll.register(self._control, select.POLLIN)
        deadline = self._started + self._limits.wall_seconds
        look = self._started + _LOOK_SECONDS
        while True:
            now = time.monotonic()
            ready = self._poll.poll(max(0.0, min(look, deadline) - now) * 1000 + 0.5)
            if any(fd == self._control.fileno() for fd, _ in ready):
                return self._ended()
            for fd, _ in ready:
                self._on_pipe(fd)
            now = time.monotonic()
            if now >= deadline and self._why is None:
                self._end(Ending.timeout)
            elif now >= look and self._why is None:
                self._look()
                look = time.monotonic() + _LOOK_SECONDS
            if self._why is not None and now > deadline + _LEAVE_SECONDS:
                raise WorkerLostError("it did not end a test in time")
            if self._why is not None:
                look, deadline = now + 1.0, min(deadline, now)

    def _add_source(self, data: bytes, theirs: list[int]) -> None:
        reading, writing = os.pipe()
        theirs.append(reading)
        self._write_to(writing, data)

    def _write_to(self, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        source = Source(fd, memoryview(data))
        self._stack.callback(lambda: None if source.closed else os.close(source.fd))
        source.write()
        if not source.closed:
            self._sources[fd] = source
            self._poll.register(fd, select.POLLOUT)

    def _add_sink(self, most_bytes: int, theirs: list[int], tail_bytes: int | None = None) -> Sink:
        reading, writing = os.pipe()
        theirs.append(writing)
        os.set_blocking(reading, False)
        self._stack.callback(os.close, reading)
        self._poll.register(reading, select.POLLIN)
        return Sink(reading, most_bytes, tail_bytes)

    def _on_pipe(self, fd: int) -> None:
        if fd in self._sources:
            self._sources[fd].write()
            if self._sources[fd].closed:
                del self._sources[fd]
                self._poll.unregister(fd)
            return
        sink = self._sinks[fd]
        sink.read()
        if sink.flooded:
            self._end(Ending.output_limit)
        if sink.closed or sink.flooded:
            self._poll.unregister(fd)

    def _on_reply(self, data: bytes) -> None:
        """Hand over the tests once the program has said that it is through."""
        if self._tests_fd is not None and b"\n" in data and self._proof is not None:
            fd, self._tests_fd = self._tests_fd, None
            self._write_to(fd, self._proof.tests)

    def _look(self) -> None:
        used = usage(self._pid, self._work)
        if used.memory_bytes > self._limits.memory_bytes:
            self._end(Ending.memory)
        elif used.cpu_seconds > self._limits.cpu_seconds:
            self._end(Ending.timeout)
        elif used.file_bytes > self._limits.file_bytes:
            self._end(Ending.output_limit)

    def _end(self, why: Ending) -> None:
        if self._why is None:
            self._why = why
            with suppress(OSError):
                frames.send(self._control, {"op": "kill"})

    def _ended(self) -> tuple[Ran, bool]:
        try:
            answer = frames.receive(self._control)
        except OSError as error:
            raise WorkerLostError(str(error)) from error
        if answer is None:
            raise WorkerLostError("it ended in the middle of a test")
        message = answer[0]
        if self._tests_fd is not None:
            os.close(self._tests_fd)
        for sink in self._sinks.values():
            sink.drain()
        if message["problem"]:
            return Ran(Ending.sandbox_error, detail=message["problem"]), False
        ending = self._ending(message)
        reply = bytes(self._reply.data) if self._reply is not None else None
        proved, detail = False, ""
        if self._proof is not None and ending is Ending.exited:
            detail = self._proof.missing(reply or b"", message["status"])
            proved, reply = not detail, None
        ran = Ran(
            ending,
            message["status"],
            bytes(self._out.data[: self._limits.output_bytes]),
            bytes(self._err.data),
            reply if ending is Ending.exited and self._proof is None and message["status"] == 0 else None,
            proved,
            message["seconds"],
            detail,
        )
        return ran, message["clean"]

    def _ending(self, message: dict[str, Any]) -> Ending:
        status, limits = message["status"], self._limits
        if any(sink.flooded for sink in self._sinks.values()):
            return Ending.output_limit
        if self._why is not None:
            return self._why
        if message["cpu_seconds"] >= limits.cpu_seconds or message["seconds"] >= limits.wall_seconds:
            return Ending.timeout
        if status == -signal.SIGXCPU or (
            status == -signal.SIGKILL and message["cpu_seconds"] > 0.9 * limits.cpu_seconds
        ):
            return Ending.timeout
        last = self._err.data.rstrip().rpartition(b"\n")[2]
        if status != 0 and last.startswith(b"MemoryError"):
            return Ending.memory
        return Ending.exited
