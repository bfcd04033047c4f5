"""Programs under the rules of the checker that the study's package used for APPS.

The rules restate the behaviour of eval/testing_util.py of Hendrycks et al. 2021, "Measuring Coding Challenge
Competence With APPS", as the hub's codeparrot/apps_metric runs it. They serve only for comparison with the paper:

- A program that reads standard input becomes the body of a function of a module that is not `__main__`. Imports before
  its first other line stay above the function.
- The module and the function have different streams. In the function, `sys.stdin` is text without `.buffer`, and
  `sys.stdout` is captured text. `stdin`, also by `from sys import stdin` at the top, is the module's stream. It holds
  the input only in `read`, `readlines` and `readline`, the latter two without line ends. Output to the module's
  `stdout` is lost. `open` returns the input.
- `exit` and `quit` are None, and some modules cannot be imported. `sys.exit` ends the function without an error.
- numpy is available, also as `np`. The imports are part of the program's text, so it cannot import from `__future__`.
- A method of `Solution` is called if the text contains "class Solution", otherwise a function.
- Each test has 4 s. All tests of a candidate have 11 s in total, otherwise all of them fail.

One difference remains: here each test has a separate process. The checker runs all tests in one process, where global
state persists.
"""

from dataclasses import replace

from peft_study.sandbox.inside.prelude import ANY_LENGTH, APPS_PRELUDE
from peft_study.sandbox.jobs import Limits

PACKAGE_RULES_VERSION = 2
"""Increased if a verdict under these rules may change."""
PACKAGES = ("numpy",)
"""Packages that programs may import."""
TEST_SECONDS = 4.0
"""Time limit of one test, `timeout` in the checker."""
CANDIDATE_SECONDS = 11.0
"""Time limit of all tests of a candidate: 10 s, plus 1 s until the checker's process is killed."""

FUNCTION = "_called"
"""The name of the called function."""
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
    """Return the limits of one test, with at most the checker's time."""
    # The checker sets an alarm, which counts wall-clock time.
    return replace(
        limits, cpu_seconds=min(limits.cpu_seconds, TEST_SECONDS), wall_seconds=min(limits.wall_seconds, TEST_SECONDS)
    )


def package_prelude(*, script: bool) -> str:
    """Return the source that runs before a candidate.

    Args:
        script: the candidate reads standard input.
    """
    return "".join([ANY_LENGTH, _GUARD, _STREAMS if script else ""])


def package_source(source: str, function: str | None) -> str:
    """Return a candidate in the form that the checker runs.

    Args:
        source: the candidate.
        function: name of the called function, which becomes `FUNCTION`. None if the candidate reads standard input: its
            text then becomes the body of a function.
    """
    if function is not None:
        owner = "Solution()." if "class Solution" in source else ""
        return f"{_IMPORTS}{source}\n{FUNCTION} = {owner}{function}\n"
    lines = source.split("\n")
    first = next((place for place, line in enumerate(lines) if not line.startswith(("from ", "import "))), len(lines))
    # A tab, as in the checker. The lines of a long string get it, too, and change.
    body = [f"\t{line}" for line in lines[first:]]
    # Without a body there is no function, and the checker counts an error.
    streams = ["stdin = sys.stdin", "stdout = sys.stdout", "def code():"] if body else []
    return _IMPORTS + "\n".join([*lines[:first], *streams, *body, "", "_call(code)", ""])
