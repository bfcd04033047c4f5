"""The registry of metrics is what scorers produce, and what the documentation lists."""

import re
from pathlib import Path

import pytest

from peft_study.metrics.pass_at_k import score_tests
from peft_study.metrics.registry import (
    ALWAYS_SHOWN,
    COMPARED,
    HEADLINES,
    LEVEL_METRICS,
    METRICS,
    QUALITY,
    published_as,
    reference_scorers,
)

_CANDIDATES, _REFERENCES = [["x = 1"] * 10, ["y = 2"] * 10], ["x = 1", "y = 3"]
_DOCS = (Path(__file__).resolve().parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")


def _scored() -> set[str]:
    by_reference = [scorer(_CANDIDATES, _REFERENCES).metrics for scorer in reference_scorers()]
    by_tests = score_tests([[[True]] * 5, [[False]] * 5], (1, 2, 5)).metrics
    names = {name for metrics in (*by_reference, by_tests) for name in metrics}
    return names | {f"apps_package_{name}" for name in by_tests}


def test_every_metric_is_scored() -> None:
    assert {metric.name for metric in METRICS} <= _scored()
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("name", [metric.name for metric in METRICS])
def test_every_metric_is_documented(name: str) -> None:
    family = re.sub(r"@\d+$", "@", name).removeprefix("apps_package_")

    assert f"`{family}" in _DOCS


def test_lists_are_in_the_order_of_the_registry() -> None:
    order = [metric.name for metric in METRICS]

    for names in (HEADLINES, COMPARED):
        assert list(names) == [name for name in order if name in names]
    assert set(HEADLINES) >= ALWAYS_SHOWN
    assert list(QUALITY)[:2] == ["em@10", "pass@1"]
    assert [metric.short for metric in LEVEL_METRICS] == ["Avg", "P@1", "P@2", "P@5"]


def test_the_papers_codebleu_stands_under_its_own_convention_first() -> None:
    assert list(published_as("codebleu")) == ["codebleu_codexglue", "codebleu_package"]
    assert list(published_as("pass@5")) == ["apps_package_pass@5"]
