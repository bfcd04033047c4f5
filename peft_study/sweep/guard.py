"""Refuses, before anything runs, a sweeper that would lose the outcomes of cells, and settings of Hydra's folders."""

from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from peft_study.console.exit import EXIT_USER_ERROR
from peft_study.console.messages import print_error
from peft_study.errors import UserError

_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_SWEEPER = "hydra_plugins.peft_study_sweep.study_sweeper.StudySweeper"


class SweeperGuard(Callback):
    """Accepts only `hydra/sweeper=study`, because other sweepers drop the outcomes that the launcher returns.

    A cell's folder follows from `output_dir` and its identity, so Hydra's settings for folders are refused.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See `Callback.on_run_start`.

        Raises:
            SystemExit: the command line sets a folder of Hydra's.
        """
        _refuse_folders(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See `Callback.on_multirun_start`.

        Raises:
            SystemExit: the command line chooses another sweeper, or sets a folder of Hydra's.
        """
        _refuse_folders(config)
        # Hydra's basic sweeper, for one, drops the outcomes, so a sweep with failed cells would end with code 0.
        if config.hydra.sweeper._target_ != _SWEEPER:
            _refuse(
                "hydra/sweeper must be study, because other sweepers do not return how cells ended",
                where=f"hydra/sweeper={config.hydra.runtime.choices.get('hydra/sweeper')}",
                hint="leave it out: hydra/sweeper=study expands model=A,B seed=1,2 and takes every hydra/launcher",
            )


def _refuse_folders(config: DictConfig) -> None:
    for override in config.hydra.overrides.hydra:
        setting, equals, _ = override.lstrip("+").partition("=")
        if equals and setting in _FOLDERS:
            _refuse(
                f"{setting} must not be set: a cell's folder is output_dir/study.name/CELL",
                where=override,
                hint="output_dir=FOLDER, and study.name=NAME for the folder below it",
            )


def _refuse(what: str, *, where: str, hint: str) -> NoReturn:
    # Hydra turns an Exception of a callback into a warning, so the guard exits.
    print_error(UserError(what, where=where, hint=hint))
    raise SystemExit(EXIT_USER_ERROR)
