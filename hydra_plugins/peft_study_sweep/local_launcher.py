"""`hydra/launcher=local`: runs each cell in a separate process on this machine, several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.sweep.plan import PlannedCell


@dataclass
class LocalLauncherConf:
    """The launcher has no settings: the hardware group says how many cells run at once, and on which GPUs."""

    _target_: str = "hydra_plugins.peft_study_sweep.local_launcher.LocalLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="peft_study")


class LocalLauncher(Launcher):
    """Runs cells with `peft_study.sweep.pool.Pool`."""

    _context: HydraContext
    _config: DictConfig
    _task: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher.setup`."""
        self._context, self._config, self._task = hydra_context, config, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run cells that are not composed yet.

        Args:
            job_overrides: the overrides of each cell.
            initial_job_idx: number of the first job, which this launcher does not use.

        Returns:
            a job for each distinct cell, with the outcome as its return value.
        """
        from peft_study.sweep.plan import compose_all

        return self.run(compose_all(job_overrides, self._config, self._context.config_loader))

    def run(self, cells: "Sequence[PlannedCell]") -> Sequence[JobReturn]:
        """Run composed cells. Return a job for each cell, with the outcome as its return value."""
        from peft_study.cell.task import Command
        from peft_study.sweep.display import SweepDisplay
        from peft_study.sweep.machine import slots_for
        from peft_study.sweep.pool import Pool

        assert isinstance(self._task, Command)
        slots = slots_for([cell.cell.hardware for cell in cells])
        display = SweepDisplay([cell.folder.name for cell in cells], len(slots))
        stop_on_failure = any(cell.cell.stop_on_failure for cell in cells)
        pool = Pool(slots, display, show_traceback=self._task.show_traceback, stop_on_failure=stop_on_failure)
        outcomes = pool.run(cells)
        # COMPLETED for failed cells too: `return_value` of a failed job raises, and the outcome says how a cell ended.
        return [
            JobReturn(overrides=cell.overrides, status=JobStatus.COMPLETED, _return_value=outcome)
            for cell, outcome in zip(cells, outcomes, strict=True)
        ]
