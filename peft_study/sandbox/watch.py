"""One test on the parent's side: its input, its output, its resources and its end."""

import math
import os
import select
import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from peft_study.sandbox.capture import STDERR_TAIL_BYTES, Sink, Source
from peft_study.sandbox.inside import frames
from peft_study.sandbox.jobs import Ending, Job, Kind, Limits, TestResult
from peft_study.sandbox.usage import Usage, usage

VALUES_BYTES = 32 * 1024 * 1024
"""Size of the reply of assertions, if the output limit is lower."""
LEAVE_SECONDS = 5.0
"""How long a worker may take to clear up after a test."""
# Interval between readings of memory, CPU time and files. A shorter peak of memory goes unseen (docs/trust.md).
_CHECK_SECONDS = 0.02


class WorkerLostError(Exception):
    """The process of a worker ended, or did not answer."""


class Run:
    """One test, from the first byte to the last."""

    def __init__(
        self, control: socket.socket, pid: int, job: Job, limits: Limits, stack: ExitStack, work: str | None
    ) -> None:
        self._control, self._pid, self._limits, self._stack, self._work = control, pid, limits, stack, work
        self._poll = select.poll()
        self._sources: dict[int, Source] = {}
        self._sinks: dict[int, Sink] = {}
        self._forced_ending: Ending | None = None
        self._proof = None if job.proof is None else job.proof(job.tests)
        self._reply: Sink | None = None
        self._tests: int | None = None
        self._living_seconds: dict[int, float] = {}
        self._ended_seconds = 0.0
        child_ends: list[int] = []
        try:
            reading, writing = os.pipe()
            child_ends.append(reading)
            self._write_to(writing, job.stdin)
            self._out = self._add_sink(child_ends)
            self._err = self._add_sink(child_ends, tail_bytes=STDERR_TAIL_BYTES)
            if job.kind is not Kind.script:
                # Values that assertions compare are not output: a correct program may return a million numbers.
                most_bytes = limits.output_bytes if self._proof is None else max(limits.output_bytes, VALUES_BYTES)
                self._reply = self._add_sink(child_ends, most_bytes=most_bytes)
            if self._reply is not None and self._proof is not None:
                self._reply.watch = self._on_reply
                reading, self._tests = os.pipe()
                child_ends.append(reading)
            frames.send(control, _message(job, limits), child_ends)
        except OSError as error:
            raise WorkerLostError(f"it accepts no more jobs: {error}") from error
        finally:
            stack.callback(self._close_tests)
            for fd in child_ends:
                os.close(fd)
        self._started = time.monotonic()

    def wait(self) -> tuple[TestResult, bool]:
        """Wait for the end of the test.

        Returns:
            The result, and whether the worker has cleared everything that the test left.

        Raises:
            WorkerLostError: the worker did not end the test in time, or ended.
        """
        self._poll.register(self._control, select.POLLIN)
        deadline = self._started + self._limits.wall_seconds
        next_check = self._started + _CHECK_SECONDS
        while True:
            wait_seconds = min(next_check, deadline) - time.monotonic()
            ready = [fd for fd, _ in self._poll.poll(max(0.0, wait_seconds) * 1000 + 0.5)]
            if self._control.fileno() in ready:
                return self._ended()
            for fd in ready:
                self._on_pipe(fd)
            now = time.monotonic()
            if self._forced_ending is None and now >= deadline:
                self._end(Ending.timeout)
            elif self._forced_ending is None and now >= next_check:
                self._check_usage()
                next_check = time.monotonic() + _CHECK_SECONDS
            elif self._forced_ending is not None and next_check != math.inf:
                next_check, deadline = math.inf, now + LEAVE_SECONDS
            elif self._forced_ending is not None and now >= deadline:
                raise WorkerLostError("it did not end a test in time")

    def _write_to(self, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        source = Source(fd, memoryview(data))
        self._stack.callback(lambda: None if source.closed else os.close(source.fd))
        source.write()
        if not source.closed:
            self._sources[fd] = source
            self._poll.register(fd, select.POLLOUT)

    def _add_sink(self, child_ends: list[int], tail_bytes: int | None = None, most_bytes: int | None = None) -> Sink:
        reading, writing = os.pipe()
        child_ends.append(writing)
        os.set_blocking(reading, False)
        self._stack.callback(os.close, reading)
        self._poll.register(reading, select.POLLIN)
        sink = self._sinks[reading] = Sink(reading, most_bytes or self._limits.output_bytes, tail_bytes)
        return sink

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
            # Nobody reads the pipe from here on, so the program would block until its time is over.
            self._end(Ending.output_limit)
        if sink.closed or sink.flooded:
            self._poll.unregister(fd)

    def _on_reply(self, data: bytes) -> None:
        """Send the tests once the program has run to its end."""
        if b"\n" in data and self._reply is not None and self._proof is not None and self._tests is not None:
            self._reply.watch = None
            fd, self._tests = self._tests, None
            self._write_to(fd, self._proof.tests)

    def _close_tests(self) -> None:
        if self._tests is not None:
            os.close(self._tests)

    def _check_usage(self) -> None:
        used = usage(self._pid, self._work)
        if used.memory_bytes > self._limits.memory_bytes:
            self._end(Ending.memory)
        elif self._cpu_seconds(used) > self._limits.cpu_seconds:
            self._end(Ending.timeout)
        elif used.file_bytes > self._limits.file_bytes:
            self._end(Ending.output_limit)
        elif used.tasks > self._limits.processes:
            # The kernel may count the tasks of all programs of a user, so its limit is higher than that of one test.
            self._end(Ending.memory)

    def _cpu_seconds(self, used: Usage) -> float:
        # The kernel drops the time of a process whose parent does not wait for it. So time already seen is kept.
        self._ended_seconds += sum(spent for pid, spent in self._living_seconds.items() if pid not in used.own_seconds)
        self._living_seconds = used.own_seconds
        return max(used.cpu_seconds, sum(used.own_seconds.values()) + self._ended_seconds)

    def _end(self, ending: Ending) -> None:
        if self._forced_ending is None:
            self._forced_ending = ending
            with suppress(OSError):
                frames.send(self._control, {"op": "kill"})

    def _ended(self) -> tuple[TestResult, bool]:
        try:
            answer = frames.receive(self._control)
        except OSError as error:
            raise WorkerLostError(str(error)) from error
        if answer is None:
            raise WorkerLostError("it ended in the middle of a test")
        message = answer[0]
        # The end of a program may arrive before its last output has been read from the pipes.
        for sink in self._sinks.values():
            sink.drain()
        if message["problem"]:
            return TestResult(Ending.sandbox_error, detail=message["problem"]), False
        return self._result(message), self._cleared()

    def _cleared(self) -> bool:
        """Whether the worker has cleared up. One that takes too long counts as lost."""
        before = self._control.gettimeout()
        self._control.settimeout(LEAVE_SECONDS)
        try:
            answer = frames.receive(self._control)
        except OSError:
            return False
        self._control.settimeout(before)
        return answer is not None and bool(answer[0]["clean"])

    def _result(self, message: dict[str, Any]) -> TestResult:
        ending = self._ending(message)
        reply = bytes(self._reply.data) if self._reply is not None else None
        proved, detail = False, ""
        if self._proof is not None and ending is Ending.exited:
            detail = self._proof.missing(reply or b"", message["status"])
            proved, reply = not detail, None
        return TestResult(
            ending,
            message["status"],
            bytes(self._out.data[: self._limits.output_bytes]),
            bytes(self._err.data),
            reply if ending is Ending.exited and self._proof is None and message["status"] == 0 else None,
            proved,
            message["seconds"],
            detail,
        )

    def _ending(self, message: dict[str, Any]) -> Ending:
        status, limits = message["status"], self._limits
        if any(sink.flooded for sink in self._sinks.values()):
            return Ending.output_limit
        if self._forced_ending is not None:
            return self._forced_ending
        if message["cpu_seconds"] >= limits.cpu_seconds or message["seconds"] >= limits.wall_seconds:
            return Ending.timeout
        # The soft and hard limit of CPU time are equal, and at the hard limit the kernel sends SIGKILL.
        if status == -signal.SIGXCPU or (
            status == -signal.SIGKILL and message["cpu_seconds"] > 0.9 * limits.cpu_seconds
        ):
            return Ending.timeout
        # An allocation beyond the address space fails inside the program, before a reading sees it.
        last = self._err.data.rstrip().rpartition(b"\n")[2]
        if status != 0 and last.startswith(b"MemoryError"):
            return Ending.memory
        return Ending.exited


def _message(job: Job, limits: Limits) -> dict[str, Any]:
    return {
        "op": "job",
        "kind": str(job.kind),
        "prelude": job.prelude,
        "source": job.source,
        "function": job.function,
        "arguments": job.arguments.decode("utf-8"),
        "limits": asdict(limits),
    }
