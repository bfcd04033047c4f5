"""`hydra/launcher=slurm`: runs each cell as a job of a Slurm cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.peft_study_sweep._planned_launcher import PlannedLauncher, plain_settings

# Hydra imports all plugins whenever it starts, so this module imports the package inside of its functions.
if TYPE_CHECKING:
    from peft_study.cell.attempt import Outcome
    from peft_study.sweep.plan import PlannedCell

_OPTIONS = ("partition", "account", "qos", "constraint", "exclude", "comment")


@dataclass
class SlurmLauncherConf:
    """Settings of the launcher, with the names of hydra-submitit-launcher.

    Attributes:
        folder: where scripts and logs of the jobs go; all nodes must see it.
        partition: of sbatch, as the next five.
        account: the account that pays.
        qos: quality of service.
        constraint: features of the nodes, such as a100.
        exclude: nodes to leave out.
        comment: any text.
        additional_parameters: further options of sbatch, such as {mail-type: END}.
        setup: lines of shell before the cell, such as "module load cuda".
        array_parallelism: how many jobs of an array run at once.
        mem_gb: memory of the machine; null predicts it for each cell.
        gpus_per_node: GPUs of a cell; null is 1 if the partition has GPUs and the cell is not for a CPU.
        cpus_per_task: cores of a cell; null is 4 with a GPU, else 2.
        timeout_min: time limit; null is twice the median of finished replicates, and 10 minutes.
        timeout_min_if_unknown: time limit of a cell of which no replicate has finished.
        signal_delay_s: how many seconds before the time limit a cell is warned.
        poll_seconds: how often Slurm is asked which jobs are in the queue.
    """

    _target_: str = "hydra_plugins.peft_study_sweep.slurm_launcher.SlurmLauncher"
    folder: str = "${hydra.sweep.dir}/.slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    array_parallelism: int = 256
    mem_gb: int | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    timeout_min: int | None = None
    timeout_min_if_unknown: int = 240
    signal_delay_s: int = 120
    poll_seconds: float = 5.0


ConfigStore.instance().store(group="hydra/launcher", name="slurm_schema", node=SlurmLauncherConf, provider="peft_study")


class SlurmLauncher(PlannedLauncher):
    """Runs cells with `peft_study.sweep.cluster.slurm_jobs`.

    Args:
        settings: see `SlurmLauncherConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = SlurmLauncherConf(**plain_settings(settings))

    def outcomes(self, cells: "Sequence[PlannedCell]") -> "Sequence[Outcome]":
        """See `PlannedLauncher`."""
        from peft_study.sweep.cluster.needs import Limits
        from peft_study.sweep.cluster.slurm_jobs import run_jobs
        from peft_study.sweep.cluster.slurm_queue import partition_of
        from peft_study.sweep.cluster.slurm_submit import Submission

        self.require("submitit", "slurm")
        settings = self._settings
        partition = partition_of(settings.partition)
        limits = Limits(
            memory_gb=settings.mem_gb,
            cores=settings.cpus_per_task,
            gpus=settings.gpus_per_node,
            minutes=settings.timeout_min,
            minutes_if_unknown=settings.timeout_min_if_unknown,
            most_minutes=partition.minutes,
            has_gpus=partition.has_gpus,
        )
        submission = Submission(
            Path(settings.folder).absolute(),
            options={name: value for name in _OPTIONS if (value := getattr(settings, name)) is not None},
            additional=settings.additional_parameters,
            setup=settings.setup,
            array_parallelism=settings.array_parallelism,
            signal_delay_s=settings.signal_delay_s,
            show_traceback=self.show_traceback,
        )
        return run_jobs(cells, limits, submission, settings.poll_seconds, stop_on_failure=self.stop_on_failure(cells))
