"""Figure 2: lengths of instructions and answers in tokens."""

import math
from collections.abc import Mapping
from typing import Any

from peft_study.report.figures.drawing import Drawing, Mark, Panel, Series
from peft_study.report.figures.selection import PERCENT, Selection, select
from peft_study.report.figures.series import finish
from peft_study.report.figures.style import lengths_key
from peft_study.report.names import model_name
from peft_study.report.study import Study

COLUMN = "token_lengths"
"""Lengths before truncation: {"bin_tokens": width, "prompt": {"lower edge": samples}, "target": {...}}."""
_PARTS = {"prompt": "prompt", "target": "answer"}
_MOST_BINS = 100_000
"""Bins between the shortest and the longest sample. A record with more is damaged."""

Outline = tuple[tuple[float, ...], tuple[float | None, ...]]
"""The edges of the bins, and each bin's share of the samples in percent, None after the last edge."""


def figure2(study: Study, other: Study | None = None) -> Drawing:
    """Draw histograms of the training samples' lengths in tokens, a panel for each data set.

    Models whose tokenizers give the same lengths share a line, which has the first model's name.

    Args:
        study: rows of `rows.load`, with "token_lengths" if cells recorded it.
        other: not used, because the paper does not print the numbers of this figure.
    """
    panels: list[Panel] = []
    chosen = select(study, None)
    if COLUMN in study.frame:
        chosen = chosen.only(lambda rows: rows[COLUMN].map(lambda record: bool(_outlines(record))).astype(bool))
        panels = [_panel(dataset, selection) for dataset, selection in chosen.by_dataset()]
    missing = "No finished cell recorded the lengths of its samples in tokens."
    return finish("figure2", "Lengths of the training samples", panels, chosen, missing)


def _panel(title: str, selection: Selection) -> Panel:
    drawn: list[Series] = []
    seen: list[Mapping[str, Outline]] = []
    for model in selection.models():
        rows = selection.rows[selection.rows["model"] == model]
        outlines = _outlines(rows[COLUMN].iloc[0])
        # The sizes of a model family share a tokenizer, and equal lines would cover each other.
        if outlines in seen:
            continue
        seen.append(outlines)
        for name, (x, y) in outlines.items():
            drawn.append(Series(f"{name}, {model_name(model)}", x, y, Mark.steps, lengths_key(name, model)))
    return Panel(title, "tokens", "training samples, %", tuple(drawn))


def _outlines(record: Any) -> dict[str, Outline]:
    """Convert a cell's record of lengths to the outline of each part; nothing if it does not hold lengths."""
    # A record is a file that anything may have changed.
    try:
        return {name: _outline(record[part], float(record["bin_tokens"])) for part, name in _PARTS.items()}
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError):
        return {}


def _outline(counts: Mapping[str, float], width: float) -> Outline:
    """Convert counts, by the lower edge of a bin of `width` tokens, to an outline.

    Raises:
        ValueError: the counts are not a histogram.
    """
    samples = {float(edge): float(number) for edge, number in counts.items()}
    total = sum(samples.values())
    first, last = min(samples), max(samples)
    bins = round((last - first) / width) + 1
    if not (width > 0 and 0 < total < math.inf and bins <= _MOST_BINS):
        raise ValueError("the counts are not a histogram")
    # A record holds no empty bins, so the edges are counted from the first to the last.
    edges = tuple(first + width * step for step in range(bins + 1))
    return edges, (*(round(samples.get(edge, 0.0) / total * PERCENT, 6) for edge in edges[:-1]), None)
