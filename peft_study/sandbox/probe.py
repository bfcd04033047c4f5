"""Finds the highest level that holds on this machine, by running attacks.

A worker starts at the highest level. A program in it tries to read and write a file outside, to reach listeners, to
signal and trace the parent, to gain privileges, and to use kernel interfaces that programs do not need. If an attack
succeeds, the next lower level is tried.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft_study.sandbox.inside import attacks
from peft_study.sandbox.jobs import Ending, Job, Kind, Level, Limits
from peft_study.sandbox.session import Worker
from peft_study.sandbox.users import can_change_user
from peft_study.sandbox.watch import WorkerLostError

Build = Callable[[Level, bool], Worker]
_LIMITS = Limits(cpu_seconds=5, wall_seconds=10)  # two attacks wait up to 2 s for a connection


@dataclass(frozen=True)
class Reached:
    """The level that holds.

    Attributes:
        level: the level.
        own_user: programs run as a separate user.
        layers: names of the active layers.
        denied: why each higher level was not reached, highest first.
    """

    level: Level
    own_user: bool
    layers: list[str]
    denied: list[str] = field(default_factory=list)


def reach(build: Build, highest: Level) -> Reached:
    """Start workers from the highest level down, until one resists all attacks.

    Args:
        build: makes a worker of a level, with or without a separate user.
        highest: the first level to try.

    Returns:
        the level that holds. Level C is never attacked.
    """
    denied: list[str] = []
    users = (True, False) if can_change_user() else (False,)
    # Docker's default profile and some clusters deny parts of a level, so only attacks tell which level holds.
    if sys.platform == "linux":
        for level in (Level.A, Level.B):
            for own_user in users if level >= highest else ():
                worker = build(level, own_user)
                name = f"level {level}" + (" with a separate user" if own_user else "")
                try:
                    worker.start()
                    escaped = _attack(worker)
                    if not escaped:
                        return Reached(level, own_user, worker.layers, denied)
                    denied.append(f"{name}: a program could {', '.join(escaped)}")
                except WorkerLostError as error:
                    denied.append(f"{name}: {error}")
                finally:
                    worker.stop()
    return Reached(Level.C, False, ["rlimits"], denied)


def _attack(worker: Worker) -> list[str]:
    """Names of the attacks that succeed. If they do not run, the level is unknown, and the worker counts as lost."""
    with _targets() as targets:
        source = Path(attacks.__file__).read_text(encoding="utf-8")
        result = worker.run(Job(source, Kind.script, stdin=json.dumps(targets).encode()), _LIMITS)
        written = Path(targets["folder"]).joinpath("written").exists()
    if result.ending is not Ending.exited or result.exit_code != 0:
        last = result.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise WorkerLostError(
            f"an ordinary program does not run at this level: {result.detail or last or result.ending}"
        )
    escaped: list[str] = json.loads(result.stdout)
    return escaped + ["write a file outside"] * written


@contextlib.contextmanager
def _targets() -> Iterator[dict[str, Any]]:
    """The targets of the attacks. All belong to this process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peft-study-probe-")))
        # Open to all, so that only the sandbox can refuse: programs may run as a separate user.
        folder.chmod(0o777)
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o666)
        internet = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = f"peft-study-{os.getpid()}-{internet.getsockname()[1]}"
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(f"\0{abstract}")
        local.listen()
        yield {"folder": str(folder), "port": internet.getsockname()[1], "abstract": abstract, "pid": os.getpid()}
