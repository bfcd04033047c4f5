"""EM@k and the normalisation before it."""

import pytest

from peft_study.metrics.exact_match import MAX_K, matches, normalise, raw_matches, score_exact_match


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("  x = 1\n", "x = 1"),
        ("if x:\n\treturn", "if x:  return"),
        ("a\tb", "a b"),
        ("x = 'a'", "x = 'a'"),
        ("x  =  1", "x  =  1"),
        ("if x:\r\n\treturn\r", "if x:  return"),
        ("a\r\r\nb", "a  b"),
        ("", ""),
    ],
)
def test_line_ends_and_tabs_become_spaces_and_the_text_is_stripped(code: str, normal: str) -> None:
    assert normalise(code) == normal


def test_only_equal_candidates_match() -> None:
    candidates = ["x = 1", "x = 1\n", "x=1", 'x = "1"', " x\t= 1"]

    assert matches(candidates, "x = 1") == [True, True, False, False, True]


def exact_match_of(matched: list[list[bool]]) -> dict[str, float | None]:
    """The scores "em@k" of candidates that match or do not match."""
    candidates = [["right" if match else "wrong" for match in row] for row in matched]
    metrics = score_exact_match(candidates, ["right"] * len(matched)).metrics
    return {name: value for name, value in metrics.items() if name.startswith("em@")}


def test_em_at_k_is_any_of_the_first_k() -> None:
    matched = [[True, False, False], [False, False, True], [False, False, False], [False, True, True]]

    assert exact_match_of(matched) == {"em@1": 0.25, "em@2": 0.5, "em@3": 0.75}


def test_a_cut_off_beyond_the_candidates_is_left_out() -> None:
    assert list(exact_match_of([[True, False], [False]])) == ["em@1"]
    assert len(exact_match_of([[True] * 11])) == MAX_K


def test_em_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="references"):
        score_exact_match([], [])


@pytest.mark.parametrize(
    ("candidate", "reference", "normalised", "raw"),
    [
        ("x = 1", "x = 1", True, True),
        ("x = 1\n", "x = 1", True, False),
        ("x =\t1", "x = 1", True, False),
        ("x = 1 ", "x = 1 ", True, True),
        ("x=1", "x = 1", False, False),
        ("a\r\nb", "a\nb", True, False),
        ("a\nb", "a\rb", True, False),
        ("a\r\nb", "a\r\nb", True, True),
        ("", "", False, False),
        ("\n", "\n", False, False),
    ],
)
def test_raw_matches_compare_every_character(candidate: str, reference: str, normalised: bool, raw: bool) -> None:
    assert (matches([candidate], reference), raw_matches([candidate], reference)) == ([normalised], [raw])


def test_all_comparisons_are_made_at_once() -> None:
    scores = score_exact_match([["a\n", "b"], ["c", "d<e"]], ["a", "d<e"])

    assert scores.metrics == {
        "em@1": 0.5,
        "em@2": 1.0,
        "raw_em@1": 0.0,
        "raw_em@2": 0.5,
        "em_package@1": 0.5,
        "em_package@2": 0.5,
    }
    first = {"em@1": 1.0, "em@2": 1.0, "raw_em@1": 0.0, "raw_em@2": 0.0, "em_package@1": 1.0, "em_package@2": 1.0}
    second = {"em@1": 0.0, "em@2": 1.0, "raw_em@1": 0.0, "raw_em@2": 1.0, "em_package@1": 0.0, "em_package@2": 0.0}
    assert scores.samples == [first, second]


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="candidates"):
        score_exact_match([["a"]], ["a", "b"])
