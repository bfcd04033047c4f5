import ast
import hashlib
import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from peft_study.data.minipy import SIZES, generate
from peft_study.data.minipy.checking import literal, run
from peft_study.data.minipy.generator import NEW_SHARE, UNSEEN, UNSEEN_SHARE
from peft_study.data.samples import Sample
from peft_study.errors import UserError

FINGERPRINT = "d9034f0f9dce7e028b78c51b88e1afa6cdf0f2c9b9f726bb53927a1a6227f2c5"
SCRIPT = """
import hashlib
from peft_study.data.minipy import SIZES, generate
digest = hashlib.sha256()
for split in SIZES:
    for sample in generate(split):
        digest.update(repr(sample).encode())
print(digest.hexdigest())
"""


def everything() -> list[Sample]:
    return [sample for split in SIZES for sample in generate(split)]


def passes(answer: str, sample: Sample) -> bool:
    try:
        return all(literal(run(answer, check.setup, check.probe)) == check.expected for check in sample.checks)
    except Exception:
        return False


def test_the_content_is_pinned() -> None:
    digest = hashlib.sha256()
    for sample in everything():
        digest.update(repr(sample).encode())
    assert digest.hexdigest() == FINGERPRINT


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_hash_seed_does_not_matter(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    found = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == FINGERPRINT


def test_sizes_and_ids() -> None:
    assert {split: len(generate(split)) for split in SIZES} == {"train": 2_000, "validation": 300, "test": 1_000}
    assert len({sample.id for sample in everything()}) == 3_300


def test_no_instruction_occurs_twice() -> None:
    assert max(Counter(sample.instruction for sample in everything()).values()) == 1


def test_every_answer_parses_and_has_one_or_two_lines() -> None:
    for sample in everything():
        ast.parse(sample.answer)
        assert 1 <= len(sample.answer.splitlines()) <= 2


def test_every_answer_passes_its_checks() -> None:
    for sample in everything():
        assert len(sample.checks) in {2, 3}
        for check in sample.checks:
            assert ast.literal_eval(check.expected) == run(sample.answer, check.setup, check.probe), sample


def test_other_answers_fail_the_checks() -> None:
    test = generate("test")
    others = Random(0).sample(test, len(test))
    wrong = [(other, sample) for other, sample in zip(others, test, strict=True) if other.answer != sample.answer]
    assert sum(passes(other.answer, sample) for other, sample in wrong) / len(wrong) < 0.01


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("sorted(", "list("), ("max(", "min("), (" > ", " < "), (" % 2 == 0", " % 2 == 1"), ("[-1]", "[0]")],
)
def test_a_slip_in_the_answer_fails_the_checks(right: str, wrong: str) -> None:
    hit = [sample for sample in everything() if right in sample.answer]
    caught = [not passes(sample.answer.replace(right, wrong), sample) for sample in hit]
    assert len(hit) > 20
    assert sum(caught) / len(caught) > 0.9


def test_quoted_names_are_copied_into_the_answer() -> None:
    for sample in everything():
        variables = [
            target.id for target in ast.walk(ast.parse(sample.checks[0].setup)) if isinstance(target, ast.Name)
        ]
        for variable in variables:
            assert f"'{variable}'" in sample.instruction


def test_test_has_functions_that_train_lacks() -> None:
    def names(split: str) -> set[str]:
        trees = (ast.walk(ast.parse(sample.answer)) for sample in generate(split))
        return {node.attr for tree in trees for node in tree if isinstance(node, ast.Attribute)}

    assert {"casefold", "swapcase", "rfind"} <= names("test") - names("train") - names("validation")
    assert UNSEEN
    assert 0 < UNSEEN_SHARE < NEW_SHARE < 1


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match="got 'dev'"):
        generate("dev")
