"""`hydra/launcher=ray` with a real Ray on this machine."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import Sweep, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: pip install -c constraints.txt -e '.[ray]'"),
]
RAY = ("hydra/launcher=ray", "hydra.launcher.num_cpus=1", "hydra.launcher.mem_gb=2", "+hydra.launcher.init.num_cpus=2")
LONG = ("method=lora", "seed=1,2", "training.epochs=30")


def test_eight_cells_are_those_of_the_local_launcher(tmp_path: Path) -> None:
    arguments = ("method=zero-shot,lora", "seed=1,2,3,4")
    local, cluster = Sweep(tmp_path / "local", arguments), Sweep(tmp_path / "ray", arguments)
    code, printed = cluster.run(*RAY)

    assert code == 0, printed
    assert "8 of 8 cells done" in printed
    assert local.run()[0] == 0
    assert len(cluster.files()) == 8 + 4 + 4
    assert cluster.files() == local.files()
    # No cell inherits what another one left in its worker: the last cells need no more than the first ones. (The first
    # cells need more, because they fill caches on disk.)
    order = sorted(cluster.results.values(), key=lambda result: str(result["started_at"]))
    first, last = ([result["phases"]["load"]["peak_bytes"] for result in part] for part in (order[:2], order[-2:]))
    assert max(last) < 1.05 * min(first)

    code, printed = cluster.run(*RAY)
    assert code == 0
    assert "8 of 8 cells done before" in printed


def test_a_diverged_cell_is_told(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ("method=lora", "method.learning_rate=0.004,1e30", "seed=1"))
    code, printed = sweep.run(*RAY)

    assert code == 1
    assert sorted(result["status"] for result in sweep.results.values()) == ["diverged", "ok"]
    assert "1 of 2 cells done" in printed
    assert "Traceback" not in printed


def test_a_rerun_that_fails_before_it_loads_is_told(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ("method=zero-shot", "seed=1"))
    assert sweep.run(*RAY)[0] == 0
    code, printed = sweep.run(*RAY, "hydra.launcher.num_gpus=0", "hardware.device=cuda", "rerun=true")

    assert code == 2, printed
    assert "the earlier result stays" in printed
    assert [result["status"] for result in sweep.results.values()] == ["ok"]


def test_the_first_failure_stops_the_sweep(tmp_path: Path) -> None:
    settings = ("seed=1,2", "method.learning_rate=0.004,1e30", "training.epochs=400")
    sweep = Sweep(tmp_path, ("method=lora", *settings, "stop_on_failure=true"))
    code, printed = sweep.run(*RAY)

    assert code == 1, printed
    assert sorted(result["status"] for result in sweep.results.values()) == ["diverged", "preempted"], printed
    assert "2 cells not started" in printed
    assert printed.count(": started") == 2
    assert "0 of 4 cells done" in printed
    assert "Traceback" not in printed


def test_the_cell_of_a_lost_worker_resumes(tmp_path: Path) -> None:
    sweep, local = Sweep(tmp_path / "ray", LONG), Sweep(tmp_path / "local", LONG)
    process = sweep.start(*RAY)
    with _reading(process) as printed:
        _kill_a_worker(sweep, process.pid)
        process.wait(600)

    assert process.returncode == 0, printed
    assert [result["status"] for result in sweep.results.values()] == ["ok", "ok"]
    logs = [sweep.cell(name).joinpath("log.txt").read_text() for name in sweep.results]
    assert sum("preempted" in log for log in logs) == 1
    assert local.run()[0] == 0
    assert sweep.files() == local.files()


def test_the_cell_of_a_lost_worker_without_retries_is_preempted(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, LONG)
    process = sweep.start(*RAY, "hydra.launcher.max_retries=0")
    with _reading(process) as lines:
        killed = _kill_a_worker(sweep, process.pid)
        process.wait(600)
    printed = "".join(lines)

    assert process.returncode == 1, printed
    assert {name: result["status"] for name, result in sweep.results.items()} == {
        name: "preempted" if name == killed else "ok" for name in sweep.results
    }
    assert "1 of 2 cells done" in printed
    assert "WorkerCrashedError" in printed
    assert "Traceback" not in printed


def test_an_interrupt_lets_running_cells_save(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, LONG)
    process = sweep.start(*RAY)
    with _reading(process) as lines:
        wait_until(lambda: len([r for r in sweep.results.values() if "load" in r["phases"]]) == 2)
        process.send_signal(signal.SIGTERM)
        process.wait(300)

    assert process.returncode == 128 + signal.SIGTERM, "".join(lines)
    assert {result["status"] for result in sweep.results.values()} == {"preempted"}


@contextmanager
def _reading(process: "subprocess.Popen[str]") -> Iterator[list[str]]:
    """Read what a process prints, so that it never waits for a full pipe."""
    lines: list[str] = []
    assert process.stdout is not None
    thread = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    thread.start()
    try:
        yield lines
    finally:
        if process.poll() is None:
            process.kill()
        thread.join()
        process.stdout.close()


def _kill_a_worker(sweep: Sweep, launcher: int) -> str:
    """Kill the worker of a cell that trains. Return the name of the cell."""
    wait_until(lambda: list(sweep.folder.glob("multirun/*/*/checkpoints/*")))
    for child in psutil.Process(launcher).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "peft_study.sweep.child" in " ".join(child.cmdline()):
                name = _cell_of(child)
                os.kill(child.ppid(), signal.SIGKILL)
                return name
    raise AssertionError("no cell runs")


def _cell_of(process: psutil.Process) -> str:
    # Its standard output goes to the cell's output.txt.
    return Path(f"/proc/{process.pid}/fd/1").readlink().parent.name
