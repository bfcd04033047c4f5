"""Refuses a sweep whose outcomes would be lost, before it begins."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from peft_study.errors import UserError
from peft_study.tracking.endings import EXIT_USER_ERROR
from peft_study.tracking.notices import complain

_SWEEPER = "hydra_plugins.peft_study_sweep.study_sweeper.StudySweeper"


class SweeperGuard(Callback):
    """Accepts `hydra/sweeper=study` alone: other sweepers drop what the launcher returned about the cells."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See `Callback.on_multirun_start`.

        Raises:
            SystemExit: another sweeper is chosen. Hydra turns an Exception of a callback into a warning.
        """
        if config.hydra.sweeper._target_ != _SWEEPER:
            error = UserError(
                "the sweeper must be study, because others do not return how cells ended",
                where=f"hydra/sweeper={config.hydra.runtime.choices.get('hydra/sweeper')}",
                hint="leave it out: hydra/sweeper=study expands model=A,B seed=1,2 and takes every hydra/launcher",
            )
            complain(error)
            raise SystemExit(EXIT_USER_ERROR)
