"""The contents of the page, as plain containers for JSON."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from peft_study.metrics.registry import HEADLINES
from peft_study.report.claims.verdicts import Finding
from peft_study.report.figures.drawing import Drawing, Panel
from peft_study.report.figures.interactive import FEW_CATEGORIES, panel_figure, sizes_of
from peft_study.report.figures.style import Style, styles_of
from peft_study.report.outward import shorten_path, shorten_paths, shorten_paths_in
from peft_study.report.page.replicates import replicates_of
from peft_study.report.read.cells import COLUMNS, MAPPINGS
from peft_study.report.study import Study
from peft_study.report.tables.table import Cell, Table
from peft_study.results.folders import Problem
from peft_study.results.schema import finite

LONGEST_TEXT = 4_000
"""Characters of a text in a row, because a reason can be a whole log."""
MOST_FIRST = 4
"""Scores that the leaderboard shows at first; more would move the costs out of view."""
_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class Link:
    """A file beside the page.

    Attributes:
        title: the text of the link.
        path: its path, relative to the page.
    """

    title: str
    path: str


@dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Attributes:
        title: title of the page.
        subtitle: a line below the title.
        made_at: date and time at which the page was made.
        made_by: name and version of the program.
        sources: where the rows were read from, as the user gave it.
        against: what the rows are compared with; None without a comparison.
        study: the rows, with the columns of `rows.load`.
        tables: the tables, in the page's order.
        comparison: the table of the comparison with `against`.
        drawings: the figures, in the page's order.
        findings: the checked claims.
        problems: results that could not be read.
        files: other formats of a table or drawing, by its name.
        explored: positions in the frame of the rows that have a file of samples.
    """

    title: str
    subtitle: str
    made_at: str
    made_by: str
    sources: Sequence[str]
    study: Study
    against: str | None = None
    tables: Sequence[Table] = ()
    comparison: Table | None = None
    drawings: Sequence[Drawing] = ()
    findings: Sequence[Finding] = ()
    problems: Sequence[Problem] = ()
    files: Mapping[str, Sequence[Link]] = field(default_factory=dict)
    explored: Collection[int] = ()

    def to_json(self) -> dict[str, Any]:
        """Convert the contents to plain containers, without infinite numbers and NaN."""
        # The styles are chosen for all figures at once, so that a model keeps its colour in each of them.
        styles = styles_of(key for drawing in self.drawings for panel in drawing.panels for key in panel.style_keys)
        return {
            "meta": {
                "title": self.title,
                "subtitle": self.subtitle,
                "made_at": self.made_at,
                "made_by": self.made_by,
                "sources": [shorten_path(source) for source in self.sources],
                "against": None if self.against is None else shorten_path(self.against),
            },
            "rows": pack(shorten_paths(self.study.frame)),
            "replicates": replicates_of(self.study).to_json(),
            "metrics": metrics_of(self.study.frame),
            "tables": [self._table(table) for table in self.tables],
            "comparison": None if self.comparison is None else self._table(self.comparison),
            "drawings": [self._drawing(drawing, styles) for drawing in self.drawings],
            "findings": finite([finding.to_json() for finding in self.findings]),
            "problems": [
                {"where": shorten_path(str(problem.where)), "what": shorten_paths_in(str(problem.what))[:LONGEST_TEXT]}
                for problem in self.problems
            ],
            "explorer": {str(row): True for row in sorted(self.explored)},
        }

    def _drawing(self, drawing: Drawing, styles: Mapping[str, Style]) -> dict[str, Any]:
        return {
            "name": drawing.name,
            "title": drawing.title,
            "notes": list(drawing.notes),
            "files": self._files(drawing.name),
            "panels": [_panel(panel, styles) for panel in drawing.panels],
        }

    def _table(self, table: Table) -> dict[str, Any]:
        return {
            "name": table.name,
            "title": table.title,
            "heads": list(table.heads),
            "groups": list(table.groups),
            "cells": [[_cell(cell) for cell in row] for row in table.cells],
            "notes": list(table.notes),
            "files": self._files(table.name),
        }

    def _files(self, name: str) -> list[dict[str, str]]:
        return [asdict(link) for link in self.files.get(name, ())]


def pack(frame: pd.DataFrame) -> dict[str, Any]:
    """Store rows by column: `{"count": n, "columns": {name: column}}`.

    A numeric column is `{"values": [n values]}`. A text column is `{"values": [distinct texts], "codes": [n indices, or
    -1]}`, which keeps a page of 5,000 cells small. Columns without a value and columns of mappings are dropped. Floats
    keep six significant digits.
    """
    columns: dict[str, Any] = {}
    for name in frame.columns:
        if name in MAPPINGS:
            continue
        values = [_plain(value) for value in frame[name].tolist()]
        # A column that nobody recorded would be an empty choice on the page.
        if all(value is None for value in values):
            continue
        if not any(isinstance(value, str) for value in values):
            columns[str(name)] = {"values": values}
            continue
        places: dict[Any, int] = {}
        codes = [-1 if value is None else places.setdefault(value, len(places)) for value in values]
        columns[str(name)] = {"values": list(places), "codes": codes}
    return {"count": len(frame), "columns": columns}


def metrics_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """List the metrics of the rows, the headlines first: name, title and whether the page shows it at first."""
    # "certainty" is of the paper's rows alone.
    not_metrics = {*COLUMNS, "certainty"}
    present = {str(name) for name in frame.columns if name not in not_metrics and frame[name].notna().any()}
    ends = {f"{name}{end}" for name in present for end in ("_low", "_high")}
    # For sampled candidates "pass@1" is the better estimate of what "top@1" measures.
    first = [name for name in HEADLINES if name in present and not (name == "top@1" and "pass@1" in present)]
    first = first[:MOST_FIRST]
    others = sorted(present - ends - {*first})
    return [
        {
            "name": name,
            "title": _title(name),
            "first": name in first,
            "about": f"Sort by {name}; docs/scoring.md describes it",
        }
        for name in (*first, *others)
    ]


def _title(name: str) -> str:
    title = HEADLINES.get(name)
    return title[0].upper() + title[1:] if title else name


def _panel(panel: Panel, styles: Mapping[str, Style]) -> dict[str, Any]:
    part = {"title": panel.title, "broad": len(panel.categories) > FEW_CATEGORIES}
    # Panels one by one, so that the page can place them by the width of its window.
    if panel.empty:
        return part | {"missing": panel.missing}
    return part | {"figure": panel_figure(panel, styles), "sizes": asdict(sizes_of(panel))}


def _cell(cell: Cell) -> dict[str, Any]:
    # Without the interval's ends, which the text has: a study of 5,000 cells must stay small.
    return {"text": cell.text, "value": _plain(cell.value), "mark": cell.mark, "state": cell.state, "runs": cell.runs}


def _plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]} …"
    if isinstance(value, float):
        # JSON has neither NaN nor infinity.
        if not math.isfinite(value):
            return None
        # A browser's numbers are floats, which hold integers below 2**53 exactly.
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return None if pd.isna(value) else str(value)
