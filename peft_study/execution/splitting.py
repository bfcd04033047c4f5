"""Tests that assert, taken apart: what is evaluated beside the program, and what only the parent knows.

`assert f(3) == [1, 2]` becomes a call that evaluates `f(3)` in the sandbox and sends its value out; `== [1, 2]` stays in the
parent, so that a program cannot look the expected value up, whatever it reads of its own process, and an object that
claims to equal everything is only a value that has no form as bytes. What stays here is whatever combines literals with
values: comparisons, `not`, `and`, `or`, sums, and a few numeric functions. The rest, the "parts", is evaluated beside
the program: calls, names, loops.

What remains possible. Where an assertion has no literal beside the part (`assert check(f(x))`, a helper of the tests that
computes a truth value), its value comes from an interpreter that the program shares: by walking frames or patching what
the helper calls, a program can make it say true. It can also learn the inputs of the tests from its arguments, which every
test tells. It cannot make an assertion count that it does not know the value of.
"""

import ast
import secrets
from dataclasses import dataclass

_NUMERIC = {"abs": abs, "round": round}
_MATH = {"isclose", "fabs"}
_BUILDERS = {"set": set, "frozenset": frozenset, "tuple": tuple, "list": list, "dict": dict, "float": float}
