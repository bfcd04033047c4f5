"""Cells' rows from W&B's runs, with the columns that folders give; what W&B was never sent stays unknown."""

import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from peft_study.errors import UserError
from peft_study.report.read.cells import COLUMNS, Row, larger, metrics_of, number, settings_of, text
from peft_study.report.read.folders import Problem
from peft_study.results.redaction import redact
from peft_study.results.schema import SCHEMA_VERSION, Status

SCHEME = "wandb://"
REQUEST_SECONDS = 30
"""How long one answer of the server may take."""
SILENCE_SECONDS = 120.0
"""How long W&B may say nothing at all before it is given up, its own repeated tries included."""
_AT_ONCE = 200
# What a run's summary holds beside its scores.
_NUMBERS = ("trainable_parameters", "total_parameters", "best_validation_loss", "test_samples")
_PHASES = ("load", "train", "generate", "score")
_NO_SCORES = frozenset(
    (
        "status",
        "memory_kind",
        "steps",
        "best_step",
        "initial_validation_loss",
        "resumed_from_step",
        "sandbox_errors",
        *_NUMBERS,
    )
)
_STATES = {"running": Status.running, "crashed": Status.running, "killed": Status.preempted}
"""What became of a run that was not told its cell's end, by W&B's states; any other is taken for failed."""


@dataclass(frozen=True)
class Run:
    """What is read of a run.

    Attributes:
        name: the cell's id.
        group: the study.
        state: W&B's word.
        created_at: UTC, ISO 8601.
        config: the cell's composed config.
        summary: its final numbers.
        address: where a person finds it.
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
        One row a run that a cell made, and what is none.

    Raises:
        UserError: the address is none, there is no key, or the project cannot be read in time.
    """
    entity, project = _address(source)
    rows: list[Row] = []
    problems: list[Problem] = []
    for run in _in_time(entity, project, source, silence_seconds):
        if isinstance(run.config.get("model"), Mapping) and isinstance(run.config.get("method"), Mapping):
            rows.append(row_of_run(run, source))
        else:
            problems.append(Problem(run.address, "no cell of a study: its config names no model and method"))
    if not rows and not problems:
        problems.append(Problem(source, "no run in this project"))
    return rows, problems


def row_of_run(run: Run, source: str) -> Row:
    """Flatten a run; see `cells.row_of`."""
    summary = run.summary
    known = {str(status) for status in Status}
    status = summary.get("status")
    peaks = {phase: number(summary.get(f"{phase}_peak_bytes")) for phase in _PHASES}
    row: Row = dict.fromkeys(COLUMNS)
    row |= settings_of(run.config)
    row |= {name: number(summary.get(name)) for name in _NUMBERS}
    row |= {f"{phase}_seconds": number(summary.get(f"{phase}_seconds")) for phase in _PHASES}
    row |= {
        "cell_id": run.name,
        "study": run.group,
        "status": status if status in known else str(_STATES.get(run.state, Status.failed)),
        "train_peak_bytes": peaks["train"],
        "generate_peak_bytes": peaks["generate"],
        "peak_bytes": larger(peaks["train"], peaks["generate"]),
        "memory_kind": text(summary.get("memory_kind")),
        "started_at": run.created_at,
        # The tracker's numbers are those of this schema or an older one; W&B is not told which.
        "schema_version": float(SCHEMA_VERSION),
        "source": source,
    }
    return row | _scores(summary)


def _scores(summary: Mapping[str, Any]) -> Row:
    ends = {name: name.removesuffix("_low") for name in summary if name.endswith("_low")}
    intervals = {metric: [summary[low], summary.get(f"{metric}_high")] for low, metric in ends.items()}
    parts = {f"{metric}_{end}" for metric in intervals for end in ("low", "high")}
    scores = {name: value for name, value in summary.items() if _is_score(name, parts)}
    return metrics_of(scores, intervals, number(summary.get("test_samples")))


def _is_score(name: str, parts: set[str]) -> bool:
    other = name in _NO_SCORES or name in parts or name.startswith(("_", "train/", "wandb"))
    return not other and not name.endswith(("_seconds", "_bytes"))


def _address(source: str) -> tuple[str, str]:
    parts = urlsplit(source)
    entity, project = unquote(parts.netloc), unquote(parts.path.strip("/"))
    if not entity or not project or "/" in project:
        raise UserError("this names no W&B project", where=source, hint=f"{SCHEME}entity/project")
    return entity, project


def _in_time(entity: str, project: str, source: str, silence_seconds: float) -> Iterator[Run]:
    """The project's runs as they come. W&B tries again for long, so that another thread asks and this one waits."""
    came: queue.Queue[Run | BaseException | None] = queue.Queue()

    def ask() -> None:
        try:
            for run in _ask(entity, project):
                came.put(run)
            came.put(None)
        # SystemExit: W&B's login may exit the process.
        except (Exception, SystemExit) as error:
            came.put(error)

    threading.Thread(target=ask, name="wandb-runs", daemon=True).start()
    while True:
        try:
            found = came.get(timeout=silence_seconds)
        except queue.Empty:
            raise UserError(
                f"W&B did not answer within {silence_seconds:.0f} s",
                where=source,
                hint="try again, or name the folders of the cells",
            ) from None
        if found is None:
            return
        if isinstance(found, BaseException):
            raise _refusal(found, source) from found
        yield found


def _ask(entity: str, project: str) -> Iterator[Run]:
    # Its usage reports go to the same server, and delay the exit where that cannot be reached.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    # A silent W&B does not ask for a key at the prompt.
    wandb.setup(settings=wandb.Settings(silent=True))
    api = wandb.Api(timeout=REQUEST_SECONDS)
    for run in api.runs(f"{entity}/{project}", per_page=_AT_ONCE, lazy=False):
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
    hint = "`wandb login` stores a key; see that the entity and the project are spelt as on W&B's page"
    return UserError(f"W&B's runs cannot be read: {redact(reason)}", where=source, hint=hint)
