"""Assertions taken apart: what goes into the sandbox, what stays, and what proves that they held."""

import pytest

from peft_study.execution.assertions import Proof
from peft_study.execution.harness import READY
from peft_study.execution.instrument import instrument


@pytest.mark.parametrize(
    "tests",
    [
        "assert f(1) == 987654",
        "assert f(1) == [1, (987654, 'x')]",
        "assert 987654 == f(1)",
        "assert abs(f(1) - 987654) < 1e-6",
        "assert round(f(1) + 987654, 2) == 2",
        "import math\nassert math.isclose(f(1), 987654, rel_tol=1e-9)",
        "assert f(1) != 987654 and f(2) in (987654, 2)",
        "assert not f(1) == 987654 or f(2) > 987654",
        "assert set(f(1)) == set([987654])",
        "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == {'a': 987654}\ncheck(f)",
        "assert 1 < f(1) < 987654",
        "assert f(1) == -987654 + 2 * 3",
        "assert f(1) == 987654, 'a message with 987654'",
    ],
)
def test_what_a_value_is_compared_with_stays_outside(tests: str) -> None:
    assert "987654" not in instrument(tests).source


@pytest.mark.parametrize(
    ("tests", "parts", "required"),
    [
        ("assert f(1) == 2", [1], [True]),
        ("assert f(1) == f(2) == 3", [2], [True]),
        ("assert f(1) == f(2)", [3], [True]),
        ("assert f(1) is f(2)", [1], [True]),
        ("assert f(1) in f(2)", [3], [True]),
        ("assert 3 in f(2)", [1], [True]),
        ("assert type(f(1)) in (int, float)", [1], [True]),
        ("int = f(1)\nassert f(2) == int", [3], [True]),
        ("def check(list):\n    assert f(2) == list([1])\ncheck(f)", [3], [True]),
        ("assert f(1)", [1], [True]),
        ("assert True", [0], [True]),
        ("assert len(f(1)) == 2 and g", [2], [True]),
        ("if x:\n    assert f(1) == 2\nelse:\n    assert f(1) == 3", [1, 1], [False, False]),
        ("try:\n    f(1)\n    assert False\nexcept ValueError:\n    assert f(2) == 2", [0, 1], [False, False]),
        ("try:\n    assert f(1) == 1\nfinally:\n    assert f(2) == 2", [1, 1], [True, True]),
        ("def check(c):\n    for i in c:\n        assert i == 2\ncheck(f)", [1], [True]),
        ("assert (y := f(1)) == 2", [0], [True]),
    ],
)
def test_parts_and_what_every_run_comes_by(tests: str, parts: list[int], required: list[bool]) -> None:
    checks = instrument(tests).checks
    assert [check.parts for check in checks] == parts
    assert [check.required for check in checks] == required


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tests", ["assert f(1) is 'a'", "assert f(1) is not (1, 'b')", "assert 1 is f(1)"])
def test_python_says_nothing_of_a_literal_behind_is(tests: str) -> None:
    assert instrument(tests).checks


def test_tests_that_do_not_parse_are_refused() -> None:
    with pytest.raises(SyntaxError):
        Proof("assert f(")


@pytest.mark.parametrize(
    ("reply", "exit_code", "says"),
    [
        (b"", 0, "did not come to its end"),
        (READY, 0, "line 1: not reached"),
        (READY + b"[0,2]\n", 0, "did not write"),
        (READY + b"[0,2] " + b"0" * 32 + b"\ndone " + b"0" * 32 + b"\n", 0, "did not write"),
        (READY + b"\xff\xfe\n", 0, "did not write"),
    ],
)
def test_a_forged_reply_proves_nothing(reply: bytes, exit_code: int, says: str) -> None:
    assert says in Proof("assert f(1) == 2").missing(reply, exit_code)


def test_tests_without_an_assertion_prove_nothing() -> None:
    assert Proof("f(1)").missing(READY, 0) == "the tests hold no assertion"
