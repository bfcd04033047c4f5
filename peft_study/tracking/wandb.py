"""Writes one Weights & Biases run for each cell. A failure of W&B never makes the cell fail."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import write_atomically
from peft_study.tracking.base import CellStart
from peft_study.tracking.content import TABLE_COLUMNS, artifacts_of, prediction_rows, public_config
from peft_study.tracking.dashboard import Dashboard
from peft_study.tracking.names import SECONDS, SERIES, TRAIN_STEP, Values, summary_values
from peft_study.tracking.wandb_service import has_key, load_wandb, stop_service, within

logger = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
RUN_ID_CHARACTERS = 16
SYNC_COMMAND = "peft-study sync"
# W&B refuses a run with a longer tag.
TAG_CHARACTERS_AT_MOST = 64
ARTIFACT_CHARACTERS_AT_MOST = 128
DIGEST = "sha256"
"""In the metadata of an artifact: `content.Artifact.digest`."""
TABLE_TYPE = "run_table"
"""W&B's type of artifacts with tables."""
_ARTIFACT_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_said: set[str] = set()
# By process: every further cell would wait for the same server again.
_unreachable: set[str] = set()

# Shares of the time that the server may cost a cell. The rest is for W&B's service process, which starts and ends.
START_SHARE, STORE_SHARE, FINISH_SHARE = 0.35, 0.15, 0.35
ANSWER_SHARE_OF_STORE = 0.3
"""Of the time to store files: how long to wait for the server's word about them, once W&B has sent them."""

FILES = ("wandb",)
"""What W&B leaves in a cell's folder: a folder with the files of the run."""
AGENT_RUN = "agent_run.json"
"""In this folder: `AgentRun`."""


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "WandbTracker":
    """Create the tracker of a cell.

    Args:
        tracking: project, entity, mode and what is stored.
        options: nothing; all settings are those of `tracking`.
        folder: the cell's folder.
    """
    agent_run = AgentRun.read(folder)
    return WandbTracker(
        project=agent_run.project if agent_run else tracking.project,
        entity=agent_run.entity if agent_run else tracking.entity,
        mode=str(tracking.mode),
        folder=folder,
        init_timeout_seconds=START_SHARE * tracking.timeout_seconds,
        store_timeout_seconds=STORE_SHARE * tracking.timeout_seconds,
        finish_timeout_seconds=FINISH_SHARE * tracking.timeout_seconds,
        tracking=tracking,
    )


@dataclass(frozen=True)
class AgentRun:
    """The run of a cell that an agent of a W&B sweep started. W&B chose its place, which the cell's folder records.

    Attributes:
        entity: of the sweep; None for the default of the account.
        project: of the sweep.
        run: the id of the run.
    """

    entity: str | None
    project: str
    run: str

    @classmethod
    def read(cls, folder: Path) -> "AgentRun | None":
        """Read the run from a cell's folder; None if no agent started the cell, or the file is damaged."""
        try:
            fields = json.loads((folder / FILES[0] / AGENT_RUN).read_text(encoding="utf-8"))
            return cls(fields["entity"], str(fields["project"]), str(fields["run"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the run into a cell's folder."""
        file = folder / FILES[0] / AGENT_RUN
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(self)) + "\n")


class WandbTracker(Dashboard):
    """Writes a cell to W&B: a run with config, history, summary, and the table and artifacts that settings ask for.

    Names are those of `peft_study.tracking.names`. Row N of the history is step N of W&B, so that a resumed cell
    continues its run. Group is the study, job type the method, name the cell.

    Args:
        project: the W&B project.
        entity: the user or team that owns the project; the account's default if None.
        mode: "online", "offline", "disabled" or "auto". "auto" follows `WANDB_MODE`. If that is not set, it means
            online if a key is configured (`WANDB_API_KEY`, an identity token, netrc or W&B's settings file), else
            offline. `WANDB_DISABLED` turns every mode off. If the server cannot be reached, an online run becomes an
            offline run.
        folder: the folder in which W&B creates the folder `wandb`; the cell's folder if None.
        group: the group of the runs; the cell's study if None.
        tags: tags in addition to the cell's model, method, data set and quantization.
        init_timeout_seconds: how long to wait for the server before the run is written offline.
        store_timeout_seconds: how long to wait for the server's answers about the table and the artifacts.
        finish_timeout_seconds: how long to wait for the upload when the cell ends.
        offline_if_unreachable: write the run offline if the server cannot be reached or does not take it in time;
            otherwise the error is raised.
        tracking: what is stored: predictions, artifacts and system metrics; nothing if None.
        note: called with messages for the user, with each text once per process; logs a warning by default.

    Raises:
        ValueError: `mode` is not one of the four.
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        mode: str = "auto",
        folder: Path | None = None,
        *,
        group: str | None = None,
        tags: Sequence[str] = (),
        init_timeout_seconds: float = 10.0,
        store_timeout_seconds: float = 6.0,
        finish_timeout_seconds: float = 10.0,
        offline_if_unreachable: bool = True,
        tracking: TrackingConfig | None = None,
        note: Callable[[str], None] = logger.warning,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"tracking.mode must be one of {', '.join(MODES)}, got {mode!r}")
        super().__init__(tracking or TrackingConfig())
        self._project = project
        self._entity = entity
        self._mode = mode
        self._folder = folder
        self._group = group
        self._tags = tuple(tags)
        self._init_timeout_seconds = init_timeout_seconds
        self._store_timeout_seconds = store_timeout_seconds
        self._finish_timeout_seconds = finish_timeout_seconds
        self._offline_if_unreachable = offline_if_unreachable
        self._note = note
        self._run: Any = None
        self._online = False
        self._sent_rows = 0
        """Rows that the server has from an earlier process."""
        self._artifacts: list[Any] = []

    def start(self, cell: CellStart) -> None:
        # W&B no longer reads WANDB_DISABLED, but users and transformers still set it.
        disabled = os.environ.get("WANDB_DISABLED", "").lower() in {"1", "true", "yes", "on"}
        if disabled or self._mode == "disabled":
            return
        wandb = load_wandb()
        mode = self._effective_mode(wandb.setup().settings)
        if mode == "disabled":
            return
        self._run = self._open(wandb, cell, mode)
        # In a sweep, W&B ignores the project and the id that it is given.
        if self._run.settings.sweep_id:
            AgentRun(self._run.entity or None, self._run.project, self._run.id).write(cell.folder)
        self._online = not self._run.offline
        self._sent_rows = int(self._run.starting_step) if cell.resumed else 0
        self._cell_folder = cell.folder
        define_series(self._run)
        self._run.summary.update({"status": str(Status.running)})
        if self._run.resumed and self._run.summary.get("reason"):
            # The end of the interrupted process. W&B does not send an empty note.
            self._run.summary.update({"reason": None})
            self._run.notes = "resumed"

    def row(self, place: int, values: Values) -> None:
        """See `Dashboard.row`. A killed offline run lacks its last rows. The next process writes all of them."""
        # The rows that a server has from an earlier process are the first ones, and a step is logged once.
        if self._run is not None and place >= self._sent_rows:
            self._run.log(values, step=place, commit=True)

    def finish(self, result: RunResult) -> None:
        """See `Tracker.finish`. W&B shows the run as failed if the status is not "ok", with the status as a tag."""
        if self._run is None:
            return
        self._run.summary.update(redact(summary_values(result)))
        if result.status is not Status.ok:
            self._run.tags = (*self._run.tags, str(result.status))
            self._run.notes = redact(result.reason)
        if result.status is Status.preempted:
            self._run.mark_preempting()
        self._store_in_time(result)
        self._end(0 if result.status is Status.ok else 1)

    def close(self) -> None:
        """See `Tracker.close`. A run that `finish` has not ended counts as failed."""
        self._end(1)

    def _store_in_time(self, result: RunResult) -> None:
        try:
            within(self._store_timeout_seconds if self._online else None, lambda: self._store(result))
        except TimeoutError:
            # The service still waits for an answer, and `finish` would wait for the service.
            self._run = None
            stop_service()
            self._give_up(self._store_timeout_seconds)

    def _store(self, result: RunResult) -> None:
        import wandb

        # W&B keeps copies of tables in the home of the user, where an offline run that is moved would lose them.
        os.environ["WANDB_DATA_DIR"] = str((self._folder or self._cell_folder).resolve() / FILES[0])
        rows = prediction_rows(self._cell_folder, self.tracking.predictions) if self.tracking.predictions else []
        if rows:
            self._run.summary["predictions"] = wandb.Table(columns=list(TABLE_COLUMNS), data=[*rows])
        for artifact in artifacts_of(result, self._cell_folder, self.tracking.artifacts):
            stored = wandb.Artifact(
                artifact_name(artifact.name, result.cell_id),
                type=artifact.name,
                metadata={**artifact.lineage, DIGEST: artifact.digest},
            )
            for name, file in artifact.files.items():
                # The cell's files do not change any more, so that a copy would only take disk.
                stored.add_file(str(file.resolve()), name=name, policy="immutable")
            self._run.log_artifact(stored)
            self._artifacts.append(stored)

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            self._give_up(self._finish_timeout_seconds)
            return
        if self._online:
            self._check_artifacts()

    def _check_artifacts(self) -> None:
        """W&B ends a run without an error if its server refuses a file."""
        artifacts, self._artifacts = self._artifacts, []
        seconds = ANSWER_SHARE_OF_STORE * self._store_timeout_seconds
        try:
            within(seconds, lambda: _wait_for(artifacts))
        except TimeoutError:
            self._give_up(seconds)
        except Exception as error:
            if not self._offline_if_unreachable:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._say(f"W&B: files were not stored ({redact(reason)}); `{SYNC_COMMAND} FOLDER` sends them")

    def _give_up(self, waited_seconds: float) -> None:
        text = f"W&B: the upload was not done after {waited_seconds:.0f} s"
        if not self._offline_if_unreachable:
            raise TimeoutError(text)
        self._say(f"{text}; `{SYNC_COMMAND} FOLDER` sends the rest")

    def _effective_mode(self, settings: Any) -> str:
        """Resolve "auto", and replace online by offline if there is no key, because W&B would prompt for one."""
        mode = self._mode if self._mode != "auto" else _MODE_OF_SETTINGS.get(settings.mode, "online")
        if mode == "online" and settings.base_url in _unreachable and self._offline_if_unreachable:
            return "offline"
        if mode == "online" and not has_key(settings):
            self._say(
                f"W&B: no key is configured, so runs are written offline; `{SYNC_COMMAND} FOLDER` sends them later"
            )
            return "offline"
        return mode

    def _open(self, wandb: Any, cell: CellStart, mode: str) -> Any:
        if mode == "online":
            base_url = wandb.setup().settings.base_url
            try:
                return wandb.init(mode="online", **self._init_arguments(wandb, cell, mode))
            # SystemExit, too: W&B's login and teardown may exit the process, but the cell must continue.
            except (Exception, SystemExit) as error:
                if not self._offline_if_unreachable:
                    raise
                _unreachable.add(base_url)
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._say(f"W&B: {base_url} cannot be used, so runs are written offline ({redact(reason)})")
                # After a failed `init`, the service refuses the run's id as in use.
                stop_service()
                wandb = load_wandb()
        return wandb.init(mode="offline", **self._init_arguments(wandb, cell, "offline"))

    def _init_arguments(self, wandb: Any, cell: CellStart, mode: str) -> dict[str, Any]:
        folder = self._folder or cell.folder
        # W&B writes to the machine's temporary folder if this folder does not exist.
        folder.mkdir(parents=True, exist_ok=True)
        tags = (cell.model, cell.method, cell.dataset, cell.quantization, *self._tags)
        return {
            "project": self._project,
            "entity": self._entity,
            "group": self._group or cell.study,
            "job_type": cell.method,
            "name": cell.cell_id,
            "id": run_id(cell),
            "dir": str(folder),
            "resume": "allow" if cell.resumed and mode == "online" else None,
            # W&B writes the config to the run's file and to debug.log as it is, with any token in it.
            "config": public_config(cell.config),
            "tags": list(dict.fromkeys(tag[:TAG_CHARACTERS_AT_MOST] for tag in tags if tag)),
            # By default, `init` returns the run that is still active in this process.
            "reinit": "create_new",
            "settings": self._settings(wandb),
        }

    def _settings(self, wandb: Any) -> Any:
        wanted = {
            # `init` waits for an unreachable server, and the cell with it.
            "init_timeout": self._init_timeout_seconds,
            "finish_timeout": self._finish_timeout_seconds,
            "finish_timeout_raises": True,
            "silent": True,
            "console": "off",
            "symlink": False,
            # result.json holds the provenance. W&B would also store the command line, with any secret in it.
            "disable_git": True,
            "disable_code": True,
            "save_code": False,
            "x_disable_meta": True,
            "x_disable_machine_info": True,
            "x_save_requirements": False,
            # W&B samples the system every 15 s, which misses the peaks that the cell measures.
            "x_disable_stats": not self.tracking.system_metrics,
        }
        # W&B refuses unknown settings, and the settings differ between its versions.
        names = wandb.Settings.model_fields
        return wandb.Settings(**{name: value for name, value in wanted.items() if name in names})

    def _say(self, text: str) -> None:
        if text not in _said:
            _said.add(text)
            self._note(text)


_MODE_OF_SETTINGS = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}


def define_series(run: Any) -> None:
    """Tell W&B the x-axis and the summaries of every series. Final values of the others come from the result."""
    for axis in (TRAIN_STEP, SECONDS):
        run.define_metric(axis)
    for series in SERIES:
        run.define_metric(series.name, step_metric=series.step_metric, summary=",".join(series.summaries) or None)


def _wait_for(artifacts: Sequence[Any]) -> None:
    for artifact in artifacts:
        artifact.wait()


def artifact_name(kind: str, cell_id: str) -> str:
    """Return the name of a cell's artifact. A long name keeps its end, which has the hash of the cell.

    Args:
        kind: "results" or "weights".
        cell_id: the cell's name.
    """
    cell_part = _ARTIFACT_NAME.sub("-", cell_id)[-(ARTIFACT_CHARACTERS_AT_MOST - len(kind) - 1) :]
    return f"{kind}-{cell_part}"


def table_name(run: str) -> str:
    """Return the name that W&B gives the artifact with a run's table of predictions."""
    return f"run-{run}-predictions"


def run_id(cell: CellStart) -> str:
    """Return the id of a cell's run. It is the same whenever the cell runs, so that a resumed cell resumes its run."""
    if (agent_run := AgentRun.read(cell.folder)) is not None:
        return agent_run.run
    return hashlib.sha256(f"{cell.study}/{cell.cell_id}".encode()).hexdigest()[:RUN_ID_CHARACTERS]
