"""Assertions taken apart: what goes into the sandbox, what stays, and what proves that they held."""

import json
import time
from hashlib import blake2b

import pytest

from peft_study.judging.asserts.assertions import Proof
from peft_study.judging.asserts.instrument import instrument
from peft_study.sandbox.inside.reply import DIGEST_BYTES, READY


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
def test_expected_values_stay_outside_the_sandbox(tests: str) -> None:
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
def test_parts_and_required_assertions(tests: str, parts: list[int], required: list[bool]) -> None:
    checks = instrument(tests).checks
    assert [check.parts for check in checks] == parts
    assert [check.required for check in checks] == required


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tests", ["assert f(1) is 'a'", "assert f(1) is not (1, 'b')", "assert 1 is f(1)"])
def test_a_literal_after_is_causes_no_warning(tests: str) -> None:
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


def signed(proof: Proof, *bodies: str) -> bytes:
    """A reply as a program writes it that has read the key."""
    chain = blake2b(key=bytes.fromhex(json.loads(proof.tests)["key"]), digest_size=DIGEST_BYTES)
    reply = READY
    for body in (*bodies, "done"):
        chain.update(body.encode())
        reply += body.encode() + b" " + chain.hexdigest().encode() + b"\n"
    return reply


_HUGE = "f" * 1_900_000
_COLLIDING = ",".join(f'["F",["i","{(2**61 - 1) * (i + 1) + 7:x}"],1]' for i in range(9_000))
_COLLIDING_TUPLES = ",".join(f'["t",["i","{(2**61 - 1) * i:x}"]]' for i in range(9_000))


@pytest.mark.parametrize(
    ("assertion", "values"),
    [
        pytest.param("f(1) == 2", "[" * 100_000, id="brackets without end"),
        pytest.param("f(1) == 2", '["l",' * 50_000 + "1" + "]" * 50_000, id="nested"),
        pytest.param("f(1) == 2", "9" * 4_000, id="many digits in JSON"),
        pytest.param("f(1) == 2", '{"a":1}', id="no form"),
        pytest.param("'x' in f(1)", f'["r",0,["i","{10**18:x}"],1]', id="range"),
        pytest.param("f(1) == 2", f'["r",0,["i","{_HUGE}"],["i","{_HUGE[::2]}"]]', id="range of huge steps"),
        pytest.param("f(1) == 2", '["F","1e400000000"]', id="fraction of text"),
        pytest.param("f(1) == 2", f'["F",["i","{_HUGE}"],["i","{_HUGE[:-3]}1"]]', id="fraction to be shortened"),
        pytest.param("f(1) == f(2) != 1", f'["i","{_HUGE}"],["D","1.5"]', id="integer beside a decimal"),
        pytest.param("f(1) == f(2) != 1", '["D","1e999999999"],["F",1,3]', id="decimal beside a fraction"),
        pytest.param("f(1) == 2", f'["D","{"9" * 20_000}"]', id="decimal of many digits"),
        pytest.param("round(f(1), f(2)) + 1 == 2", "1,-999999999", id="round to tens"),
        pytest.param("round(f(1), f(2)) + 1 == 2", '["F",1,3],999999999', id="round to digits"),
        pytest.param("f(1) == {1}", f'["s",{_COLLIDING}]', id="fractions that collide"),
        pytest.param("f(1) == {1}", f'["s",{_COLLIDING_TUPLES}]', id="tuples that collide"),
        pytest.param("f(1) == {1: 2}", f'["d",{_COLLIDING_TUPLES},1]', id="keys that collide"),
        pytest.param("f(1) == 2", '["w",["F",1,3]]', id="duration of a fraction"),
    ],
)
def test_hostile_values_prove_nothing_and_take_bounded_time(assertion: str, values: str) -> None:
    proof = Proof(f"assert {assertion}")
    reply = signed(proof, f"[0,{values}]")
    started = time.process_time()

    says = proof.missing(reply, 0)

    assert says
    assert len(says) <= 200
    # Unbounded they take minutes and more; a slow machine takes its time over what is bounded.
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("assertion", "values"),
    [
        ("f(1) == 2", "2"),
        ("5 in f(1)", '["r",0,1000,5]'),
        ("'x' not in f(1)", '["r",0,1000,5]'),
        ("f(1) == 10 ** 20000", f'["i","{10**20_000:x}"]'),
        ("round(f(1), 2) == 0.33", '["f","0x1.5555555555555p-2"]'),
        ("abs(f(1) - 0.5) < 0.2", '["F",1,3]'),
        ("f(1) == {-1, -2, 0}", '["s",-1,-2,0]'),
        ("len(f(1)) == 3 and f(1) != {}", '3,["d",["t",1,2],3]'),
    ],
)
def test_values_of_honest_programs_hold(assertion: str, values: str) -> None:
    proof = Proof(f"assert {assertion}")
    assert proof.missing(signed(proof, f"[0,{values}]"), 0) == ""
