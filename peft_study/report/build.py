"""Writes a report from rows: tables, figures, claims and the page."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from peft_study import __version__
from peft_study.report.claims.paper import check_all
from peft_study.report.figures import FIGURES, draw_matplotlib
from peft_study.report.figures.drawing import Drawing
from peft_study.report.outward import guarded_csv, shorten_path, shorten_paths
from peft_study.report.page.contents import Contents, Link
from peft_study.report.page.document import write_page
from peft_study.report.page.samples import read_samples, write_samples
from peft_study.report.publish import published
from peft_study.report.read.rows import Rows
from peft_study.report.study import Study
from peft_study.report.tables.comparison import compare
from peft_study.report.tables.formats import FORMATS
from peft_study.report.tables.paper import TABLES
from peft_study.report.tables.table import Table
from peft_study.results.folders import Problem
from peft_study.results.schema import Status, finite
from peft_study.results.store import write_atomically

MADE_BY = f"peft_study {__version__}"
Step = Callable[[str], AbstractContextManager[object]]
"""Shows a message while the block runs."""


@dataclass(frozen=True)
class Baseline:
    """What a study is compared with.

    Attributes:
        name: "paper" or a folder, as the user named it.
        study: its rows.
        problems: what of it could not be read.
    """

    name: str
    study: Study
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class ReportSummary:
    """A report that was written.

    Attributes:
        index: the page.
        tables: number of tables.
        drawings: number of figures that are not empty.
        verdicts: number of claims by verdict.
        explored: number of cells whose samples the page shows.
    """

    index: Path
    tables: int
    drawings: int
    verdicts: Counter[str]
    explored: int


def write_report(
    rows: Rows, sources: Sequence[str], out: Path, *, baseline: Baseline | None, with_samples: bool, step: Step
) -> ReportSummary:
    """Write tables, figures, claims, rows and the page.

    Args:
        rows: the cells.
        sources: where they were read from, as the user named it.
        out: the folder; it replaces an earlier report once everything is written.
        baseline: what to compare with; None to compare with nothing.
        with_samples: whether to write the cells' samples beside the page.
        step: shows progress.

    Raises:
        UserError: `out` cannot be written, or holds a file that no report wrote.
    """
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    against = None if baseline is None else shorten_path(baseline.name)
    about = {
        "written_by": MADE_BY,
        "made_at": made_at,
        "sources": [shorten_path(source) for source in sources],
        "against": against,
    }
    # Grouped once: tables, figures, claims and the page ask for the same configurations.
    study = Study(rows.frame)
    other = None if baseline is None else baseline.study
    with published(out, about) as folder:
        with step("tables ..."):
            tables = [make(study, other) for make in TABLES.values()]
            comparison = None if other is None else compare(study, other)
        files = _write_tables(folder, [*tables, *([comparison] if comparison else [])])
        drawings = []
        for number, (name, make) in enumerate(FIGURES.items(), start=1):
            with step(f"[{number}/{len(FIGURES)}] {name} ..."):
                drawing = make(study, other)
                drawings.append(drawing)
                files[name] = _write_figure(folder, drawing)
        with step("claims ..."):
            findings = check_all(study)
        claims = finite([finding.to_json() for finding in findings])
        write_atomically(folder / "claims.json", json.dumps(claims, indent=2, ensure_ascii=False) + "\n")
        # A report is shared: no paths of this machine, and nothing that a spreadsheet would compute.
        write_atomically(folder / "rows.csv", guarded_csv(shorten_paths(study.frame)))
        explored, unread = _write_samples(folder, study.frame, step) if with_samples else ([], [])
        # A folder and the one to compare with may share cells.
        problems = tuple(dict.fromkeys((*rows.problems, *(baseline.problems if baseline else ()), *unread)))
        contents = Contents(
            title=_title(study.frame, sources),
            subtitle=_subtitle(study.frame, made_at),
            made_at=made_at,
            made_by=MADE_BY,
            sources=sources,
            against=against,
            study=study,
            tables=tables,
            comparison=comparison,
            drawings=drawings,
            findings=findings,
            problems=problems,
            files=files,
            explored=explored,
        )
        with step("index.html ..."):
            write_page(folder, contents)
    return ReportSummary(
        index=out.resolve() / "index.html",
        tables=len(tables),
        drawings=sum(not drawing.empty for drawing in drawings),
        verdicts=Counter(str(finding.verdict) for finding in findings),
        explored=len(explored),
    )


def _write_tables(folder: Path, tables: Iterable[Table]) -> dict[str, list[Link]]:
    links: dict[str, list[Link]] = {}
    (folder / "tables").mkdir()
    for table in tables:
        for suffix, write in FORMATS.values():
            write_atomically(folder / "tables" / f"{table.name}.{suffix}", write(table))
        links[table.name] = [Link(title, f"tables/{table.name}.{suffix}") for title, (suffix, _) in FORMATS.items()]
    return links


def _write_figure(folder: Path, drawing: Drawing) -> list[Link]:
    """Write the files for print, none if the figure is empty, and return links to them."""
    # The page says what an empty figure lacks, and a print of it would say no more.
    if drawing.empty:
        return []
    (folder / "figures").mkdir(exist_ok=True)
    written = draw_matplotlib(drawing, folder / "figures" / drawing.name)
    return [Link(file.suffix[1:].upper(), f"figures/{file.name}") for file in written]


def _write_samples(folder: Path, frame: pd.DataFrame, step: Step) -> tuple[list[int], list[Problem]]:
    """Write the samples of cells; return the rows of those that have any, and what could not be read."""
    explored: list[int] = []
    problems: list[Problem] = []
    folders = [(row, name) for row, name in enumerate(frame["folder"].tolist()) if isinstance(name, str)]
    for number, (row, name) in enumerate(folders, start=1):
        with step(f"[{number}/{len(folders)}] samples of {Path(name).name} ..."):
            try:
                predictions = read_samples(Path(name))
            # A damaged file costs the samples of its cell, not the report.
            except (OSError, ValueError, RecursionError) as error:
                problems.append(Problem(name, f"samples cannot be read: {error}"))
                continue
            # Results that were copied without their predictions are still results.
            if predictions:
                write_samples(folder, row, predictions)
                explored.append(row)
    return explored, problems


def _title(frame: pd.DataFrame, sources: Sequence[str]) -> str:
    studies = sorted({str(name) for name in frame["study"].tolist() if isinstance(name, str)})
    if 0 < len(studies) <= 3:
        return f"Report: {', '.join(studies)}"
    return f"Report: {Path(sources[0]).name or sources[0]}" if len(sources) == 1 else "Report"


def _subtitle(frame: pd.DataFrame, made_at: str) -> str:
    done = int((frame["status"] == Status.ok).sum()) if len(frame) else 0
    return f"{done:,} of {len(frame):,} cells done; written {made_at[:16].replace('T', ' ')} UTC by {MADE_BY}"
