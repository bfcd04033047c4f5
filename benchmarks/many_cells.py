"""A sweep of many stub cells with faults: are the results true, does a cell run twice, what does a cell cost the sweep?

    python -m benchmarks.many_cells --cells 1000 --kills 20

The launcher, the processes, the locks and the records are the real ones. Only a cell's work is a stub: of each hundred
seeds, ten crash, five run out of memory until their micro-batch is 2, and the others succeed at once. The sweep's own
process is killed at random moments, and the same command starts again until the sweep ends by itself.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.record import write

CRASH, OOM = range(10), range(10, 15)
"""Seeds modulo 100 of the cells that crash, and of those that run out of memory."""
_STUB = r"""
import os, signal, sys, time
if "peft_study.sweep.server" in sys.orig_argv:
    import peft_study.cell.run as cell
    from peft_study.cell.retries import restricted

    class Stub:
        def __init__(self, config, folder, tracker, result, earlier, attempt):
            self.cell, self.folder, self.result, self.attempt = config, folder, result, attempt
        def load(self):
            result = self.folder.read_result()
            with open(self.folder.path / "starts.txt", "a") as file:
                file.write(str(result.status if result else None) + "\n")
            training = restricted(self.cell.training, self.attempt.restriction)
            self.attempt.micro_batch_size = training.micro_batch_size
            self.attempt.gradient_accumulation = training.batch_size // training.micro_batch_size
            self.attempt.gradient_checkpointing = training.gradient_checkpointing
            self.attempt.phase = "train"
        def run(self):
            kind = self.cell.seed % 100
            if kind < 4: os.kill(os.getpid(), signal.SIGKILL)
            if kind < 7: os._exit(3)
            if kind < 10: raise RuntimeError("a fault of the benchmark")
            if 10 <= kind < 15 and self.attempt.micro_batch_size > 2:
                raise MemoryError
            with open(self.folder.path / "successes.txt", "a") as file:
                file.write("1\n")
        def tidy(self):
            pass

    cell.CellRun = Stub
"""


@dataclass
class Driver:
    """What was seen of the processes of the sweep.

    Attributes:
        starts: how often the command started.
        seconds: from the first cell's start to the end, over all starts.
        rss_bytes: resident memory of the last process since its first cell, twice a second.
    """

    starts: int = 0
    seconds: float = 0.0
    rss_bytes: list[int] = field(default_factory=list)


def main() -> None:
    """Run the sweep and write what came of it to results/many_cells.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20, help="how often the sweep's own process is killed")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    settings = parser.parse_args()
    figures = measure(settings.cells, settings.kills, settings.at_once, settings.seed)
    write("many_cells", figures | overhead(max(8, settings.cells // 5)), ("hydra-core",))


def measure(cells: int, kills: int, at_once: int, seed: int = 0) -> dict[str, Any]:
    """Run a sweep of stub cells.

    Args:
        cells: number of cells, whose seeds count from 0.
        kills: how often the sweep's process is killed.
        at_once: cells that run side by side.
        seed: of the moments of the kills.

    Returns:
        numbers of cells by status, of records that are not true, of cells that started again after success, and the
        cost of a cell to the sweep.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(_STUB)
        moments = random.Random(seed)
        driver = Driver()
        for left in range(kills, -1, -1):
            # The moments spread over the sweep, whatever a cell costs.
            ends_after = cells // (kills + 1) * moments.uniform(0.5, 1.5) if left else None
            _drive(folder, cells, at_once, driver, ends_after)
        return _summary(folder, cells, at_once, driver)


def overhead(cells: int) -> dict[str, float]:
    """Return what a cell that does nothing costs: the difference between sweeps of many and of few cells.

    Args:
        cells: number of cells of the larger sweep; the smaller one has a quarter.

    Returns:
        milliseconds a cell with one cell at a time: of the clock, and of CPU time in all processes.
    """
    costs = []
    for number in (cells // 4, cells):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "sitecustomize.py").write_text(_STUB.replace("self.cell.seed % 100", "99"))
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            _drive(folder, number, 1, Driver(), None)
            after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            costs.append((ended - began, cpu))
    (few_seconds, few_cpu), (many_seconds, many_cpu) = costs
    more = cells - cells // 4
    return {
        "overhead_ms_a_cell": round(1000 * (many_seconds - few_seconds) / more, 1),
        "overhead_cpu_ms_a_cell": round(1000 * (many_cpu - few_cpu) / more, 1),
    }


def _drive(folder: Path, cells: int, at_once: int, driver: Driver, ends_after: float | None) -> None:
    """Start the sweep, and kill it after a number of cells, or wait for its end."""
    command = [sys.executable, "-m", "peft_study", "--multirun", "model=tiny-llama", "method=lora", "retry=none"]
    command += [f"hardware.cells_at_once={at_once}", f"seed={','.join(map(str, range(cells)))}"]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{root}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    driver.starts += 1
    driver.rss_bytes = []
    ending = threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, driver, ending))
    watch.start()
    began: float | None = None
    ended = 0
    assert process.stderr is not None
    for line in process.stderr:
        if began is None and line.rstrip().endswith(": started"):
            began = time.monotonic()
            driver.rss_bytes.clear()  # planning is over
        ended += line.startswith("[") and "done before" not in line and "failed before" not in line
        if ends_after is not None and ended >= ends_after:
            process.kill()
    process.communicate()
    ending.set()
    watch.join()
    if began is not None:
        driver.seconds += time.monotonic() - began


def _watch(process: int, driver: Driver, ending: threading.Event) -> None:
    while not ending.wait(0.5):
        try:
            driver.rss_bytes.append(psutil.Process(process).memory_info().rss)
        except psutil.NoSuchProcess:
            return


def _summary(folder: Path, cells: int, at_once: int, driver: Driver) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    untrue, again, twice, starts = [], [], [], 0
    for path in folder.glob("multirun/single/*/result.json"):
        result: Mapping[str, Any] = json.loads(path.read_text())
        statuses[result["status"]] += 1
        kind = result["config"]["seed"] % 100
        if result["status"] != ("failed" if kind in CRASH else "ok"):
            untrue.append(path.parent.name)
        before = (path.parent / "starts.txt").read_text().split()
        starts += len(before)
        again += [path.parent.name] * ("ok" in before)
        successes = path.parent / "successes.txt"
        twice += [path.parent.name] * (successes.exists() and len(successes.read_text().split()) > 1)
    rss = driver.rss_bytes
    third = max(1, len(rss) // 3)
    return {
        "cells": cells,
        "results": sum(statuses.values()),
        "statuses": dict(statuses),
        "untrue": untrue,
        "started_after_success": again,
        "succeeded_twice": twice,
        "processes_of_cells": starts,
        "processes_of_the_sweep": driver.starts,
        "seconds": round(driver.seconds, 1),
        "ms_a_process": round(1000 * driver.seconds / max(1, starts), 1),
        "cells_at_once": at_once,
        "rss_mb_first_third": round(statistics.median(rss[:third]) / 1e6, 1) if rss else None,
        "rss_mb_last_third": round(statistics.median(rss[-third:]) / 1e6, 1) if rss else None,
    }


if __name__ == "__main__":
    main()
