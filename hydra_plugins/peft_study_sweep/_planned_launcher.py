"""What the launchers of this package have in common: they run composed cells.

Hydra executes each module here once more when it looks for plugins, but none whose name begins with "_". This module
must be executed once: the sweeper asks whether a launcher is of the class below, of which there must not be two.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.cell.attempt import Outcome
    from peft_study.sweep.plan import PlannedCell


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a launcher, which Hydra passes as OmegaConf's containers, as lists and dicts."""
    return {
        name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for name, value in settings.items()
    }


class PlannedLauncher(Launcher):
    """Runs cells that are composed already. Other launchers compose each cell again from its overrides."""

    config: DictConfig
    _context: HydraContext
    _task: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher.setup`."""
        self._context, self.config, self._task = hydra_context, config, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run cells that are not composed yet.

        Args:
            job_overrides: the overrides of each cell.
            initial_job_idx: number of the first job, which these launchers do not use.

        Returns:
            a job for each distinct cell, with the outcome as its return value.
        """
        from peft_study.sweep.plan import compose_all

        return self.run(compose_all(job_overrides, self.config, self._context.config_loader))

    def run(self, cells: "Sequence[PlannedCell]") -> Sequence[JobReturn]:
        """Run composed cells. Return a job for each cell, with the outcome as its return value."""
        # COMPLETED for failed cells too: `return_value` of a failed job raises, and the outcome says how a cell ended.
        return [
            JobReturn(overrides=cell.overrides, status=JobStatus.COMPLETED, _return_value=outcome)
            for cell, outcome in zip(cells, self.outcomes(cells), strict=True)
        ]

    @property
    def show_traceback(self) -> bool:
        """Whether cells print the frames of an error."""
        from peft_study.cell.task import Command

        assert isinstance(self._task, Command)
        return self._task.show_traceback

    @staticmethod
    def stop_on_failure(cells: "Sequence[PlannedCell]") -> bool:
        """Whether the first cell that fails ends the sweep."""
        return any(cell.cell.stop_on_failure for cell in cells)

    @staticmethod
    def require(library: str, extra: str) -> None:
        """Check that the library of an optional part of this package is installed.

        Args:
            library: its name in Python.
            extra: the optional part of pyproject.toml, and the launcher's name.

        Raises:
            UserError: the library is not installed.
        """
        from peft_study.errors import UserError

        if find_spec(library) is None:
            raise UserError(
                f"hydra/launcher={extra} needs the library {library}, which is not installed",
                where=f"hydra/launcher={extra}",
                hint=f"pip install --constraint constraints.txt --editable '.[{extra}]'",
            )

    @abstractmethod
    def outcomes(self, cells: "Sequence[PlannedCell]") -> "Sequence[Outcome]":
        """Run cells and return how each of them ended, in the same order."""
