"""Reads rows of cells from the runs of a W&B project. They equal the rows of the cells' folders.

A run's summary holds what a row needs, under the names of `peft_study.tracking.names`.
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from peft_study.errors import UserError
from peft_study.report.read.cells import Row, row_of, text
from peft_study.results.folders import Problem
from peft_study.results.schema import Status
from peft_study.tracking.names import SETTINGS, result_of
from peft_study.tracking.wandb_run.service import error_reason, load_wandb

SCHEME = "wandb://"
REQUEST_SECONDS = 30
"""Timeout of a single request."""
SILENCE_SECONDS = 120.0
"""Timeout without any answer, including W&B's own retries."""
_PAGE_SIZE = 200
_RESULT = "provenance/schema_version"
"""In the summary of every cell that has a result."""
_FORMER = ("trainable_parameters", "test_samples")
"""In the summary of runs before their metrics had groups."""
# W&B calls a run crashed if its heartbeat stops. A run that lost its network still runs.
_STATES = {"running": Status.running, "crashed": Status.running, "killed": Status.preempted}
"""The status of a run without a recorded one, by its W&B state; any other state counts as failed."""


@dataclass(frozen=True)
class Run:
    """The part of a W&B run that a row needs.

    Attributes:
        name: the cell's id.
        group: the study.
        state: as W&B calls it, such as "finished".
        created_at: UTC, ISO 8601.
        config: the cell's composed config.
        summary: its final numbers.
        address: wandb://entity/project/run.
    """

    name: str
    group: str | None
    state: str
    created_at: str | None
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    address: str


def load_runs(source: str, silence_seconds: float = SILENCE_SECONDS) -> tuple[list[Row], list[Problem]]:
    """Read every run of a project.

    Args:
        source: "wandb://entity/project".
        silence_seconds: how long to wait for the next answer.

    Returns:
        A row for each run of a cell, and the runs that are not of a cell.

    Raises:
        UserError: the address is invalid, no key is stored, or the project cannot be read in time.
    """
    entity, project = _address(source)
    rows: list[Row] = []
    problems: list[Problem] = []
    for run in _in_time(entity, project, source, silence_seconds):
        problem = _problem_of(run)
        if problem is None:
            try:
                rows.append(row_of_run(run, source))
            # Anybody may write to a project. A damaged summary costs its run, not the report.
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
                problem = f"its summary cannot be read: {error}"
        if problem is not None:
            problems.append(Problem(run.address, problem))
    if not rows and not problems:
        problems.append(Problem(source, "the project has no runs"))
    return rows, problems


def _problem_of(run: Run) -> str | None:
    """Return why a run is not that of a cell; None if it is."""
    if not isinstance(run.config.get("model"), Mapping) or not isinstance(run.config.get("method"), Mapping):
        return "not a cell: the config must have model and method"
    if any(name in run.summary for name in _FORMER):
        return "written by an earlier version: `peft-study sync --all FOLDER` sends its cell to another project"
    return None


def row_of_run(run: Run, source: str) -> Row:
    """Flatten a run; see `cells.row_of`."""
    summary = run.summary
    row = row_of(result_of(run.config, summary), None, source)
    row["cell_id"] = text(summary.get("provenance/cell_id")) or run.name
    row["study"] = text(summary.get("provenance/study")) or run.group
    # A run's config has no paths, so its hash may differ from the cell's.
    row["settings"] = text(summary.get(SETTINGS)) or row["settings"]
    row["started_at"] = row["started_at"] or run.created_at
    # A cell without a result says "running" as long as its process lives, and W&B knows whether it does.
    if _RESULT not in summary:
        row["status"] = str(_STATES.get(run.state, Status.failed))
    return row


def _address(source: str) -> tuple[str, str]:
    parts = urlsplit(source)
    entity, project = unquote(parts.netloc), unquote(parts.path.strip("/"))
    if not entity or not project or "/" in project:
        raise UserError(
            f"a W&B source must name an entity and a project, got {source}",
            where=source,
            hint=f"{SCHEME}entity/project",
        )
    return entity, project


def _in_time(entity: str, project: str, source: str, silence_seconds: float) -> Iterator[Run]:
    """Yield the runs of a project as they arrive."""
    answers: queue.Queue[Run | BaseException | None] = queue.Queue()

    def request() -> None:
        try:
            for run in _request(entity, project):
                answers.put(run)
            answers.put(None)
        # W&B's login may raise SystemExit.
        except (Exception, SystemExit) as error:
            answers.put(error)

    # W&B retries for a long time and cannot be interrupted, so requests run in a thread of their own.
    threading.Thread(target=request, name="wandb-runs", daemon=True).start()
    while True:
        try:
            answer = answers.get(timeout=silence_seconds)
        except queue.Empty:
            raise UserError(
                f"W&B did not answer within {silence_seconds:.0f} s",
                where=source,
                hint="try again, or name the folders of the cells",
            ) from None
        if answer is None:
            return
        if isinstance(answer, BaseException):
            raise _refusal(answer, source) from answer
        yield answer


def _request(entity: str, project: str) -> Iterator[Run]:
    api = load_wandb().Api(timeout=REQUEST_SECONDS)
    # Lazy runs would fetch each config and summary by a request of their own.
    for run in api.runs(f"{entity}/{project}", per_page=_PAGE_SIZE, lazy=False):
        yield Run(
            name=str(run.name),
            group=text(getattr(run, "group", None)),
            state=str(run.state),
            created_at=text(run.created_at),
            config=dict(run.config),
            summary=dict(run.summary_metrics),
            address=f"{SCHEME}{quote(entity)}/{quote(project)}/{run.id}",
        )


def _refusal(error: BaseException, source: str) -> UserError:
    hint = "`wandb login` stores a key; check the spelling of the entity and the project"
    return UserError(f"W&B runs cannot be read: {error_reason(error)}", where=source, hint=hint)
