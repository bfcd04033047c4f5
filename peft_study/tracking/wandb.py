"""Writes one Weights & Biases run for each cell. A failure of W&B never makes the cell fail."""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from peft_study.config.schema import TrackingConfig
from peft_study.results.redaction import redact
from peft_study.tracking.base import CellStart

logger = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
RUN_ID_CHARACTERS = 16
SYNC_COMMAND = "peft-study sync"
# W&B refuses a run with a longer tag.
TAG_CHARACTERS_AT_MOST = 64
_said: set[str] = set()
# By process: every further cell would wait for the same server again.
_unreachable: set[str] = set()

# Shares of the time that the server may cost a cell. The rest is for W&B's service process, which starts and ends.
START_SHARE, FINISH_SHARE = 0.4, 0.5

FILES = ("wandb",)
"""What W&B leaves in a cell's folder: a folder with the files of the run."""


def create_tracker(tracking: TrackingConfig, folder: Path) -> "WandbTracker":
    """Create the tracker of a cell from its settings and its folder."""
    return WandbTracker(
        project=tracking.project,
        entity=tracking.entity,
        mode=str(tracking.mode),
        folder=folder,
        init_timeout_seconds=START_SHARE * tracking.timeout_seconds,
        finish_timeout_seconds=FINISH_SHARE * tracking.timeout_seconds,
    )


class WandbTracker:
    """Writes a cell to W&B: its composed config, the values of each optimizer step, and the summary.

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
        finish_timeout_seconds: how long to wait for the upload when the cell ends.
        offline_if_unreachable: write the run offline if the server cannot be reached or does not take it in time;
            otherwise the error is raised.
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
        init_timeout_seconds: float = 12.0,
        finish_timeout_seconds: float = 15.0,
        offline_if_unreachable: bool = True,
        note: Callable[[str], None] = logger.warning,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"tracking.mode must be one of {', '.join(MODES)}, got {mode!r}")
        self._project = project
        self._entity = entity
        self._mode = mode
        self._folder = folder
        self._group = group
        self._tags = tuple(tags)
        self._init_timeout_seconds = init_timeout_seconds
        self._finish_timeout_seconds = finish_timeout_seconds
        self._offline_if_unreachable = offline_if_unreachable
        self._note = note
        self._run: Any = None

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
        # With summary="none", W&B adds no values of its own to the summary, which holds the numbers of the result.
        self._run.define_metric("train/step", summary="none")
        self._run.define_metric("train/*", step_metric="train/step", summary="none")

    def phase(self, name: str, total: int | None) -> None:
        """Nothing: the summary holds each phase's seconds and memory."""

    def progress(self, done: int) -> None:
        """Nothing: the steps show how far the training is."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        # A view, not the record: killed offline runs of W&B 0.31 lost what was not yet in a block of 32 KiB. The cell
        # writes each step to metrics.jsonl and waits for the disk.
        if self._run is not None:
            self._run.log({"train/step": step} | {f"train/{name}": value for name, value in values.items()})

    def summary(self, values: Mapping[str, float | int | str | None]) -> None:
        if self._run is not None:
            self._run.summary.update(dict(values))

    def finish(self, status: str) -> None:
        """See `Tracker.finish`. W&B shows the run as failed if the status is not "ok"."""
        run, self._run = self._run, None
        if run is None:
            return
        run.summary.update({"status": status})
        try:
            run.finish(exit_code=0 if status == "ok" else 1)
        except TimeoutError:
            if not self._offline_if_unreachable:
                raise
            waited = f"{self._finish_timeout_seconds:.0f} s"
            self._say(f"W&B: the upload was not done after {waited}; `{SYNC_COMMAND} FOLDER` sends the rest")

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
                return wandb.init(mode="online", resume="allow", **self._init_arguments(wandb, cell))
            # SystemExit, too: W&B's login and teardown may exit the process, but the cell must continue.
            except (Exception, SystemExit) as error:
                if not self._offline_if_unreachable:
                    raise
                _unreachable.add(base_url)
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._say(f"W&B: {base_url} cannot be used, so runs are written offline ({redact(reason)})")
                wandb = restart(wandb)
        return wandb.init(mode="offline", **self._init_arguments(wandb, cell))

    def _init_arguments(self, wandb: Any, cell: CellStart) -> dict[str, Any]:
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
            # W&B writes the config to the run's file and to debug.log as it is, with any token in it.
            "config": redact(cell.config),
            "tags": list(dict.fromkeys(tag[:TAG_CHARACTERS_AT_MOST] for tag in tags if tag)),
            # By default, `init` returns the run that is still active in this process.
            "reinit": "create_new",
            "settings": _settings(wandb, self._init_timeout_seconds, self._finish_timeout_seconds),
        }

    def _say(self, text: str) -> None:
        if text not in _said:
            _said.add(text)
            self._note(text)


_MODE_OF_SETTINGS = {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}


def run_id(cell: CellStart) -> str:
    """Return the id of a cell's run. It is the same whenever the cell runs, so that a resumed cell resumes its run."""
    return hashlib.sha256(f"{cell.study}/{cell.cell_id}".encode()).hexdigest()[:RUN_ID_CHARACTERS]


def load_wandb() -> Any:
    """Import W&B, which takes a second, and keep its messages off the terminal."""
    # If the server cannot be reached, W&B's usage reports print errors and delay the exit by 10 s.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))
    return wandb


def restart(wandb: Any) -> Any:
    """Restart W&B's service process. After a failed online `init`, it refuses the same run id as in use."""
    try:
        wandb.teardown()
    except SystemExit as error:
        logger.debug("W&B's service ended with status %s", error.code)
    return load_wandb()


def _settings(wandb: Any, init_timeout_seconds: float, finish_timeout_seconds: float) -> Any:
    wanted = {
        # `init` waits for an unreachable server, and the cell with it.
        "init_timeout": init_timeout_seconds,
        "finish_timeout": finish_timeout_seconds,
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
        "x_disable_stats": True,
    }
    # W&B refuses unknown settings, and the settings differ between its versions.
    names = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in names})


def has_key(settings: Any) -> bool:
    """Return whether a key is configured for the server of W&B's settings."""
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    hosts = {urlsplit(settings.base_url).netloc}
    if settings.base_url == type(settings).model_fields["base_url"].default:
        hosts.add("api.wandb.ai")  # keys stored under the earlier default host still work
    try:
        stored = netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, NetrcParseError):
        return False
    return any(stored.authenticators(host) for host in hosts)
