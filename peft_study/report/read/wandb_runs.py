"""Reads rows of cells from the runs of a W&B project. Values that are not sent to W&B are unknown."""

import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from peft_study.errors import UserError
from peft_study.report.read.cells import COLUMNS, Row, larger, metrics_of, number, settings_of, text
from peft_study.results.folders import Problem
from peft_study.results.redaction import redact
from peft_study.results.schema import SCHEMA_VERSION, Status

SCHEME = "wandb://"
REQUEST_SECONDS = 30
"""Timeout of a single request."""
SILENCE_SECONDS = 120.0
"""Timeout without any answer, including W&B's own retries."""
_PAGE_SIZE = 200
# What a run's summary holds besides scores.
_NUMBERS = ("trainable_parameters", "total_parameters", "best_validation_loss", "test_samples")
_COSTS = (
    *("train_tokens_per_second", "generate_tokens_per_second", "train_flop_utilization"),
    *("train_reserved_bytes", "generate_reserved_bytes", "train_process_bytes", "generate_process_bytes"),
    *("train_energy_wh", "generate_energy_wh", "saved_bytes"),
)
_PHASES = ("load", "train", "generate", "score")
_NO_SCORES = frozenset(_NUMBERS) | {
    *("status", "memory_kind", "steps", "best_step", "initial_validation_loss", "resumed_from_step", "sandbox_errors")
}
_COST_SUFFIXES = ("_seconds", "_bytes", "_wh", "_tokens", "_per_second", "_utilization")
# W&B calls a run crashed if its heartbeat stops. A run that lost its network still goes on.
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
        if isinstance(run.config.get("model"), Mapping) and isinstance(run.config.get("method"), Mapping):
            rows.append(row_of_run(run, source))
        else:
            problems.append(Problem(run.address, "not a cell: the config must have model and method"))
    if not rows and not problems:
        problems.append(Problem(source, "the project has no runs"))
    return rows, problems


def row_of_run(run: Run, source: str) -> Row:
    """Flatten a run; see `cells.row_of`."""
    summary, status = run.summary, run.summary.get("status")
    peaks = {phase: number(summary.get(f"{phase}_peak_bytes")) for phase in _PHASES}
    row: Row = dict.fromkeys(COLUMNS) | settings_of(run.config)
    row |= {name: number(summary.get(name)) for name in (*_NUMBERS, *_COSTS)}
    row |= {f"{phase}_seconds": number(summary.get(f"{phase}_seconds")) for phase in _PHASES}
    row |= {
        "cell_id": run.name,
        "study": run.group,
        "status": status if status in set(map(str, Status)) else str(_STATES.get(run.state, Status.failed)),
        "train_peak_bytes": peaks["train"],
        "generate_peak_bytes": peaks["generate"],
        "peak_bytes": larger(peaks["train"], peaks["generate"]),
        "memory_kind": text(summary.get("memory_kind")),
        "started_at": run.created_at,
        # The version is not sent to W&B, so the current one is assumed.
        "schema_version": float(SCHEMA_VERSION),
        "source": source,
    }
    return row | _scores(summary)


def _scores(summary: Mapping[str, Any]) -> Row:
    ends = {name: name.removesuffix("_low") for name in summary if name.endswith("_low")}
    intervals = {metric: [summary[low], summary.get(f"{metric}_high")] for low, metric in ends.items()}
    parts = {f"{metric}_{end}" for metric in intervals for end in ("low", "high")}
    # A summary mixes scores with what the tracker logs, and a new metric must need no change in this file.
    scores = {name: value for name, value in summary.items() if _is_score(name, parts)}
    return metrics_of(scores, intervals, number(summary.get("test_samples")))


def _is_score(name: str, parts: set[str]) -> bool:
    excluded = name in _NO_SCORES or name in parts or name.startswith(("_", "train/", "wandb"))
    return not excluded and not name.endswith(_COST_SUFFIXES)


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
    # W&B's error reports delay the exit if its server cannot be reached.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    # Unless silent, W&B prompts for a key.
    wandb.setup(settings=wandb.Settings(silent=True))
    api = wandb.Api(timeout=REQUEST_SECONDS)
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
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    hint = "`wandb login` stores a key; check the spelling of the entity and the project"
    return UserError(f"W&B runs cannot be read: {redact(reason)}", where=source, hint=hint)
