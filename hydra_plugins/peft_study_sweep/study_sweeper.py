"""`hydra/sweeper=study`: expands a study's blocks, or a plain grid, into distinct cells."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.peft_study_sweep._planned_launcher import PlannedLauncher
from hydra_plugins.peft_study_sweep.local_launcher import LocalLauncher

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.sweep.plan import PlannedCell


# Without `max_batch_size` of Hydra's basic sweeper, with which one failed batch ends the sweep.
@dataclass
class StudySweeperConf:
    """The sweeper has no settings."""

    _target_: str = "hydra_plugins.peft_study_sweep.study_sweeper.StudySweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudySweeperConf, provider="peft_study")


class StudySweeper(Sweeper):
    """Turns `+study=NAME` and `--multirun model=a,b` into cells and passes those that can run to the launcher."""

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher
    _task: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Sweeper.setup`."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config, self._task = hydra_context, config, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run every cell, and add the outcomes to the task function of this process.

        Args:
            arguments: the command line's overrides.

        Raises:
            KeyboardInterrupt: after an interrupt.
            UserError: an override does not compose, or the study has no such cell.
        """
        from peft_study.cell.attempt import refuse
        from peft_study.cell.task import Command
        from peft_study.console.messages import spinner
        from peft_study.errors import UserError
        from peft_study.results.sweep_record import write_sweep
        from peft_study.sweep.outcomes import run_with
        from peft_study.sweep.plan import plan_sweep

        assert isinstance(self._task, Command)
        with spinner("composing the cells ..."):
            cells = plan_sweep(arguments, self.config, self.hydra_context.config_loader)
        launcher = str(self.config.hydra.runtime.choices["hydra/launcher"])
        if not isinstance(self.launcher, PlannedLauncher) and PlannedLauncher.stop_on_failure(cells):
            # Hydra's launchers report to this process only after the last cell.
            raise UserError(
                f"stop_on_failure=true needs hydra/launcher=local, slurm or ray, got {launcher}",
                where="stop_on_failure",
                hint="leave it out, or hydra/launcher=local, which runs cells side by side as well",
            )
        # Set before the launch, so that the summary of an interrupted sweep counts the cells that never started.
        self._task.cells = len(cells)
        for cell in cells:
            if cell.refusal is not None:
                self._task.outcomes.append(refuse(cell.cell, cell.folder, cell.refusal, record=True))
        runnable = [cell for cell in cells if cell.refusal is None]
        write_sweep(((cell.cell, cell.folder) for cell in runnable), launcher)
        runnable = self._left_to_run(runnable)
        run_with(lambda: self._launch(runnable), launcher, runnable, self._task)

    def _left_to_run(self, cells: "list[PlannedCell]") -> "list[PlannedCell]":
        """Return the cells to launch, and add the outcomes of finished cells, which need no job in a queue."""
        from peft_study.cell.task import Command
        from peft_study.console.messages import print_line
        from peft_study.sweep.records import ended_before

        assert isinstance(self._task, Command)
        if isinstance(self.launcher, LocalLauncher):
            return cells  # it skips them itself, and shows them in its table
        earlier = {cell.folder: ended_before(cell) for cell in cells}
        finished = [outcome for outcome in earlier.values() if outcome is not None]
        done = sum(outcome.exit_code == 0 for outcome in finished)
        if finished:
            stay = f", {len(finished) - done} failed before and retry leaves them" if len(finished) > done else ""
            print_line(f"{done} of {len(cells)} cells done before{stay}; rerun=true runs them again")
        self._task.outcomes += finished
        return [cell for cell in cells if earlier[cell.folder] is None]

    def _launch(self, cells: "list[PlannedCell]") -> Sequence[JobReturn]:
        if isinstance(self.launcher, PlannedLauncher):
            return self.launcher.run(cells)
        if not cells:
            return []
        began = time.time()
        try:
            return self.launcher.launch([list(cell.overrides) for cell in cells], initial_job_idx=0)
        except (Exception, KeyboardInterrupt) as error:
            self._leave_queue(began, interrupted=isinstance(error, KeyboardInterrupt))
            raise

    def _leave_queue(self, since: float, *, interrupted: bool) -> None:
        """Wait for the jobs of hydra-submitit-launcher, which raises at the first job that failed."""
        from peft_study.sweep.cluster.slurm_queue import jobs_of_submitit, print_continuing_jobs, wait_for_jobs

        folder = getattr(self.launcher, "params", {}).get("submitit_folder")
        jobs = [] if folder is None else jobs_of_submitit(Path(folder), since)
        if interrupted:
            print_continuing_jobs(jobs, again="resumes or skips what they leave")
        else:
            wait_for_jobs(jobs)
