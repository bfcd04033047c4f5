"""What the harness writes to the parent: records of assertions, the value of a call, or an uncaught exception.

Both sides read these constants. Nothing that a program does to them changes a verdict: the parent has a separate copy.
"""

import builtins
import os

# Functions keep the built-ins that exist when they are defined. The names below keep theirs if a program replaces them.
globals()["__builtins__"] = dict(vars(builtins))

REPLY_FD, TESTS_FD = 3, 4
PROGRAM_FILE, TESTS_FILE = "main.py", "tests.py"
READY = b"ready\n"
"""Says that the program has run to its end and that the harness waits for the tests."""
RAISED = '["!"]'
"""Stands for a value whose evaluation raised, if the assertion may hold without it."""
DIGEST_BYTES = 16
RAISED_MARK = b"!"
"""Begins a line that describes the exception that ended the program or its tests. The line proves nothing."""
VALUES_OF_MODE = {"v": 1, "m": 1, "c": 3, "i": 3}
"""How many values a part of each mode becomes. `evaluate.checker` describes the modes."""

_write = os.write


def send(body: bytes) -> None:
    """Write all of some bytes to the parent."""
    while body:
        body = body[_write(REPLY_FD, body) :]
