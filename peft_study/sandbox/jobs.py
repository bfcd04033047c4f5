"""Jobs, their limits and their results, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from peft_study.errors import UserError

# Above what any machine has, and below what the kernel can count (signed 64 bits, 22 bits for processes).
_MOST = {
    "cpu_seconds": 2**31,
    "wall_seconds": 2**31,
    "memory_bytes": 2**50,
    "output_bytes": 2**50,
    "file_bytes": 2**50,
    "processes": 2**22,
}


class Kind(StrEnum):
    """How a program is used."""

    script = "script"
    """Runs as `__main__`, reads standard input, writes standard output."""
    call = "call"
    """Defines a method of class `Solution`, or a function, which is then called with arguments."""
    asserts = "asserts"
    """Defines names. Tests that assert run after it in the same module."""


class Ending(StrEnum):
    """How a process ended. What the output means is for the judge to say."""

    exited = "exited"
    timeout = "timeout"
    memory = "memory"
    output_limit = "output_limit"
    sandbox_error = "sandbox_error"


class Level(StrEnum):
    """How far this machine contains a program."""

    A = "A"
    """Separate namespaces, plus everything of B."""
    B = "B"
    """Landlock, a seccomp filter, resource limits and no capabilities. If the parent is root, a separate user."""
    C = "C"
    """Resource limits only. A program can read and write everything that the caller can."""


@dataclass(frozen=True)
class Limits:
    """What one test may use.

    Args:
        cpu_seconds: CPU time, summed over the processes of a test.
        wall_seconds: wall-clock time of the test.
        memory_bytes: resident memory, summed over the processes of a test.
        output_bytes: size of standard output, of standard error and of the reply, each.
        file_bytes: total size of the files in the work folder.
        processes: processes and threads at once, including the first. At level B without a separate user, a program
            cannot start processes, and the limit on its threads is approximate.

    Raises:
        UserError: a limit is not above 0, or exceeds what the kernel accepts.
    """

    cpu_seconds: float = 4.0
    wall_seconds: float = 8.0
    memory_bytes: int = 512 * 1024 * 1024
    output_bytes: int = 4 * 1024 * 1024
    file_bytes: int = 16 * 1024 * 1024
    processes: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value <= _MOST[name]:  # false for NaN, too
                raise UserError(
                    f"{name} must be above 0 and at most {_MOST[name]:,}, got {min(value, 1e308):g}",
                    where="the limits of a test",
                    hint=f"the default is {getattr(Limits, name):,}",
                )


class Proof(Protocol):
    """Tests that assert, in the form that the harness reads, and a check of the reply.

    Attributes:
        tests: the bytes that the harness reads.
    """

    tests: bytes

    def missing(self, reply: bytes, exit_code: int) -> str:
        """Return "" if the reply proves that every assertion held, otherwise the first reason."""


@dataclass(frozen=True)
class Job:
    """One program and one test.

    Args:
        source: source of the program.
        kind: how the program is used.
        prelude: source that runs before the program, in the same namespace.
        stdin: content of standard input.
        function: for `call`, the name of the function or of the method of `Solution`.
        arguments: for `call`, a JSON list.
        tests: for `asserts`, source of the tests.
        proof: for `asserts`, makes a fresh `Proof` of `tests` for each run. The sandbox has no notion of a right
            answer: `judging.asserts.assertions` supplies it.

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
            raise ValueError(f"proof is required for asserts and only for asserts, got {self.proof} for {self.kind}")


@dataclass(frozen=True)
class TestResult:
    """How a test ended.

    Attributes:
        ending: what ended the test.
        exit_code: exit code of the first process. Negative is the number of a signal, None means that it did not run.
        stdout: standard output, at most `Limits.output_bytes`.
        stderr: the end of standard error.
        reply: for `call`, the JSON of the returned value. None if no value arrived.
        proved: for `asserts`, every assertion was evaluated and held.
        seconds: wall-clock time of the test.
        detail: the reason of a sandbox error. For `asserts` that are not proved, the first missing or failed assertion.
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
