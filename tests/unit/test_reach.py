"""Which assertions every complete run of some tests evaluates, and which may fail without failing them."""

import ast

import pytest

from peft_study.judging.asserts.failing import is_check, may_fail
from peft_study.judging.asserts.reach import Reach, reach_of_assertions

ALWAYS, SOMETIMES, CAUGHT = Reach(), Reach(required=False), Reach(required=False, caught=True)


def reaches(tests: str) -> list[Reach]:
    """Of the assertions, in the order of their lines."""
    found = reach_of_assertions(ast.parse(tests))
    return [found[node] for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))]


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("assert f(1)", [ALWAYS]),
        ("assert False", [SOMETIMES]),
        ("for x in range(3): assert f(x)", [ALWAYS]),
        ("for x in cases.items(): assert f(x)", [ALWAYS]),
        ("for x in cases.values(): assert f(x)", [ALWAYS]),
        ("for x in f(3).keys(): assert x", [SOMETIMES]),
        ("for x in f(3): assert x", [SOMETIMES]),
        ("for x, y in zip(f(3), [1]): assert x", [SOMETIMES]),
        ("while True:\n    assert f(1)\n    break", [ALWAYS]),
        ("while f(1): assert f(2)", [SOMETIMES]),
        ("with g(): assert f(1)", [ALWAYS]),
        ("with suppress(KeyError): assert f(1)", [SOMETIMES]),
        ("with suppress(Exception): assert f(1)", [CAUGHT]),
        ("with a, pytest.raises(AssertionError): assert f(1)", [CAUGHT]),
        ("try:\n    assert f(1)\nexcept KeyError:\n    assert f(2)\nelse:\n    assert f(3)", [SOMETIMES] * 3),
        ("try:\n    assert f(1)\nexcept:\n    pass\nassert f(2)", [CAUGHT, ALWAYS]),
        ("try:\n    assert f(1)\nexcept (KeyError, AssertionError):\n    pass", [CAUGHT]),
        ("try:\n    assert f(1)\nexcept Exception:\n    raise", [ALWAYS]),
        ("try:\n    assert f(1)\nexcept Exception:\n    assert False", [ALWAYS, SOMETIMES]),
        ("try:\n    assert f(1)\nexcept Exception:\n    sys.exit(1)", [ALWAYS]),
        ("try:\n    assert f(1)\nexcept Exception:\n    sys.exit(0)", [CAUGHT]),
        ("try:\n    g()\nexcept:\n    pass\ndef g(): assert f(1)", [CAUGHT]),
        ("try:\n    g()\nexcept:\n    pass\ndef g(): h()\ndef h(): assert f(1)\nassert f(2)", [CAUGHT, ALWAYS]),
        ("def g(): assert f(1)\ng()", [ALWAYS]),
        ("def g(): assert f(1)", [SOMETIMES]),
        ("def g(): assert f(1)\nif f(2): g()", [SOMETIMES]),
        ("def g(): assert f(1)\ndef h(): g()\nif f(2): h()", [SOMETIMES]),
        ("def g(): assert f(1)\ndef h(): g()\nh()", [ALWAYS]),
        ("def case(t): t()\n@case\ndef g(): assert f(1)", [ALWAYS]),
        ("def skip(t): return t\n@skip\ndef g(): assert f(1)", [SOMETIMES]),
        ("@case\ndef g(): assert f(1)", [SOMETIMES]),
        ("class T:\n    @unittest.skip('x')\n    def t(self): assert f(1)\nunittest.main()", [SOMETIMES]),
        ("class T:\n    @unittest.skipIf(True, 'x')\n    def t(self): assert f(1)\nunittest.main()", [SOMETIMES]),
        ("class T:\n    @unittest.expectedFailure\n    def t(self): assert f(1)\nunittest.main()", [CAUGHT]),
        ("@unittest.expectedFailure\nclass T:\n    def t(self): assert f(1)\nunittest.main()", [CAUGHT]),
        ("def match(c): assert c(1)\nre.compile('a').match('a')", [SOMETIMES]),
        ("class T:\n    def match(self): assert f(1)\nre.compile('a').match('a')", [SOMETIMES]),
        ("class T:\n    def check(self): assert f(1)\ncheck(f)", [SOMETIMES]),
        ("class T:\n    def t(self): self.leave()\n    def leave(self): exit()\nT().t()\nassert f(2)", [SOMETIMES]),
        ("import sys\nif f(1): sys.exit(0)\nassert f(2)", [SOMETIMES]),
        ("import sys\nif f(1): sys.exit(1)\nassert f(2)", [ALWAYS]),
        ("if f(1): raise SystemExit\nassert f(2)", [SOMETIMES]),
        ("if f(1): raise ValueError\nassert f(2)", [ALWAYS]),
        ("def done(): exit()\nif f(1): done()\nassert f(2)", [SOMETIMES]),
        ("from sys import exit as leave\nif f(1): leave(0)\nassert f(2)", [SOMETIMES]),
        ("import sys\nleave = sys.exit\nif f(1): leave(f(3))\nassert f(2)", [SOMETIMES]),
        ("if f(1): door.exit()\nassert f(2)", [ALWAYS]),
        ("import unittest\nunittest.main()\nassert f(2)", [SOMETIMES]),
        ("import unittest\nunittest.main(exit=False)\nassert f(2)", [ALWAYS]),
        ("def g():\n    if x: return\n    assert f(1)\ng()", [SOMETIMES]),
        ("def g():\n    for x in y:\n        if x: return\n    assert f(1)\ng()", [SOMETIMES]),
        ("for x in y:\n    if x: continue\n    assert f(1)\nassert f(2)", [SOMETIMES, ALWAYS]),
        ("for x in y:\n    for z in x:\n        break\n    assert f(1)", [ALWAYS]),
        ("def g():\n    def h(): return 1\n    assert f(h())\ng()", [ALWAYS]),
        ("def g():\n    yield\n    assert f(1)\nnext(g())", [SOMETIMES]),
        ("if __name__ == '__main__': assert f(1)", [ALWAYS]),
        ("if x: assert f(1)\nelse: assert f(2)", [SOMETIMES, SOMETIMES]),
        ("match f(1):\n    case 1: assert f(2)", [SOMETIMES]),
        ("class T:\n    assert f(1)", [Reach(in_class=True)]),
        ("class T:\n    def t(self): assert f(1)\nT().t()", [ALWAYS]),
        ("class T:\n    def t(self): assert f(1)\nunittest.main()", [SOMETIMES]),
    ],
)
def test_the_reach_of_assertions(tests: str, expected: list[Reach]) -> None:
    assert reaches(tests) == expected


@pytest.mark.parametrize(
    ("tests", "checks"),
    [
        ("assert f(1)", True),
        ("if f(1) != 2: raise AssertionError('no')", True),
        ("mock.assert_called_once()", True),
        ("self.assertEqual(f(1), 2)", True),
        ("np.testing.assert_allclose(f(1), 2)", True),
        ("with pytest.raises(KeyError): f(1)", True),
        ("self.fail('no')", True),
        ("equal = TestCase().assertEqual", True),
        ("f(1)", False),
        ("raise ValueError", False),
        ("print(f(1) == 2)", False),
    ],
)
def test_checks_that_can_fail(tests: str, checks: bool) -> None:
    assert any(map(is_check, ast.walk(ast.parse(tests)))) is checks


_CASE = "import unittest\nclass Case(unittest.TestCase):\n    def test_f(self): self.assertEqual(f(1), 2)\n"


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(1) == 2",
        "def check(g): assert g(1) == 2\ncheck(f)",
        "def inner(): assert f(1) == 2\ndef outer(): inner()\nouter()",
        "def test():\n    def inner(): assert f(1) == 2\n    inner()\ntest()",
        "class Cases:\n    assert f(1) == 2",
        "class Cases:\n    def test(self): assert f(1) == 2\nCases().test()",
        "class Cases:\n    @staticmethod\n    def test(): assert f(1) == 2\nCases.test()",
        "class Cases:\n    def __init__(self): assert f(1) == 2\nCases()",
        "def now(g): g()\n@now\ndef test(): assert f(1) == 2",
        "import atexit\n@atexit.register\ndef test(): assert f(1) == 2",
        "def test(): assert f(1) == 2\nfor name in list(globals()):\n    if name == 'test': globals()[name]()",
        "import asyncio\nasync def test(): assert f(1) == 2\nasyncio.run(test())",
        _CASE + "unittest.main()",
        _CASE + "if __name__ == '__main__': unittest.main()",
        _CASE + "unittest.TextTestRunner().run(Case('test_f'))",
        "def main(): assert f(1) == 2\nmain()",
        _CASE + "def main(): unittest.main()\nif __name__ == '__main__': main()",
        _CASE + "    def main(self): pass\nunittest.main()",
        _CASE + "from unittest import main as run_tests\nrun_tests()",
        _CASE + "from unittest import *\nmain()",
        _CASE + "unittest.TestProgram()",
        _CASE + "run = unittest.main\nrun()",
        _CASE + "class Derived(Case): pass\nunittest.TextTestRunner().run(Derived('test_f'))",
        "import unittest\nclass Case(unittest.TestCase):\n    def test_f(self): f(1)\nunittest.main()",
        "from unittest import TestCase\nequal = TestCase().assertEqual\nequal(f(1), 2)",
        "if f(1) != 2: raise ValueError('wrong')",
        "def check(g):\n    if g(1) != 2: raise Exception\ncheck(f)",
        "import sys\nif f(1) != 2: sys.exit(1)",
        "from sys import exit as leave\nleave(f(1) != 2)",
        "exec('assert f(1) == 2')",
        "run = lambda g: g()\n@run\ndef test(): assert f(1) == 2",
        "@(lambda g: g())\ndef test(): assert f(1) == 2",
        "tests = []\n@tests.append\ndef test(): assert f(1) == 2\nfor g in tests: g()",
        "class C:\n    def __init_subclass__(cls): assert f(1) == 2\nclass D(C): pass",
        "import __main__\ndef test(): assert f(1) == 2\n__main__.test()",
    ],
)
def test_tests_that_may_fail(tests: str) -> None:
    assert may_fail(ast.parse(tests))


@pytest.mark.parametrize(
    "tests",
    [
        "",
        "x = f(1)",
        "def test_f(): assert f(1) == 2",
        "def check(candidate): assert candidate(1) == 2",
        "def inner(): assert f(1) == 2\ndef outer(): inner()",
        "def main(): assert f(1) == 2",
        "class Cases:\n    def test_f(self): assert f(1) == 2",
        "from unittest.mock import patch\nclass C:\n    @patch('os.rename')\n    def test_f(self, m): assert f(1) == 2",
        _CASE,
        _CASE + "class Derived(Case): pass",
        "def test(): assert main(1) == 2",
        "def test(): assert getattr(f(1), 'real') == 2",
        "def test(): assert vars(f(1)) == {'a': 1}",
        "import re\ndef match(c): assert c(1) == 2\nre.compile('a').match('a')",
        "import sys\ndef test(): sys.exit(1)",
        "import sys\nif not f(1): sys.exit(0)",
    ],
)
def test_tests_whose_assertions_never_run_cannot_fail(tests: str) -> None:
    exec(compile(tests, "tests", "exec"), {"f": lambda *_: object()})  # plain Python agrees

    assert not may_fail(ast.parse(tests))
