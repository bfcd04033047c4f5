"""EM@k and the normalisation before it."""

import pytest

from peft_study.metrics.exact_match import em_at_k, matches, normalise


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("  x = 1\n", "x = 1"),
        ("if x:\n\treturn", "if x:  return"),
        ("a\tb", "a b"),
        ("x = 'a'", "x = 'a'"),
        ("x  =  1", "x  =  1"),
        ("", ""),
    ],
)
def test_newlines_and_tabs_become_spaces_and_the_outside_is_stripped(code: str, normal: str) -> None:
    assert normalise(code) == normal


def test_only_equal_candidates_match() -> None:
    candidates = ["x = 1", "x = 1\n", "x=1", 'x = "1"', " x\t= 1"]

    assert matches(candidates, "x = 1") == [True, True, False, False, True]


def test_em_at_k_is_any_of_the_first_k() -> None:
    matched = [[True, False, False], [False, False, True], [False, False, False], [False, True, True]]

    assert em_at_k(matched, [1, 2, 3]) == {"em@1": 0.25, "em@2": 0.5, "em@3": 0.75}


def test_a_cut_off_beyond_the_candidates_is_left_out() -> None:
    assert list(em_at_k([[True, False], [False]], [1, 2])) == ["em@1"]


def test_em_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no sample"):
        em_at_k([])
