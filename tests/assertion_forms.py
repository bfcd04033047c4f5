"""Small tests in the forms that published sets of assertion tests use, each with a right program and wrong ones.

They stand in assertion_forms.txt: `=== name` begins a form with its tests, `--- program` a program for them. What is
right is not said there: plain Python says it, see `test_assertion_forms`.
"""

import re
from pathlib import Path
from typing import NamedTuple


class Form(NamedTuple):
    """One problem.

    Attributes:
        tests: their source.
        programs: sources, at least one.
    """

    tests: str
    programs: tuple[str, ...]


def read_forms() -> dict[str, Form]:
    """The forms by name."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    forms = {}
    for block in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        head, *programs = block.split("--- program\n")
        name, _, tests = head.partition("\n")
        assert name not in forms
        forms[name] = Form(tests, tuple(programs))
    return forms


FORMS = read_forms()
