"""The parent's side of a worker: starts and stops the process, and runs jobs in it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft_study.sandbox.inside import frames
from peft_study.sandbox.jobs import Job, Limits, TestResult
from peft_study.sandbox.usage import descendants, kill_user
from peft_study.sandbox.watch import LEAVE_SECONDS, Run, WorkerLostError

_ROOT = str(Path(__file__).resolve().parents[2])
_START = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); from peft_study.sandbox.inside.worker import main; "
    "del sys.path[0]; main(int(sys.argv[1]))"
)
START_SECONDS = 20.0
"""How long a worker may take until it is ready."""


@dataclass
class Worker:
    """One worker process.

    Args:
        plan: how the worker confines itself, as `confine.prepare` reads it.
        map_ids: maps the users of a process in a new user namespace. Takes the process id.

    Attributes:
        layers: names of the active layers. Empty until the worker is ready.
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
            WorkerLostError: the worker did not become ready.
        """
        self.stop()
        self._interrupted = False
        self.layers = []
        self._replace_dirty_folder()
        try:
            self._become_ready(*self._open())
        except OSError as error:
            raise WorkerLostError(f"it did not become ready: {error}") from error
        finally:
            if not self.layers:
                self.stop()

    def _replace_dirty_folder(self) -> None:
        """Take a new work folder if the previous one could not be emptied."""
        with suppress(OSError):
            if not any(Path(self.plan["work"]).iterdir()):
                return
        user = self.plan["inner_id"]
        self.plan["work"] = tempfile.mkdtemp(dir=Path(self.plan["work"]).parent)
        if user is not None:
            os.chown(self.plan["work"], user, user)

    def _open(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        ours.settimeout(START_SECONDS)
        self._control = ours
        # Not -I: it ignores PYTHONHASHSEED, and the order of sets is part of what a program prints.
        # -s, -S and -P leave only the standard library on the path, -B writes no files, and streams are always UTF-8.
        arguments = [sys.executable, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _START, str(theirs.fileno())]
        nothing = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                arguments,
                env={"PYTHONHASHSEED": "0"},
                pass_fds=[theirs.fileno()],
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                cwd="/",
                start_new_session=True,
            )
        return self._process, ours

    def _become_ready(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        frames.send(control, self.plan)
        while (message := frames.receive(control)) is not None:
            match message[0]["op"]:
                case "ready":
                    self.layers = message[0]["layers"]
                    self._locate_forker()
                    return
                case "broken":
                    raise WorkerLostError(message[0]["detail"])
                case "map" if self.map_ids is not None:
                    self.map_ids(process.pid)
                    frames.send(control, {"op": "mapped"})
        raise WorkerLostError("it ended before it was ready")

    def _locate_forker(self) -> None:
        """Note which process forks tests, and where this process sees the work folder."""
        assert self._process is not None
        self._forker, self._folder_outside = self._process.pid, self.plan["work"]
        if self.plan["level"] == "A":
            # The started process waits outside the namespaces for the one that forks. The work folder lies inside.
            self._forker, self._folder_outside = next(iter(descendants(self._process.pid)), 0), None

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._interrupted

    def run(self, job: Job, limits: Limits) -> TestResult:
        """Run one test.

        Raises:
            WorkerLostError: the worker ended, or did not answer.
        """
        assert self._control is not None
        assert self._process is not None
        with ExitStack() as stack:
            result, clean = Run(self._control, self._forker, job, limits, stack, self._folder_outside).wait()
        if not clean:
            self.stop()
        return result

    def interrupt(self) -> None:
        """End the worker and its program. Safe to call from another thread."""
        self._interrupted = True
        control = self._control
        if control is not None:
            with suppress(OSError):
                # Not `close`: the other thread may be waiting on this descriptor, whose number could be used again.
                control.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End the process and all programs in it."""
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()  # the worker ends by itself when its end of the socket closes
        if process is not None:
            try:
                process.wait(LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.returncode != 0 and self.plan["inner_id"] is not None and self.plan["level"] == "B":
                kill_user(self.plan["inner_id"])  # the worker may have died before it killed its programs
