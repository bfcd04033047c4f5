"""What is run, under which limits, and how it ended: plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from peft_study.errors import UserError

_MOST = {
    "cpu_seconds": 2**31,
    "wall_seconds": 2**31,
    "memory_bytes": 2**50,
    "output_bytes": 2**50,
    "file_bytes": 2**50,
    "processes": 2**22,
}
"""More than any machine has, and less than the kernel counts to (64 bits, signed; 22 for processes)."""


class Kind(StrEnum):
    """How a program is used."""

    script = "script"
    """Runs as `__main__`, reads standard input, writes standard output."""
    call = "call"
    """Defines; then the method of its class `Solution`, or else its function, is called with arguments."""
    asserts = "asserts"
    """Defines; then tests that assert are run behind it."""


class Ending(StrEnum):
    """How a process ended; what its output means is somebody else's business."""

    exited = "exited"
    timeout = "timeout"
    memory = "memory"
    output_limit = "output_limit"
    sandbox_error = "sandbox_error"


class Level(StrEnum):
    """How far a program is contained on this machine."""

    A = "A"
    """Namespaces of its own, with everything of B."""
    B = "B"
    """Landlock, a seccomp filter, resource limits, no capabilities, and for root a user of its own; no namespaces."""
    C = "C"
    """Resource limits alone: a program can read and write what the person who runs it can."""


@dataclass(frozen=True)
class Limits:
    """What one test may use.

    Args:
        cpu_seconds: CPU time of all processes of a test together.
        wall_seconds: from start to end.
        memory_bytes: resident memory of all processes of a test together.
        output_bytes: of standard output, standard error and the reply, each.
        file_bytes: of all files that a test leaves in its work folder.
        processes: processes and threads at once, the first one included; at level B without a user of its own, where a
            program cannot start processes, its threads are limited only roughly.

    Raises:
        UserError: one is not above 0, or more than the kernel can take.
    """

    cpu_seconds: float = 4.0
    wall_seconds: float = 8.0
    memory_bytes: int = 512 * 1024 * 1024
    output_bytes: int = 4 * 1024 * 1024
    file_bytes: int = 16 * 1024 * 1024
    processes: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value <= _MOST[name]:  # nor where it is no number
                raise UserError(
                    f"{name} must be above 0 and at most {_MOST[name]:,}, not {min(value, 1e308):g}",
                    where="the limits of a test",
                    hint=f"such as {getattr(Limits, name):,}",
                )


class Proof(Protocol):
    """What the sandbox is given of tests that assert, and what their reply shows.

    Attributes:
        tests: what the harness reads, as bytes.
    """

    tests: bytes

    def missing(self, reply: bytes, exit_code: int) -> str:
        """Return "" if the reply proves that every assertion held, otherwise the first reason why not."""


@dataclass(frozen=True)
class Job:
    """One program and one test.

    Args:
        source: the program.
        kind: how it is used.
        prelude: run before the program, in the same namespace.
        stdin: what standard input holds.
        function: for a call, the name of the function or of the method of `Solution`.
        arguments: for a call, a JSON list.
        tests: for asserts, the tests' source.
        proof: for asserts, makes a fresh `Proof` of `tests` for each run. The sandbox does not know what a right
            answer is; `judging.asserts.assertions` does.

    Raises:
        ValueError: `proof` is missing for asserts.
    """

    source: str
    kind: Kind
    prelude: str = ""
    stdin: bytes = b""
    function: str | None = None
    arguments: bytes = b"[]"
    tests: str = ""
    proof: Callable[[str], Proof] | None = None

    def __post_init__(self) -> None:
        if (self.kind is Kind.asserts) != (self.proof is not None):
            raise ValueError(f"proof must be given for asserts and for nothing else, got {self.proof} for {self.kind}")


@dataclass(frozen=True)
class TestResult:
    """How a test ended.

    Attributes:
        ending: what ended it.
        exit_code: of its first process; negative is the number of the signal that killed it, None where it did not
            run.
        stdout: standard output, at most `Limits.output_bytes`.
        stderr: the end of standard error.
        reply: for a call, the JSON of the value returned; None where there is none.
        proved: for asserts, every assertion was evaluated and held.
        seconds: wall-clock time of the test.
        detail: for a sandbox error, its reason; for asserts that are not proved, the first that is missing or failed.
    """

    ending: Ending
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    reply: bytes | None = None
    proved: bool = False
    seconds: float = 0.0
    detail: str = ""

    __test__ = False  # pytest collects classes whose names begin with "Test"
