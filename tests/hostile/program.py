"""One program and the verdict that it has to get."""

from dataclasses import dataclass, field

from peft_study.judging.asserts.assertions import Proof
from peft_study.sandbox.pool import Ending, Job, Kind, TestResult


@dataclass(frozen=True)
class Program:
    """A program; a script passes by printing "ok", a function `f` called with 1 by returning 2.

    Args:
        name: unique.
        expected: pass, fail, error, timeout, memory, output_limit, or several joined by "|" where each is right.
        source: the program.
        kind: how it is used.
        tests: for asserts.
        elsewhere: what is expected instead, by user and level ("plain B").
    """

    name: str
    expected: str
    source: str
    kind: Kind = Kind.script
    tests: str = "assert f(1) == 2\n"
    stdin: bytes = b""
    elsewhere: dict[str, str] = field(default_factory=dict)

    def job(self) -> Job:
        """What the pool is given."""
        tests = self.tests if self.kind is Kind.asserts else ""
        proof = Proof if self.kind is Kind.asserts else None
        return Job(self.source, self.kind, stdin=self.stdin, function="f", arguments=b"[1]", tests=tests, proof=proof)

    @property
    def may_time_out(self) -> bool:
        """Whether it is right for it to be out of time, for any user or level."""
        return any("timeout" in expected.split("|") for expected in (self.expected, *self.elsewhere.values()))

    def verdict(self, ran: TestResult) -> str:
        """What has become of it."""
        if ran.ending is not Ending.exited:
            return str(ran.ending)
        if ran.exit_code != 0:
            return "error"
        answers = {Kind.script: ran.stdout.strip() == b"ok", Kind.call: ran.reply == b"2", Kind.asserts: ran.proved}
        return "pass" if answers[self.kind] else "fail"


def refused(name: str, attempt: str, setup: str = "", elsewhere: dict[str, str] | None = None) -> Program:
    """A program that prints "ok" because an attempt raises OSError or leads to nothing."""
    indented = attempt.replace("\n", "\n    ")
    source = f"import os, sys, socket, ctypes\n{setup}\ntry:\n    {indented}\nexcept OSError:\n    print('ok')\n"
    return Program(name, "pass", source + "else:\n    print('escaped')\n", elsewhere=elsewhere or {})


def call_refused(name: str, number: int, *arguments: int) -> Program:
    """A program that prints "ok" because a system call of this number (x86_64) fails; elsewhere it asks nothing."""
    asked = ", ".join(map(str, (number, *arguments)))
    source = (
        "import ctypes, platform\nlibc = ctypes.CDLL(None)\nlibc.syscall.restype = ctypes.c_long\n"
        f"failed = platform.machine() != 'x86_64' or libc.syscall({asked}) == -1\n"
        "print('ok' if failed else 'escaped')\n"
    )
    return Program(name, "pass", source)
