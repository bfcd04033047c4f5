"""`hydra/launcher=local`: runs each cell in a separate process on this machine, several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

from hydra_plugins.peft_study_sweep._planned_launcher import PlannedLauncher

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.cell.attempt import Outcome
    from peft_study.sweep.plan import PlannedCell


@dataclass
class LocalLauncherConf:
    """The launcher has no settings: the hardware group says how many cells run at once, and on which GPUs."""

    _target_: str = "hydra_plugins.peft_study_sweep.local_launcher.LocalLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="peft_study")


class LocalLauncher(PlannedLauncher):
    """Runs cells with `peft_study.sweep.pool.Pool`."""

    def outcomes(self, cells: "Sequence[PlannedCell]") -> "Sequence[Outcome]":
        """See `PlannedLauncher`."""
        from peft_study.sweep.display import SweepDisplay
        from peft_study.sweep.machine import slots_for
        from peft_study.sweep.pool import Pool

        slots = slots_for([cell.cell.hardware for cell in cells])
        display = SweepDisplay([cell.folder.name for cell in cells], len(slots))
        stop_on_failure = self.stop_on_failure(cells)
        pool = Pool(slots, display, show_traceback=self.show_traceback, stop_on_failure=stop_on_failure)
        return pool.run(cells)
