"""The conventions by which CodeBLEU is scored."""

import keyword
from collections.abc import Callable
from dataclasses import dataclass, replace

from peft_study.data.line_ends import with_line_feeds
from peft_study.data.package_v1 import cut_at_angle_brackets
from peft_study.metrics.codebleu.cleaning import without_java_comments, without_python_comments
from peft_study.metrics.exact_match import normalise

_KEYWORDS = frozenset(keyword.kwlist)


@dataclass(frozen=True)
class Convention:
    """One convention.

    Attributes:
        name: part of the names of its scores.
        as_evaluators: whether the score repeats what the published evaluators do:

            - N-grams are of words between white space, and not of Python's tokens.
            - A sample without n-grams of an order counts as having a single unmatched one.
            - The brevity penalty of the keyword-weighted match takes 2 for the length of every reference, because it
              measures the pair of tokens and weights.
            - The tree contains comments and docstrings.
            - A candidate's subtree matches any number of subtrees of the reference, and not only one.
            - The data flow reads columns in bytes as columns in characters, pairs any expressions by their parts, and
              reads `not in` and `is not` as two names.
            - A component that the references lack is not left out.
        clean: prepares a text for the parser.
        keywords: the unigrams that weigh five times the others.
        no_flow_is_full: whether a data-flow match of 0 counts as 1.
        cut: returns the part of a candidate that is scored; references are scored whole.
    """

    name: str
    as_evaluators: bool
    clean: Callable[[str], str]
    keywords: frozenset[str] = _KEYWORDS
    no_flow_is_full: bool = False
    cut: Callable[[str], str] = str


STRICT = Convention("strict", as_evaluators=False, clean=with_line_feeds)
"""What the paper of CodeBLEU (arXiv 2009.10297) describes, on unchanged programs.

Line breaks stay, comments and docstrings are left out, and tokens are Python's, so spacing makes no difference. If the
reference lacks n-grams of an order, subtrees or data flow, that component is left out and the rest weighs more. An
identical candidate scores 1, and a candidate that shares nothing scores 0.
"""

CODEXGLUE = Convention("codexglue", as_evaluators=True, clean=lambda text: without_java_comments(normalise(text)))
"""As the study's authors scored their first revisions (arXiv 2308.10462), with CodeXGLUE's evaluator.

Code is joined into one line, comments are removed as in Java, and the data flow is 0 if the whole corpus has none.
"""

PACKAGE = replace(CODEXGLUE, name="package", cut=cut_at_angle_brackets)
"""`codexglue` on candidates cut as in the study's replication package: the numbers of the paper's table 3."""

# Not computed by the package itself: codebleu 0.7.0 fails with tree-sitter-python from 0.23 on.
PYPI = Convention(
    "pypi",
    as_evaluators=True,
    clean=lambda text: without_python_comments(text.strip()),
    # The package's list of keywords includes these soft keywords.
    keywords=_KEYWORDS | {"match", "case", "type"},
    no_flow_is_full=True,
)
"""As the PyPI package codebleu 0.7, which the authors' later revision uses.

A data-flow match of 0 counts as 1, so an empty candidate scores at least 0.25.
"""

CONVENTIONS = (STRICT, CODEXGLUE, PACKAGE, PYPI)
