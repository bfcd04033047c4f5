"""Starts a Slurm for the tests, or says why there is no way to have one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")


@pytest.fixture(scope="session", autouse=True)
def slurm_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm that answers: the one of this machine, or one that is started and stopped."""
    if find_spec("submitit") is None:
        pytest.skip("needs submitit: pip install --constraint constraints.txt --editable '.[dev,slurm]'")
    if (
        shutil.which("sinfo")
        and subprocess.run(["sinfo"], capture_output=True, timeout=60, check=False).returncode == 0
    ):
        yield
        return
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge slurmdbd mariadb-server")
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a Slurm")
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # MariaDB runs as another user
    subprocess.run(["bash", str(NODE / "start.sh"), str(folder)], check=True, timeout=120)
    yield
    subprocess.run(["bash", str(NODE / "stop.sh"), str(folder)], check=False, timeout=120)
