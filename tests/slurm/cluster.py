"""A sweep on Slurm as a user starts it: in a process of its own, with files to look at afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CELL = (
    *("model=tiny-llama", "dataset.limit=40", "dataset.test_limit=6", "training.epochs=1"),
    *("generation.num_beams=2", "generation.num_candidates=2", "dataset.max_new_tokens=8"),
)
SLURM = (
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_seconds=1"),
    *("hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=30"),
)
SECONDS = 600.0
SAME_FILES = ("predictions.jsonl", "metrics.jsonl", "adapter/adapter_model.safetensors")


@dataclass(frozen=True)
class Sweep:
    """A sweep in a folder.

    Attributes:
        folder: the working folder of the command.
        arguments: overrides of the command line, without the launcher's.
        options: options of the command line, such as --config-dir.
    """

    folder: Path
    arguments: tuple[str, ...]
    options: tuple[str, ...] = ()

    def start(self, *launcher: str, **environment: str) -> "subprocess.Popen[str]":
        """Start the command."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "peft_study", "--multirun", *self.options, *CELL, *self.arguments, *launcher],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *launcher: str, **environment: str) -> tuple[int, str]:
        """Run the command. Return its exit code and what it printed."""
        process = self.start(*launcher, **environment)
        printed, _ = process.communicate(timeout=SECONDS)
        return process.returncode, printed

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The results by the name of the cell."""
        files = sorted(self.folder.glob("multirun/*/*/result.json"))
        return {file.parent.name: json.loads(file.read_text()) for file in files}

    @property
    def jobs(self) -> dict[str, str]:
        """The number of the job of each cell."""
        files = list(self.folder.glob("multirun/*/.slurm/jobs.json"))
        return dict(json.loads(files[0].read_text())) if files else {}

    def cell(self, name: str) -> Path:
        """The folder of a cell."""
        return next(self.folder.glob(f"multirun/*/{name}"))

    def files(self) -> dict[str, bytes]:
        """The files that must not depend on the launcher or on interruptions."""
        files = (file for name in SAME_FILES for file in self.folder.glob(f"multirun/*/*/{name}"))
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in sorted(files)}


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS, look: float = 0.02) -> Any:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(look)
    return value


def slurm(*command: str) -> str:
    """Run a command of Slurm and return what it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:  # scancel repeats its request while a job is about to be requeued
        return ""
    return done.stdout + done.stderr


def start_now(job: str) -> None:
    """Let a requeued job start at once, instead of after two minutes. It is not an error if it has started."""
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")
