"""Write the paper's tables and figures from the results of cells, check its claims, and show all on one page."""

import argparse
import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peft_study.console.exit import EXIT_OK, run_command
from peft_study.console.messages import print_line, spinner
from peft_study.errors import UserError
from peft_study.report.names import PAPER

if TYPE_CHECKING:
    from peft_study.report.build import Baseline, ReportSummary
    from peft_study.report.read.rows import Rows

_SHOWN_PROBLEMS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report.

    Returns:
        the exit code: 0 if a report was written, whatever it says; 2 for a user error; 128 plus the signal's number
        after an interrupt, which leaves an earlier report unchanged.
    """
    options = _parser().parse_args(arguments)
    return run_command(
        lambda: report(
            options.sources, Path(options.out), options.against, with_samples=options.samples, show=options.open
        ),
        interrupted="no report was written, and an earlier report is unchanged",
    )


def report(
    sources: Sequence[str], out: Path, against: str | None = None, *, with_samples: bool = True, show: bool = False
) -> int:
    """Read cells, write the report and print its path.

    Args:
        sources: folders, or "wandb://entity/project".
        out: the folder to write.
        against: "paper" or a source to compare with; None to compare with nothing.
        with_samples: whether the page shows what the models wrote.
        show: whether to open the page in the browser.

    Returns:
        the exit code.

    Raises:
        UserError: a source cannot be read, or the folder cannot be written.
    """
    # Imported late: matplotlib takes seconds, and `--help` does not need it.
    from peft_study.report.publish import check_replaceable

    # Before minutes of reading and drawing.
    check_replaceable(out)
    with spinner("reading cells ..."):
        from peft_study.report.read.rows import load

        rows = load(sources)
    _print_rows(rows)
    baseline = None if against is None else _baseline(against)
    with spinner("loading matplotlib ..."):
        from peft_study.report.build import write_report
    summary = write_report(rows, sources, out, baseline=baseline, with_samples=with_samples, step=spinner)
    _print_summary(summary, len(rows.frame))
    if show and not webbrowser.open(summary.index.as_uri()):
        print_line("--open: no browser could be opened")
    return EXIT_OK


def _baseline(against: str) -> "Baseline":
    from peft_study.report.build import Baseline
    from peft_study.report.read.reference import paper_rows
    from peft_study.report.read.rows import load
    from peft_study.report.study import Study

    if against == PAPER:
        return Baseline(PAPER, Study(paper_rows()))
    with spinner(f"reading {against} ..."):
        rows = load([against])
    _print_problems(rows)
    # Else every comparison would be empty, without a word about the reason.
    if rows.frame.empty:
        what = f"--against must name results with cells, got {against}"
        raise UserError(what, where=f"--against {against}", hint=f"--against {PAPER}, or the folder of a study")
    return Baseline(against, Study(rows.frame), rows.problems)


def _print_rows(rows: "Rows") -> None:
    """Print how many cells were read, and what could not be read."""
    states = Counter(str(state) for state in rows.frame["status"].tolist())
    listed = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    print_line(f"{len(rows.frame):,} cells read" + (f": {listed}" if listed else ""))
    _print_problems(rows)


def _print_problems(rows: "Rows") -> None:
    for problem in rows.problems[:_SHOWN_PROBLEMS]:
        print_line(f"skipped: {problem.where}: {problem.what}")
    if len(rows.problems) > _SHOWN_PROBLEMS:
        print_line(f"and {len(rows.problems) - _SHOWN_PROBLEMS:,} more, listed in the report")


def _print_summary(summary: "ReportSummary", cells: int) -> None:
    verdicts = ", ".join(
        f"{summary.verdicts[name]} {name.replace('_', ' ')}" for name in ("confirmed", "refuted", "not_decided")
    )
    print_line(f"{summary.tables} tables, {summary.drawings} figures, claims: {verdicts}")
    if cells:
        print_line(f"the page shows samples of {summary.explored:,} of {cells:,} cells")
    print(f"report: {summary.index}")  # noqa: T201 - the one line that a script reads


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m peft_study report", description=__doc__)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder of results (multirun/, a study, a cell) or wandb://entity/project; several are merged",
    )
    parser.add_argument("--out", default="report", metavar="FOLDER", help="the folder to write (default: report)")
    parser.add_argument(
        "--against", metavar="paper|SOURCE", help="compare each configuration with the paper or another study"
    )
    parser.add_argument(
        "--no-samples",
        dest="samples",
        action="store_false",
        help="leave out what the models wrote, for a smaller folder",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser
