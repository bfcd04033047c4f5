"""Tests that assert, taken apart: what is evaluated beside the program, and what only the parent knows.

`assert f(3) == [1, 2]` becomes a call that evaluates `f(3)` in the sandbox and sends its value out; `== [1, 2]` stays
in the parent. So a program cannot look the expected value up, whatever it reads of its own process, and an object
that claims to equal everything is only a value that has no form as bytes: it is sent as such an object, which is not
None and equals no literal. What stays here is what joins literals and built-in types to values: comparisons, `not`,
`and`, `or`, sums, and a few numeric functions. The rest, the parts, is evaluated beside the program: calls, names,
whatever has no literal in it. Two values that a comparison without a literal has are both sent, and compared here.

Tests run in the program's own module, so that each sees what the other imports, defines and patches.

What remains possible. Where an assertion has no literal beside its parts, its value comes from an interpreter that the
program shares: a call whose truth is asserted (`assert check(f(x))`), a helper of the tests that holds the expected
value in a variable, `is` between two values, and a comparison of two values neither of which has a form as bytes (`f(1)
== Point(4, 6)`) or both of which compare as their class says (`m.call_args == call(3)`), in which an object may also
say itself what it equals. By walking frames, by `gc`, by patching what the helper calls or by redefining a built-in
function that the assertion calls, a program can make these come out true. It can also learn the tests' inputs, which
are its arguments, and shorten a loop of the tests by shadowing what it runs over; each assertion in it is still
evaluated at least once. What it cannot do is have a comparison with a literal come out true without giving a value that
makes it true: of `==` and of an order that is one it knows, of `!=`, `is not` and `not in` nearly any.

A program that reads the key and writes the records itself can also leave out what not every complete run comes by
(`reach`): assertions behind an `if`, in an `except`, in a loop over what the program returns. Where the tests hold
nothing else, or fail by an exception alone (`m.assert_called_once()`), such a program passes them. Assertions with
`:=`, `await` or `yield` in them, in the body of a class, or where the tests catch an AssertionError, are evaluated
beside the program as a whole, their literals included.

Where the verdict differs from plain Python's:
- An object without a form as bytes that equals a literal, is ordered against one or added to one by its own methods
  (`Money(3) == 3`, a `ChainMap` beside a dict) does not hold. A NaN equals no NaN, also where both are one object.
- All parts of `a or b` are evaluated, also those that Python would pass over; what they raise is ignored there.
- An assertion in a loop over a name is required, although the name may stand for nothing.
- A main guard of the program (`if __name__ == "__main__":`) is not run; one of the tests is.
- `abs`, `round`, `set` and the like keep their meaning where the program defines others, except in a comparison that
  names nothing else.
- An exit with code 0 that the program takes part in, and `os._exit`, do not end the tests.
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
_MATH = SimpleNamespace(isclose=math.isclose, fabs=math.fabs, inf=math.inf, nan=math.nan, pi=math.pi, e=math.e)
_KNOWN: dict[str, Any] = {
    "__builtins__": {},
    "math": _MATH,
    **TYPES,
    **{name: _FUNCTIONS[name] for name in (*NUMERIC, *BUILDERS)},
}
"""What is called here, of values that may come from anybody: nothing that could take long or do anything else."""
_KEY_BYTES = 32
_MOST_MESSAGE = 120
"""Characters of an exception's message in a reason."""


class Proof:
    """What the sandbox is given of some tests, and whether what comes back shows that every assertion held.

    Args:
        tests: Python source that asserts.

    Raises:
        SyntaxError: it is none.

    Attributes:
        tests: what the harness reads, as bytes.
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
        """Say what is not proved.

        Args:
            reply: everything that the harness wrote.
            exit_code: of the process.

        Returns:
            "" where every assertion was evaluated and held; otherwise the first reason why not.
        """
        if not self._instrumented.asserts:
            return "the tests hold no assertion"
        reply, raised = self._without_exception(reply, exit_code)
        checks = self._instrumented.checks
        if not reply.startswith(READY):
            return raised or "the program did not come to its end"
        held: set[int] = set()
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
        if raised:
            return raised
        for number, check in enumerate(checks):
            if check.required and number not in held:
                return f"line {check.line}: not reached"
        return "" if body == b"done" and exit_code == 0 else "the tests did not come to their end"

    def _without_exception(self, reply: bytes, exit_code: int) -> tuple[bytes, str]:
        """A reply without its last line, where that tells of an exception, and what it tells; it proves nothing."""
        before, newline, line = reply.removesuffix(b"\n").rpartition(b"\n")
        if not line.startswith(RAISED_MARK):
            return reply, ""
        try:
            told = json.loads(line.removeprefix(RAISED_MARK), parse_int=small_integer)
            name, message, file, number = str(told["type"]), str(told["message"]), told["file"], int(told["line"])
        except Exception:
            return reply, ""
        where = ""
        if number > 0:
            in_tests = file == TESTS_FILE
            line_number = self._instrumented.line_of(number) if in_tests else number
            where = f" (line {line_number} of the {'tests' if in_tests else 'program'})"
        if name == "SystemExit" and exit_code == 0 and reply.startswith(READY):
            return before + newline, f"the tests ended by an exit that is not theirs{where}"
        return before + newline, f"{_plain(name)}{': ' if message else ''}{_plain(message)}{where}"

    def _judge(self, body: bytes) -> tuple[int, str]:
        """One record: the number of its assertion, and why it does not hold, or "".

        Whatever is raised on the way comes from what the sandbox wrote, and shows that nothing is proved.
        """
        # In text, quotes are escaped.
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
            # Names, literals and the few functions of _KNOWN: _Transformer lets nothing else through.
            held = check.holds is None or eval(check.holds, _KNOWN, parts)  # noqa: S307
        except Exception as error:
            return number, f"line {check.line}: {type(error).__name__}{opaque}"
        return number, "" if held else f"line {check.line}: does not hold{opaque}"


def _plain(text: str) -> str:
    """A text of the program in one line, without what a terminal would act on."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= _MOST_MESSAGE else f"{line[:_MOST_MESSAGE]}..."
