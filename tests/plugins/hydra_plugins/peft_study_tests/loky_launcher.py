"""`hydra/launcher=loky`: jobs in worker processes, which share no memory with the process of the sweep.

Unlike joblib's launcher it sends composed configs, and workers know nothing else about the sweep.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from joblib.externals.loky import get_reusable_executor
from omegaconf import DictConfig, open_dict

KILLED = 9
"""The exit code of a worker that ends in the middle of a job."""


@dataclass
class LokyLauncherConf:
    """Settings of the launcher, most of them faults.

    Attributes:
        fault: what happens to the first job: "kill" ends its worker before the cell starts, "terminate" sends SIGTERM
            to its worker in the middle of the cell, "none" loses what it returns, "unknown" and "error" change its
            status, "short" returns the other jobs only, "interrupt" is a Ctrl-C before the second job.
    """

    _target_: str = "hydra_plugins.peft_study_tests.loky_launcher.LokyLauncher"
    fault: str = ""


ConfigStore.instance().store(group="hydra/launcher", name="loky", node=LokyLauncherConf, provider="tests")


class LokyLauncher(Launcher):
    """Runs jobs with the executor of loky."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        executor = get_reusable_executor(max_workers=1, timeout=60)
        futures = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = str(number), number
            fault = self.fault if number == initial_job_idx else ""
            futures.append(executor.submit(_work, self.hydra_context, self.task_function, config, Path.cwd(), fault))
            if fault == "interrupt":
                futures[0].result()
                raise KeyboardInterrupt
        jobs = [future.result() for future in futures]
        match self.fault:
            case "none":
                jobs[0].return_value = None
            case "unknown":
                jobs[0] = JobReturn()
            case "error":
                jobs[0].status, jobs[0].return_value = JobStatus.FAILED, OSError("the node is gone")
            case "short":
                del jobs[0]
        return jobs


def _work(context: HydraContext, task: TaskFunction, config: DictConfig, folder: Path, fault: str) -> JobReturn:
    if fault == "kill":
        os._exit(KILLED)
    if fault == "terminate":
        threading.Thread(target=_terminate_in_the_cell, daemon=True).start()
    os.chdir(folder)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _terminate_in_the_cell() -> None:
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)
