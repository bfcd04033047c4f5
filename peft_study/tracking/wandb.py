"""Writes one Weights & Biases run for each cell. A failure of W&B never makes the cell fail."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_study.config.schema import TrackingConfig, WandbMode
from peft_study.console.redaction import redact
from peft_study.results.schema import RunResult, Status
from peft_study.tracking.base import CellStart
from peft_study.tracking.dashboard import Dashboard
from peft_study.tracking.names import Values, summary_values
from peft_study.tracking.wandb_run.files import store_files
from peft_study.tracking.wandb_run.identity import FOLDER, AgentRun
from peft_study.tracking.wandb_run.service import error_reason, has_key, load_wandb, stop_service, within
from peft_study.tracking.wandb_run.settings import define_series, init_arguments, run_settings

logger = logging.getLogger(__name__)

FILES = (FOLDER,)
SYNC_COMMAND = "peft-study sync"
# Shares of the time that the server may cost a cell. The rest is for W&B's service process, which starts and ends.
START_SHARE, STORE_SHARE, FINISH_SHARE = 0.35, 0.15, 0.35
ANSWER_SHARE_OF_STORE = 0.3
"""Of the time to store files: how long to wait for the server's word about them, once W&B has sent them."""
_MODE_OF_SETTINGS = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}
_warned: set[str] = set()
# By process: every further cell would wait for the same server again.
_unreachable: set[str] = set()


def create_tracker(tracking: TrackingConfig, options: Mapping[str, Any], folder: Path) -> "WandbTracker":
    """Create the tracker of a cell.

    Args:
        tracking: project, entity, mode and what is stored.
        options: nothing; all settings are those of `tracking`.
        folder: the cell's folder.
    """
    agent_run = AgentRun.read(folder)
    return WandbTracker(
        tracking if agent_run is None else replace(tracking, entity=agent_run.entity, project=agent_run.project),
        init_timeout_seconds=START_SHARE * tracking.timeout_seconds,
        store_timeout_seconds=STORE_SHARE * tracking.timeout_seconds,
        finish_timeout_seconds=FINISH_SHARE * tracking.timeout_seconds,
    )


class WandbTracker(Dashboard):
    """Writes a cell to W&B: a run with config, history, summary, and the table and artifacts that settings ask for.

    Names are those of `peft_study.tracking.names`. Row N of the history is step N of W&B, so that a resumed cell
    continues its run. Group is the study, job type the method, name the cell.

    Args:
        tracking: project, entity, mode and what is stored. The mode "auto" follows `WANDB_MODE`. If that is not set, it
            means online if a key is configured (`WANDB_API_KEY`, an identity token, netrc or W&B's settings file), else
            offline. `WANDB_DISABLED` turns every mode off. If the server cannot be reached, an online run becomes an
            offline run.
        folder: the folder in which W&B creates the folder `wandb`; the cell's folder if None.
        init_timeout_seconds: how long to wait for the server before the run is written offline.
        store_timeout_seconds: how long to wait for the server's answers about the table and the artifacts.
        finish_timeout_seconds: how long to wait for the upload when the cell ends.
        offline_if_unreachable: write the run offline if the server cannot be reached or does not take it in time;
            otherwise the error is raised.
    """

    def __init__(
        self,
        tracking: TrackingConfig,
        folder: Path | None = None,
        *,
        init_timeout_seconds: float,
        store_timeout_seconds: float,
        finish_timeout_seconds: float,
        offline_if_unreachable: bool = True,
    ) -> None:
        super().__init__(tracking)
        self._folder = folder
        self._init_timeout_seconds = init_timeout_seconds
        self._store_timeout_seconds = store_timeout_seconds
        self._finish_timeout_seconds = finish_timeout_seconds
        self._offline_if_unreachable = offline_if_unreachable
        self._run: Any = None
        self._online = False
        self._sent_rows = 0
        """Rows that the server has from an earlier process."""
        self._cell_folder = Path()
        self._artifacts: list[Any] = []

    def start(self, cell: CellStart) -> None:
        # W&B no longer reads WANDB_DISABLED, but users and transformers still set it.
        if os.environ.get("WANDB_DISABLED", "").lower() in {"1", "true", "yes", "on"}:
            return
        wandb = load_wandb()
        mode = self._effective_mode(wandb.setup().settings)
        if mode == "disabled":
            return
        self._cell_folder = cell.folder
        self._run = self._open(wandb, cell, mode)
        # In a sweep, W&B ignores the project and the id that it is given.
        if self._run.settings.sweep_id:
            AgentRun(self._run.entity or None, self._run.project, self._run.id).write(cell.folder)
        self._online = not self._run.offline
        self._sent_rows = int(self._run.starting_step) if cell.resumed else 0
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
        self._artifacts = store_files(self._run, result, self._cell_folder, self.tracking)

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

        def wait() -> None:
            for artifact in artifacts:
                artifact.wait()

        seconds = ANSWER_SHARE_OF_STORE * self._store_timeout_seconds
        try:
            within(seconds, wait)
        except TimeoutError:
            self._give_up(seconds)
        except Exception as error:
            if not self._offline_if_unreachable:
                raise
            _warn(f"W&B: files were not stored ({error_reason(error)}); `{SYNC_COMMAND} FOLDER` sends them")

    def _give_up(self, waited_seconds: float) -> None:
        text = f"W&B: the upload was not done after {waited_seconds:.0f} s"
        if not self._offline_if_unreachable:
            raise TimeoutError(text)
        _warn(f"{text}; `{SYNC_COMMAND} FOLDER` sends the rest")

    def _effective_mode(self, settings: Any) -> str:
        """Resolve "auto", and replace online by offline if there is no key, because W&B would prompt for one."""
        mode = str(self.tracking.mode)
        if self.tracking.mode == WandbMode.auto:
            mode = _MODE_OF_SETTINGS.get(settings.mode, "online")
        if mode == "online" and settings.base_url in _unreachable and self._offline_if_unreachable:
            return "offline"
        if mode == "online" and not has_key(settings):
            _warn(f"W&B: no key is configured, so runs are written offline; `{SYNC_COMMAND} FOLDER` sends them later")
            return "offline"
        return mode

    def _open(self, wandb: Any, cell: CellStart, mode: str) -> Any:
        if mode == "online":
            base_url = wandb.setup().settings.base_url
            try:
                return self._init(wandb, cell, online=True)
            # SystemExit, too: W&B's login and teardown may exit the process, but the cell must continue.
            except (Exception, SystemExit) as error:
                if not self._offline_if_unreachable:
                    raise
                _unreachable.add(base_url)
                _warn(f"W&B: {base_url} cannot be used, so runs are written offline ({error_reason(error)})")
                # After a failed `init`, the service refuses the run's id as in use.
                stop_service()
                wandb = load_wandb()
        return self._init(wandb, cell, online=False)

    def _init(self, wandb: Any, cell: CellStart, *, online: bool) -> Any:
        settings = run_settings(
            wandb,
            init_timeout_seconds=self._init_timeout_seconds,
            finish_timeout_seconds=self._finish_timeout_seconds,
            system_metrics=self.tracking.system_metrics,
        )
        folder = self._folder or cell.folder
        # W&B writes to the machine's temporary folder if this folder does not exist.
        folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(**init_arguments(cell, self.tracking, folder, online=online), settings=settings)


def _warn(text: str) -> None:
    """Warn once a process."""
    if text not in _warned:
        _warned.add(text)
        logger.warning(text)
