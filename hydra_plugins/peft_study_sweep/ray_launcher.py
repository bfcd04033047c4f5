"""`hydra/launcher=ray`: runs each cell as a task of a Ray cluster, or of a Ray that it starts on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.peft_study_sweep._planned_launcher import PlannedLauncher, plain_settings

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.cell.attempt import Outcome
    from peft_study.sweep.plan import PlannedCell


@dataclass
class RayLauncherConf:
    """Settings of the launcher.

    Attributes:
        init: arguments of `ray.init`, such as {address: "auto"} for a cluster; empty starts Ray on this machine.
        remote: further options of a task, see `ray.remote`, such as {accelerator_type: A100}.
        mem_gb: memory of the machine; null predicts it for each cell.
        num_gpus: GPUs of a cell; null is 1 if the cluster has GPUs and the cell is not for a CPU.
        num_cpus: cores of a cell; null is 4 with a GPU, else 2.
        max_retries: how often a cell resumes after its worker was lost.
    """

    _target_: str = "hydra_plugins.peft_study_sweep.ray_launcher.RayLauncher"
    init: dict[str, Any] = field(default_factory=dict)
    remote: dict[str, Any] = field(default_factory=dict)
    mem_gb: int | None = None
    num_gpus: int | None = None
    num_cpus: int | None = None
    max_retries: int = 3


ConfigStore.instance().store(group="hydra/launcher", name="ray_schema", node=RayLauncherConf, provider="peft_study")


class RayLauncher(PlannedLauncher):
    """Runs cells with `peft_study.sweep.cluster.ray_tasks`.

    Args:
        settings: see `RayLauncherConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = RayLauncherConf(**plain_settings(settings))

    def outcomes(self, cells: "Sequence[PlannedCell]") -> "Sequence[Outcome]":
        """See `PlannedLauncher`."""
        from peft_study.sweep.cluster.needs import Limits
        from peft_study.sweep.cluster.ray_tasks import TaskOptions, run_tasks

        self.require("ray", "ray")
        settings = self._settings
        # Ray has no time limits.
        limits = Limits(memory_gb=settings.mem_gb, cores=settings.num_cpus, gpus=settings.num_gpus, minutes=0)
        options = TaskOptions(settings.init, settings.remote, settings.max_retries, self.show_traceback)
        return run_tasks(cells, limits, options, stop_on_failure=self.stop_on_failure(cells))
