"""Programs under the rules of the checker that the study's package used for APPS.

The rules restate the behaviour of eval/testing_util.py of Hendrycks et al. 2021, "Measuring Coding Challenge
Competence With APPS", as the hub's codeparrot/apps_metric runs it. They are for comparison with the paper alone:

- A program that reads standard input becomes the body of a function of a module that is not `__main__`. Imports before
  its first other line stay above the function.
- The streams of the module are others than those of the function. `sys.stdin` is plain text without `.buffer`, and
  `sys.stdout` text that is captured. `stdin`, also by `from sys import stdin` at the top, is the stream of before: it
  has the input in `read`, `readlines` and `readline`, without line ends in the latter two, and nothing else. What is
  written to `stdout` of before is lost. `open` gives the input.
- `exit` and `quit` are None, some modules cannot be imported. `sys.exit` ends the function without an error.
- numpy is there, as `np`, too. The imports stand in the program's own text, which cannot import from `__future__`
  therefore.
- What is called is a method of `Solution` where the text holds "class Solution", and else a function.
- Each test has 4 s, and all tests of a candidate have 11 s together, or all of them fail.

One difference remains: each test has a process of its own here, and the checker runs all tests in one, where global
state lives on.
"""

from dataclasses import replace

from peft_study.sandbox.inside.prelude import ANY_LENGTH, APPS_PRELUDE
from peft_study.sandbox.jobs import Limits

PACKAGE_RULES_VERSION = 2
"""Raised when a verdict under these rules may come out differently."""
PACKAGES = ("numpy",)
"""What programs may import beside the standard library."""
TEST_SECONDS = 4.0
"""Time of one test: `timeout` of the checker."""
CANDIDATE_SECONDS = 11.0
"""Time of all tests of a candidate: 10 s, and one more until the checker's process is killed."""

FUNCTION = "_called"
"""The name of what is called."""
_IMPORTS = APPS_PRELUDE + "import numpy as np\n"
_GUARD = """\
import builtins, sys
builtins.exit = builtins.quit = None
sys.modules.update(dict.fromkeys(("ipdb", "joblib", "psutil", "resource", "tkinter")))
del builtins
__name__ = "tmp_sol"
"""
_STREAMS = """
def _caller():
    import builtins, io, sys
    text, out = sys.stdin.read(), sys.stdout
    lines = iter(text.split("\\n"))
    # Patches enter the innermost first: the checker's of these three change the stream that the last of them replaces.
    before = sys.stdin = io.TextIOWrapper(io.BytesIO(), "utf-8")
    before.readline = lambda *_: next(lines)
    before.readlines = lambda *_: text.split("\\n")
    before.read = lambda *_: text
    sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")

    def call(code):
        sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
        captured = sys.stdout
        captured.close = lambda _: 1
        builtins.open = lambda *_, **__: io.StringIO(text)
        try:
            code()
        except SystemExit:
            pass
        out.write(captured.getvalue())

    return call

_call = _caller()
del _caller
"""


def package_limits(limits: Limits) -> Limits:
    """The limits of one test, with at most the checker's time."""
    return replace(
        limits,
        cpu_seconds=min(limits.cpu_seconds, TEST_SECONDS),
        wall_seconds=min(limits.wall_seconds, TEST_SECONDS),
    )


def package_prelude(*, script: bool) -> str:
    """What runs before a candidate.

    Args:
        script: whether it reads standard input.
    """
    return "".join([ANY_LENGTH, _GUARD, _STREAMS if script else ""])


def package_source(source: str, function: str | None) -> str:
    """A candidate as the checker runs it.

    Args:
        source: the candidate.
        function: what is called, which gets the name `FUNCTION`; None where it reads standard input. Its text then
            becomes the body of a function, and that is called.
    """
    if function is not None:
        owner = "Solution()." if "class Solution" in source else ""
        return f"{_IMPORTS}{source}\n{FUNCTION} = {owner}{function}\n"
    lines = source.split("\n")
    first = next((place for place, line in enumerate(lines) if not line.startswith(("from ", "import "))), len(lines))
    body = [f"\t{line}" for line in lines[first:]]
    # Without a body there is no function, which the checker counts as an error.
    streams = ["stdin = sys.stdin", "stdout = sys.stdout", "def code():"] if body else []
    return _IMPORTS + "\n".join([*lines[:first], *streams, *body, "", "_call(code)", ""])
