"""The conventions by which CodeBLEU is scored."""

import keyword
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from peft_study.data.line_ends import with_line_feeds
from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.codebleu.cleaning import without_java_comments, without_python_comments
from peft_study.metrics.exact_match import normalise

_KEYWORDS = frozenset(keyword.kwlist)


class NoDataFlow(StrEnum):
    """How a missing data-flow match counts in the mean of the four components."""

    zero = "zero"
    full = "full"
    left_out = "left_out"


@dataclass(frozen=True)
class Convention:
    """One convention.

    Attributes:
        name: part of the names of its scores.
        split: splits a text into words for the n-gram matches; None uses the tokens of the parsed program.
        clean: prepares a text for the parser.
        bare: whether comments and docstrings are left out of the tree.
        as_evaluators: whether the data flow repeats the errors of the published evaluators. They read columns in bytes
            as columns in characters, pair any expressions by their parts, and read `not in` and `is not` as two names.
        keywords: the unigrams that weigh five times the others.
        reference_length: the length of every reference in the brevity penalty of the keyword-weighted match; None for
            its true length. The published evaluators measure the pair of tokens and weights, which is 2.
        at_least_one: whether a sample without n-grams of an order counts as having a single unmatched one.
        clipped: whether a candidate's subtree matches only one subtree of the reference, not any number.
        no_data_flow: how a missing data-flow match counts.
        cut: returns the part of a candidate that is scored; references are scored whole.
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


STRICT = Convention(
    name="strict",
    split=None,
    clean=with_line_feeds,
    bare=True,
    as_evaluators=False,
    keywords=_KEYWORDS,
    reference_length=None,
    at_least_one=False,
    clipped=True,
    no_data_flow=NoDataFlow.left_out,
)
"""What the paper of CodeBLEU (arXiv 2009.10297) describes, on unchanged programs.

Line breaks stay, comments and docstrings are left out, and tokens are Python's, so spacing makes no difference. If the
reference lacks n-grams of an order, subtrees or data flow, that component is left out and the rest weighs more. An
identical candidate scores 1, and a candidate that shares nothing scores 0.
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
"""As the study's authors scored their first revisions (arXiv 2308.10462), with CodeXGLUE's evaluator.

Code is joined into one line, comments are removed as in Java, and the data flow is 0 if the whole corpus has none.
"""

PACKAGE = replace(CODEXGLUE, name="package", cut=cut_at_angle_brackets)
"""`codexglue` on candidates cut as in the study's replication package: the numbers of the paper's table 3."""

# Not computed by the package itself: codebleu 0.7.0 fails with tree-sitter-python from 0.23 on.
PYPI = Convention(
    name="pypi",
    split=str.split,
    clean=lambda text: without_python_comments(text.strip()),
    bare=False,
    as_evaluators=True,
    # The package's list of keywords includes these soft keywords.
    keywords=_KEYWORDS | {"match", "case", "type"},
    reference_length=2,
    at_least_one=True,
    clipped=False,
    no_data_flow=NoDataFlow.full,
)
"""As the PyPI package codebleu 0.7, which the authors' later revision uses.

A data-flow match of 0 counts as 1, so an empty candidate scores at least 0.25.
"""

CONVENTIONS = (STRICT, CODEXGLUE, PACKAGE, PYPI)
