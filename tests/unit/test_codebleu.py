"""CodeBLEU's components and totals on pairs that were computed by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from peft_study.metrics.codebleu import CONVENTIONS, CodeBleu, Convention, corpus_score, score_codebleu
from peft_study.metrics.codebleu.pooling import COLUMNS

LOOP = "for x in xs:\n    y = x"
COMPONENTS = ("ngram", "weighted_ngram", "syntax", "dataflow")


def score_pair(candidate: str, reference: str) -> CodeBleu:
    return score_codebleu([candidate], [reference])


def parts(scores: CodeBleu, convention: str) -> list[float | None]:
    return [scores.metrics[f"codebleu_{convention}_{component}"] for component in COMPONENTS]


def root(*shares: float) -> float:
    """The geometric mean of the shares of matched n-grams, orders 1 and up."""
    return math.prod(shares) ** (1 / len(shares))


# Candidate, reference and the strict components: n-gram, keyword-weighted n-gram, syntax, data flow. 0.1 replaces an
# order without a match; orders without n-grams in the reference are left out.
STRICT_BY_HAND = {
    # Tokens x = 1. Edges: x is computed from 1, and 1 is where that comes from.
    "identical": ("x = 1", "x = 1", [1, 1, 1, 1]),
    # 2 of 3 unigrams, 1 of 2 bigrams, no trigram; three of three subtrees (module, statement, assignment); names and
    # values are numbered, so both edges match.
    "other value": ("x = 2", "x = 1", [root(2 / 3, 1 / 2, 0.1), root(2 / 3, 1 / 2, 0.1), 1, 1]),
    "empty": ("", "x = 1", [0, 0, 0, 0]),
    "blank": (" \n\t", "x = 1", [0, 0, 0, 0]),
    "only a comment": ("# x = 1", "x = 1", [0, 0, 0, 0]),
    # (module (ERROR (identifier))): the reference has neither subtree, and there is no data flow.
    "unparsable": ("x = (", "x = 1", [root(2 / 3, 1 / 2, 0.1), root(2 / 3, 1 / 2, 0.1), 0, 0]),
    # Tokens f ( x ) against g ( x ): 3 of 4, 2 of 3, 1 of 2, none of 1; a name alone is not an edge.
    "no data flow": (
        "f(x)",
        "g(x)",
        [root(3 / 4, 2 / 3, 1 / 2, 0.1), root(3 / 4, 2 / 3, 1 / 2, 0.1), 1, None],
    ),
    # `return` weighs 1 and y 0.2, of 1.2.
    "keyword": ("return x", "return y", [root(1 / 2, 0.1), root(1 / 1.2, 0.1), 1, None]),
    # One token against three, so a brevity penalty of e^(1 - 3/1). The candidate has no longer n-grams to be right
    # (0.1 of 1 each); of the reference's, 0.2 of 0.6, none of 2, none of 1. Module and statement hold another thing.
    "too short": (
        "a",
        "a + b",
        [math.exp(-2) * root(1, 0.1, 0.1), math.exp(-2) * root(1 / 3, 0.1 / 2, 0.1), 0, None],
    ),
    # All n-grams of the candidate are the reference's, which is twice as long: e^(1 - 8/4). Of the reference's 8, 7, 6
    # and 5 n-grams it has 4, 3, 2 and 1. The reference has a module and twice a statement, a call and its arguments:
    # three of the seven are matched. Its second f and x come from the first ones; in the candidate nothing does.
    "subtrees are used once": (
        "f(x)",
        "f(x)\nf(x)",
        [math.exp(-1), math.exp(-1) * root(4 / 8, 3 / 7, 2 / 6, 1 / 5), 3 / 7, 0],
    ),
    "comments and docstrings": (
        'def f(a):\n    """Say."""\n    return a',
        "def f(a):\n    # say\n    return a  # it",
        [1, 1, 1, 1],
    ),
    # Edges of the reference: x from xs, xs from itself (the second round), y from x, x from the loop's x. The
    # candidate has x from xs, xs from itself, y from xs, and xs from itself again: two of four.
    # Tokens for x in xs : y = x against ... xs: 7 of 8, 6 of 7, 5 of 6, 4 of 5; `for` and `in` weigh 1, six others
    # 0.2. The same nine shapes: module, for, block, statement, assignment.
    "loop": (
        "for x in xs:\n    y = xs",
        LOOP,
        [root(7 / 8, 6 / 7, 5 / 6, 4 / 5), root(3 / 3.2, 6 / 7, 5 / 6, 4 / 5), 1, 2 / 4],
    ),
    "spacing": ("f( a,b )", "f(a, b)", [1, 1, 1, None]),
    "line ends": ("x = 1\r\ny = x\r", "x = 1\ny = x", [1, 1, 1, 1]),
}


@pytest.mark.parametrize("name", STRICT_BY_HAND)
def test_strict_components(name: str) -> None:
    candidate, reference, expected = STRICT_BY_HAND[name]

    scores = score_pair(candidate, reference)

    assert parts(scores, "strict") == pytest.approx(expected)
    defined = [value for value in expected if value is not None]
    assert scores.metrics["codebleu"] == scores.metrics["codebleu_strict"] == pytest.approx(sum(defined) / len(defined))


# Words are split at white space, orders without n-grams count as one unmatched n-gram, subtrees match any number of
# times, and a reference counts as two tokens long in the second brevity penalty.
EVALUATORS_BY_HAND = {
    # One word: 1, then 0.1 of 1 three times. Weighted: 0.2 of at least 1, and e^(1 - 2/1). No edge: 0, or 1 in pypi.
    "identical call": ("f(x)", "f(x)", [root(1, 0.1, 0.1, 0.1), math.exp(-1) * root(0.2, 0.1, 0.1, 0.1), 1, 0], 1),
    "other call": ("f(x)", "g(x)", [0, 0, 1, 0], 1),
    "empty": ("", "x = 1", [0, 0, 0, 0], 1),
    # An empty program's only subtree is the root.
    "empty twice": ("", "", [0, 0, 1, 0], 1),
    # Three words: 0.6 of at least 1, 2 of 2, 1 of 1, none of at least 1.
    "identical assignment": ("x = 1", "x = 1", [root(1, 1, 1, 0.1), root(0.6, 1, 1, 0.1), 1, 1], 1),
    # The words are f(x) against f(x); and f(x): 1 of 1, and 0.2 of at least 1. All subtrees but the module match.
    "subtrees match again": (
        "f(x)",
        "f(x); f(x)",
        [math.exp(-1) * root(1, 0.1, 0.1, 0.1), math.exp(-1) * root(0.2, 0.1, 0.1, 0.1), 6 / 7, 0],
        1,
    ),
}


@pytest.mark.parametrize("convention", ["codexglue", "pypi"])
@pytest.mark.parametrize("name", EVALUATORS_BY_HAND)
def test_components_as_the_evaluators_compute_them(name: str, convention: str) -> None:
    candidate, reference, expected, flow_in_pypi = EVALUATORS_BY_HAND[name]

    scores = score_pair(candidate, reference)

    assert parts(scores, convention) == pytest.approx(expected)
    flow = flow_in_pypi if convention == "pypi" and expected[3] == 0 else expected[3]
    assert scores.metrics[f"codebleu_{convention}"] == pytest.approx((sum(expected[:3]) + flow) / 4)


def test_a_wrong_candidate_scores_nothing_in_strict() -> None:
    scores = score_pair("", LOOP)

    assert scores.metrics["codebleu_strict"] == scores.metrics["codebleu_codexglue"] == 0
    assert scores.metrics["codebleu_pypi"] == 0.25


def test_codexglue_parses_one_line_without_comments_of_java() -> None:
    # On one line two statements are a syntax error, and `//` begins a comment.
    two_lines = score_pair("x = 1; y = x", "x = 1\ny = x")
    assert parts(two_lines, "strict")[2] == parts(two_lines, "pypi")[2] == 1
    assert parts(two_lines, "codexglue")[2] == 1 / 5  # of the reference's subtrees only `y = x` is still one
    assert parts(score_pair("x = a", "x = a // b"), "codexglue")[2] == 1
    assert parts(score_pair("x = a", "x = a // b"), "pypi")[2] == 0


def test_a_reference_without_code_is_undefined_and_weighs_nothing() -> None:
    pairs = [("x = 1", "x = 1"), ("y = f(x)", "# nothing")]

    both = score_codebleu(*zip(*pairs, strict=True))
    alone = score_pair(*pairs[1])

    assert both.metrics["codebleu_strict"] == 1
    assert both.samples[1]["codebleu_strict"] is alone.metrics["codebleu_strict"] is None


def test_without_any_data_flow_the_rest_weighs_a_third_each() -> None:
    scores = score_codebleu(["f(x)", "return x"], ["f(x)", "return y"])

    rest = [value for value in parts(scores, "strict") if value is not None]
    assert len(rest) == 3
    assert scores.metrics["codebleu_strict"] == pytest.approx(sum(rest) / 3)
    assert scores.metrics["codebleu_no_dataflow_share"] == 1
    assert scores.metrics["codebleu_strict_dataflow"] is None


def test_the_corpus_is_pooled_not_averaged() -> None:
    # Two lines have edges from each name to its value and of each value alone or from the first line: four.
    candidates, references = ["a = b\nc = a", "f(x)"], ["a = b\nc = a", "a = b"]

    scores = score_codebleu(candidates, references)

    edges = scores.counts["strict"][:, [COLUMNS.index("matched_edges"), COLUMNS.index("reference_edges")]]
    assert edges.tolist() == [[4, 4], [0, 2]]
    assert scores.metrics["codebleu_strict_dataflow"] == pytest.approx(4 / 6)
    assert scores.metrics["codebleu_no_dataflow_share"] == 0


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.name)
def test_scores_come_back_from_the_counts(convention: Convention) -> None:
    pairs = [(candidate, reference) for candidate, reference, _ in STRICT_BY_HAND.values()]
    scores = score_codebleu(*zip(*pairs, strict=True))
    counts = scores.counts[convention.name]

    # Every single sample as a corpus, then the corpus, then the corpus twice.
    stacked = np.vstack([counts, counts.sum(axis=0), 2 * counts.sum(axis=0)])
    totals = corpus_score(stacked, convention)

    name = f"codebleu_{convention.name}"
    expected: list[float | None] = [sample[name] for sample in scores.samples]
    assert totals[:-2].tolist() == pytest.approx(expected)
    assert totals[-2] == pytest.approx(scores.metrics[name])
    single = score_codebleu(*(list(column) * 2 for column in zip(*pairs, strict=True)))
    assert totals[-1] == pytest.approx(single.metrics[name])


@pytest.mark.parametrize(
    ("candidates", "references", "argument"),
    [([], [], "references"), (["x"], [], "candidates and references")],
)
def test_no_samples_and_unequal_numbers_are_refused(
    candidates: Sequence[str], references: Sequence[str], argument: str
) -> None:
    with pytest.raises(ValueError, match=argument):
        score_codebleu(candidates, references)


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_all_line_ends_count_the_same(line_end: str) -> None:
    text = "def f(x):\n    # twice\n    y = x + x\n    return y\n"

    assert score_pair(text.replace("\n", line_end), text).metrics == score_pair(text, text).metrics
    assert score_pair("y = 1\nz = y", text.replace("\n", line_end)).metrics == score_pair("y = 1\nz = y", text).metrics
