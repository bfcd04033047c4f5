"""What a worker, and each child of it, gives up."""

import os
import resource
import socket
from dataclasses import dataclass, field
from typing import Any

FIRST_KEPT = 6
"""The first descriptor behind the child's own."""


@dataclass
class Confinement:
    layers: list[str] = field(default_factory=list)
    kept: int = 0
    group: int = 0

    def enter(self, limits: dict[str, Any]) -> None:
        cpu = max(1, -(-int(limits["cpu_seconds"] * 1000) // 1000))
        for what, value in (
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_AS, limits["memory_bytes"] + (1 << 30)),
            (resource.RLIMIT_FSIZE, limits["file_bytes"]),
            (resource.RLIMIT_NOFILE, 128),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (value, value))

    def kill_all(self) -> None:
        pass

    def clear(self) -> bool:
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    return False
            except ChildProcessError:
                return True


def prepare(plan: dict[str, Any], control: socket.socket) -> Confinement:
    os.chdir(plan["work"])
    return Confinement(["rlimits"])
