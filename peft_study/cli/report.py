"""Write a report: the paper's tables, figures and claims from the results of cells, and a page that shows all of it."""

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
    from peft_study.report.build import Other, Written
    from peft_study.report.read.rows import Rows

_SHOWN_PROBLEMS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report.

    Args:
        arguments: what follows the name of the command; those of the process if None.

    Returns:
        the exit code: 0 whatever the report says, 2 if the command line or a source is wrong, and 128 plus the
        signal's number after an interrupt, which leaves an earlier report unchanged.
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
    """Read cells, write the report and print where it is.

    Args:
        sources: folders, or "wandb://entity/project".
        out: the folder of the report.
        against: "paper", or a source, to compare with; None compares with nothing.
        with_samples: whether the page shows what the models wrote.
        show: open the page in the browser.

    Returns:
        the exit code.

    Raises:
        UserError: a source cannot be read, or the folder cannot be written.
    """
    from peft_study.report.publish import check_replaceable

    # Checked first, because reading and drawing take minutes.
    check_replaceable(out)
    with spinner("reading cells ..."):
        from peft_study.report.read.rows import load

        rows = load(sources)
    _print_read(rows)
    other = None if against is None else _other(against)
    with spinner("loading the drawing libraries ..."):
        from peft_study.report.build import write_report
    written = write_report(rows, sources, out, other=other, with_samples=with_samples, step=spinner)
    _close(written, len(rows.frame))
    if show and not webbrowser.open(written.index.as_uri()):
        print_line("no browser could be opened")
    return EXIT_OK


def _other(against: str) -> "Other":
    from peft_study.report.build import Other
    from peft_study.report.read.reference import paper_rows
    from peft_study.report.read.rows import load

    if against == PAPER:
        return Other(PAPER, paper_rows())
    with spinner(f"reading {against} ..."):
        rows = load([against])
    if rows.frame.empty:
        raise UserError(
            "--against must be a source with cells, got none",
            where=f"--against {against}",
            hint=f"--against {PAPER}, or a study's folder",
        )
    return Other(against, rows.frame)


def _print_read(rows: "Rows") -> None:
    """Print what was read, and what could not be read."""
    states = Counter(str(state) for state in rows.frame["status"].tolist())
    listed = ", ".join(f"{many:,} {state}" for state, many in states.most_common())
    print_line(f"{len(rows.frame):,} cells read" + (f": {listed}" if listed else ""))
    for problem in rows.problems[:_SHOWN_PROBLEMS]:
        print_line(f"skipped: {problem.where}: {problem.what}")
    if len(rows.problems) > _SHOWN_PROBLEMS:
        print_line(f"and {len(rows.problems) - _SHOWN_PROBLEMS:,} more, which the report lists")


def _close(written: "Written", cells: int) -> None:
    verdicts = ", ".join(
        f"{written.verdicts[name]} {name.replace('_', ' ')}" for name in ("confirmed", "refuted", "not_decided")
    )
    print_line(f"{written.tables} tables, {written.drawings} figures with something to show, claims: {verdicts}")
    if cells:
        print_line(f"the page shows samples of {written.explored:,} of {cells:,} cells, all that their folders hold")
    print(f"report: {written.index}")  # noqa: T201 - scripts read this line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m peft_study report", description=__doc__)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder of results (multirun/, a study, a cell) or wandb://entity/project; several are merged",
    )
    parser.add_argument("--out", default="report", metavar="FOLDER", help="folder of the report; default: report")
    parser.add_argument(
        "--against", metavar="paper|SOURCE", help="compare cell by cell with the paper or another study"
    )
    parser.add_argument(
        "--no-samples", dest="samples", action="store_false", help="omit what the models wrote, for a smaller folder"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser
