"""The ways in which CodeBLEU is scored here."""

import keyword
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.codebleu.cleaning import without_java_comments, without_python_comments
from peft_study.metrics.exact_match import normalise

_KEYWORDS = frozenset(keyword.kwlist)


class NoDataFlow(StrEnum):
    """What a data-flow match of nothing, or without a reference edge, counts as in the sum of the four components."""

    zero = "zero"
    one = "one"
    left_out = "left_out"


@dataclass(frozen=True)
class Convention:
    """One way of scoring.

    Attributes:
        name: under which its scores are reported.
        split: gives a text's words for the n-gram matches; None takes the tokens of the parsed program.
        clean: gives the text that is parsed.
        cut: gives what is scored of a candidate; references are scored whole.
        bare: comments and docstrings are left out of the tree.
        as_evaluators: data flow with what the evaluators get wrong: tokens are cut with columns in bytes taken for
            columns in characters, any expressions are paired by their parts, `not in` and `is not` are two names each.
        keywords: the unigrams that weigh five times the others.
        reference_length: what the keyword-weighted match's brevity penalty takes for every reference's length; None
            takes its length. The evaluators measure the pair of tokens and weights, which is 2.
        at_least_one: a sample without n-grams of an order counts as one with a single unmatched one.
        clipped: a candidate's subtree answers one of the reference's, not any number.
        no_data_flow: what a missing data flow counts as.
    """

    name: str
    split: Callable[[str], list[str]] | None
    clean: Callable[[str], str]
    bare: bool
    as_evaluators: bool
    keywords: frozenset[str]
    reference_length: int | None
    at_least_one: bool
    clipped: bool
    no_data_flow: NoDataFlow
    cut: Callable[[str], str] = str


def _with_unix_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


STRICT = Convention(
    name="strict",
    split=None,
    clean=_with_unix_line_ends,
    bare=True,
    as_evaluators=False,
    keywords=_KEYWORDS,
    reference_length=None,
    at_least_one=False,
    clipped=True,
    no_data_flow=NoDataFlow.left_out,
)
"""The project's own: what the paper of CodeBLEU (arXiv 2009.10297) describes, on programs as they are.

Line breaks stay, comments and docstrings are left out, tokens are Python's, so that spacing makes no difference. What
the reference has nothing of (n-grams of an order, subtrees, data flow) is left out and the rest weighs more: an
identical candidate scores 1 and one that shares nothing 0.
"""

CODEXGLUE = Convention(
    name="codexglue",
    split=str.split,
    clean=lambda text: without_java_comments(normalise(text)),
    bare=False,
    as_evaluators=True,
    keywords=_KEYWORDS,
    reference_length=2,
    at_least_one=True,
    clipped=False,
    no_data_flow=NoDataFlow.zero,
)
"""As the study's authors scored their first revisions (arXiv 2308.10462): CodeXGLUE's evaluator on code that was made
one line, with comments taken out as Java's, a data flow of 0 where the whole corpus has none."""

PACKAGE = replace(CODEXGLUE, name="package", cut=cut_at_angle_brackets)
"""`codexglue` on candidates as the study's replication package cut them: what the paper's table 3 holds."""

PYPI = Convention(
    name="pypi",
    split=str.split,
    clean=lambda text: without_python_comments(text.strip()),
    bare=False,
    as_evaluators=True,
    keywords=_KEYWORDS | {"match", "case", "type"},
    reference_length=2,
    at_least_one=True,
    clipped=False,
    no_data_flow=NoDataFlow.one,
)
"""As the PyPI package codebleu 0.7 scores, which the authors' later revision uses: a data-flow match of 0 counts as 1,
so that an empty candidate scores at least 0.25."""

CONVENTIONS = (STRICT, CODEXGLUE, PACKAGE, PYPI)
