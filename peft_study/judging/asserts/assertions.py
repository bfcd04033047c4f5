"""Proves from a reply of the sandbox that the assertions of some tests held.

`assert f(3) == [1, 2]` becomes a call that evaluates `f(3)` in the sandbox and sends its value. `== [1, 2]` stays in
the parent, so a program cannot read the expected value from its process. An object that claims to equal everything is
sent as an opaque object, which is not None and equals no literal. The parent keeps what joins literals and built-in
types to values: comparisons, `not`, `and`, `or`, sums and a few numeric functions. The sandbox evaluates the rest, the
parts: calls, names, and all expressions without a literal. If a comparison has no literal, both values are sent and
compared here.

Tests run in the program's module, so that each sees what the other imports, defines and patches.

Not covered, because the program and the tests share an interpreter:

- Assertions without a literal beside their parts. A program can make these come out true by walking frames, through
  `gc`, or by patching what they call: a call whose truth is asserted (`assert check(f(x))`), a helper of the tests with
  the expected value in a variable, `is` between two values, and comparisons of two values that both cannot be encoded
  (`f(1) == Point(4, 6)`) or that both override equality (`m.call_args == call(3)`).
- The inputs of the tests: a program sees its arguments. It can shorten a loop of the tests by shadowing the iterable.
  Each assertion in the loop is still evaluated at least once.
- Assertions that not every complete run reaches (`reach`): behind an `if`, in an `except`, in a loop over what the
  program returns. A program that reads the key can leave them out. It passes tests that hold nothing else, or that fail
  by an exception only (`m.assert_called_once()`).
- Assertions with `:=`, `await` or `yield`, in the body of a class, or whose AssertionError the tests catch. The sandbox
  evaluates them as a whole, with their literals.

A comparison with a literal holds only for a value that makes it true. For `==` and an order, the program must know such
a value. For `!=`, `is not` and `not in`, nearly any value will do.

docs/scoring.md lists the cases in which verdicts differ from plain Python's.
"""

import json
import math
import secrets
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

from peft_study.judging.asserts.decode import TYPES, bounded_round, from_tagged, small_integer
from peft_study.judging.asserts.instrument import instrument
from peft_study.judging.asserts.parts import BUILDERS, NUMERIC
from peft_study.sandbox.inside.encode import OPAQUE
from peft_study.sandbox.inside.reply import DIGEST_BYTES, RAISED_MARK, READY, TESTS_FILE

_FUNCTIONS = {
    function.__name__: function for function in (abs, math.isclose, math.fabs, set, frozenset, tuple, list, dict, float)
} | {"round": bounded_round}
# Not the module itself, whose `factorial` or `comb` of an untrusted value could take unbounded time.
_MATH = SimpleNamespace(isclose=math.isclose, fabs=math.fabs, inf=math.inf, nan=math.nan, pi=math.pi, e=math.e)
# Names that the parent evaluates on untrusted values. Each takes bounded time and has no side effects.
_NAMES: dict[str, Any] = {
    "__builtins__": {},  # `eval` would otherwise add all built-in functions
    "math": _MATH,
    **TYPES,
    **{name: _FUNCTIONS[name] for name in (*NUMERIC, *BUILDERS)},
}
_KEY_BYTES = 32
_MOST_MESSAGE = 120  # length of an exception's message in a reason, so that a reason stays a line


class Proof:
    """Tests that assert, in the form that the harness reads, and a check of the reply.

    Args:
        tests: Python source that asserts.

    Raises:
        SyntaxError: the source does not parse.

    Attributes:
        tests: the bytes that the harness reads.
    """

    def __init__(self, tests: str) -> None:
        self._instrumented = instrument(tests)
        self._key = secrets.token_bytes(_KEY_BYTES)
        message = {
            "source": self._instrumented.source,
            "name": self._instrumented.name,
            "exits": self._instrumented.exits,
            "key": self._key.hex(),
        }
        self.tests = json.dumps(message).encode("ascii")

    def missing(self, reply: bytes, exit_code: int) -> str:
        """Return the first reason why the reply does not prove the tests.

        Args:
            reply: everything that the harness wrote.
            exit_code: exit code of the process.

        Returns:
            "" if every assertion was evaluated and held, otherwise the first reason.
        """
        if not self._instrumented.asserts:
            return "the tests hold no assertion"
        reply, raised = self._without_exception(reply, exit_code)
        checks = self._instrumented.checks
        if not reply.startswith(READY):
            return raised or "the program did not come to its end"
        held: set[int] = set()
        # Each digest covers all records before it, so none can be dropped, repeated or reordered.
        chain = blake2b(key=self._key, digest_size=DIGEST_BYTES)
        body = b""
        for line in reply[len(READY) :].splitlines():
            body, _, digest = line.rpartition(b" ")
            chain.update(body)
            if not secrets.compare_digest(digest, chain.hexdigest().encode("ascii")):
                return "a record that the harness did not write"
            if body == b"done":
                continue
            number, reason = self._judge(body)
            if reason:
                return reason
            held.add(number)
        # An assertion that does not hold is the better reason, so the exception comes after the records.
        if raised:
            return raised
        for number, check in enumerate(checks):
            if check.required and number not in held:
                return f"line {check.line}: not reached"
        return "" if body == b"done" and exit_code == 0 else "the tests did not come to their end"

    def _without_exception(self, reply: bytes, exit_code: int) -> tuple[bytes, str]:
        """Split off the last line of a reply if it describes an exception. The description proves nothing."""
        records, newline, line = reply.removesuffix(b"\n").rpartition(b"\n")
        if not line.startswith(RAISED_MARK):
            return reply, ""
        try:
            row = json.loads(line.removeprefix(RAISED_MARK), parse_int=small_integer)
            name, message, file, number = str(row["type"]), str(row["message"]), row["file"], int(row["line"])
        except Exception:
            return reply, ""
        where = ""
        if number > 0:
            in_tests = file == TESTS_FILE
            line_number = self._instrumented.line_of(number) if in_tests else number
            where = f" (line {line_number} of the {'tests' if in_tests else 'program'})"
        if name == "SystemExit" and exit_code == 0 and reply.startswith(READY):
            return records + newline, f"the tests ended by an exit that is not theirs{where}"
        return records + newline, f"{_one_line(name)}{': ' if message else ''}{_one_line(message)}{where}"

    def _judge(self, body: bytes) -> tuple[int, str]:
        """Return the number of a record's assertion, and why it does not hold, or ""."""
        # Any exception here comes from what the sandbox wrote, so the record proves nothing.
        # Text cannot contain this by itself, because its quotes are escaped.
        opaque = ", which may be because of an object that has no form as bytes" if OPAQUE.encode() in body else ""
        try:
            record = json.loads(body, parse_int=small_integer)
            number, values = record[0], record[1:]
            check = self._instrumented.checks[number]
        except Exception as error:
            return -1, f"a record that says nothing: {type(error).__name__}"
        try:
            parts = {f"_{i}": from_tagged(value) for i, value in enumerate(values) if value != ["!"]}
            if len(values) != check.parts:
                return number, f"line {check.line}: {len(values)} values for {check.parts} parts"
            # Safe: `Parts` leaves only names of parts, literals and the functions in _NAMES.
            held = check.holds is None or eval(check.holds, _NAMES, parts)  # noqa: S307
        except Exception as error:
            return number, f"line {check.line}: {type(error).__name__}{opaque}"
        return number, "" if held else f"line {check.line}: does not hold{opaque}"


def _one_line(text: str) -> str:
    """Text of the program in one line, without characters that a terminal interprets."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _MOST_MESSAGE else f"{line[:_MOST_MESSAGE]}..."
