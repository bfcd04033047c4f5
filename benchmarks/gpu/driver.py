"""Start the rows one after the other, and end in time whatever a row does. This module does not import torch."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu import record
from benchmarks.gpu.rows import MEMORY, Row, memory_arms, prediction_name, prediction_rows
from benchmarks.gpu.summary import add_predictions, row_line

ROOT = Path(__file__).parents[2]
LIMIT = 2.5
"""A row is killed after this many times its expected seconds."""
LEAST_LIMIT = 60.0
LEAST_LEFT = 8.0
"""With fewer seconds left no further row starts, because its imports take as long."""
END_MARGIN = 3.0
POLL_SECONDS = 0.2
CORES_A_PREDICTION = 4
LOG_CHARACTERS = 200_000
OUTPUT_CHARACTERS = 2000


class Driver:
    """Runs rows within a time limit.

    Args:
        rows: the rows, in order of importance.
        seconds: time limit for all rows.
        folder: folder of gpu.json, which is updated after every phase of a row, and of gpu.log, the output of the rows.
        command: the command that started the benchmark.
    """

    def __init__(self, rows: Sequence[Row], seconds: float, folder: Path, command: str) -> None:
        self._began = time.monotonic()
        self._deadline = self._began + seconds - END_MARGIN
        self._rows = rows
        self._seconds = seconds
        self._command = command
        self._result_path = folder / "gpu.json"
        self._log_path = folder / "gpu.log"
        self._results: dict[str, dict[str, Any]] = {}
        self._logs: dict[subprocess.Popen[str], Path] = {}

    def run(self) -> bool:
        """Run all rows that the time allows.

        Returns:
            whether every row succeeded.
        """
        self._log_path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as name, self._no_process_left():
            self._parts = Path(name)
            waiting: subprocess.Popen[str] | None = self._spawn()
            predictors = self._start_predictions()
            for index, row in enumerate(self._rows):
                process = waiting or self._spawn()
                if self._left() < LEAST_LEFT:
                    self._results[row.name] = {"name": row.name, "kind": row.kind, "status": "no time left"}
                    print(row_line(self._results[row.name]), flush=True)
                    waiting = process
                    continue
                # The next process imports while this row runs.
                waiting = self._spawn() if index + 1 < len(self._rows) else None
                self._measure(row, process, index)
            self._wait_for_predictions(predictors)
            self._write()
        return all(result.get("status") == "ok" for result in self._results.values())

    @property
    def processes(self) -> list[subprocess.Popen[str]]:
        """All processes that were started."""
        return list(self._logs)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _spawn(self, **environment: str) -> subprocess.Popen[str]:
        log = self._parts / f"process-{len(self._logs)}.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.worker"],
                cwd=ROOT,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self._logs[process] = log
        return process

    def _send(self, process: subprocess.Popen[str], row: Row, path: Path) -> None:
        assert process.stdin is not None
        # If the process died while it waited, its exit code is recorded later.
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"row": asdict(row), "path": str(path), "command": self._command}) + "\n")
            process.stdin.close()

    def _measure(self, row: Row, process: subprocess.Popen[str], index: int) -> None:
        path = self._parts / f"row-{index}.json"
        started = time.monotonic()
        limit = min(self._deadline, started + max(LEAST_LIMIT, LIMIT * row.seconds))
        self._send(process, row, path)
        seen = 0.0
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
            changed = path.stat().st_mtime if path.exists() else 0.0
            if changed != seen:
                seen = changed
                self._take(row, path, "running", started)
        killed = process.poll() is None
        if killed:
            _kill(process)
        self._take(row, path, "killed" if killed else _status_of_exit(process), started)
        self._keep_log(row.name, process)
        print(row_line(self._results[row.name]), flush=True)

    def _take(self, row: Row, path: Path, status: str, started: float) -> None:
        values: dict[str, Any] = {"name": row.name, "kind": row.kind, "command": self._command}
        if path.exists():
            values = json.loads(path.read_text(encoding="utf-8"))
        phases = [phase["status"] for phase in values.get("phases", {}).values()]
        if status == "ok":
            status = next((phase for phase in phases if phase != "ok"), "ok" if phases else "failed")
        self._results[row.name] = {**values, "status": status, "wall_seconds": round(time.monotonic() - started, 1)}
        self._write()

    def _keep_log(self, name: str, process: subprocess.Popen[str]) -> None:
        """Append the output of a process to the log, and add the end of it to the result of a failed row."""
        printed = self._logs[process].read_text(encoding="utf-8", errors="replace")
        with self._log_path.open("a", encoding="utf-8") as log:
            log.write(f"==== {name}\n{printed[-LOG_CHARACTERS:]}\n")
        result = self._results.get(name)
        if result is not None and result["status"] != "ok":
            result["output_end"] = printed[-OUTPUT_CHARACTERS:]
            self._write()

    def _start_predictions(self) -> list[tuple[subprocess.Popen[str], Path]]:
        """Predict on the CPU while the rows run, at low priority and without the GPU."""
        workers = max(1, len(os.sched_getaffinity(0)) // CORES_A_PREDICTION)
        predictors = []
        for index, row in enumerate(prediction_rows(list(self._rows), workers)):
            process = self._spawn(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, 10)
            path = self._parts / f"predictions-{index}.json"
            self._send(process, row, path)
            predictors.append((process, path))
        return predictors

    def _wait_for_predictions(self, predictors: Sequence[tuple[subprocess.Popen[str], Path]]) -> None:
        while self._left() > 0 and any(process.poll() is None for process, _ in predictors):
            time.sleep(POLL_SECONDS)
        for process, path in predictors:
            self._keep_log(path.stem, process)

    def _predictions(self) -> dict[str, Any]:
        predictions: dict[str, Any] = {}
        for path in sorted(self._parts.glob("predictions-*.json")):
            predictions |= json.loads(path.read_text(encoding="utf-8"))["phases"]
        return predictions

    def _write(self) -> None:
        predictions = self._predictions()
        for row in self._rows:
            if row.kind == MEMORY and row.name in self._results:
                self._results[row.name]["predictions"] = {
                    arm: predictions.get(prediction_name(row, arm)) for arm in memory_arms()
                }
                add_predictions(self._results[row.name])
        record.write_json(
            self._result_path,
            {
                "command": self._command,
                "at": datetime.now(UTC).date().isoformat(),
                "seconds_allowed": self._seconds,
                "seconds_used": round(time.monotonic() - self._began, 1),
                "rows": list(self._results.values()),
            },
        )

    @contextmanager
    def _no_process_left(self) -> Iterator[None]:
        try:
            yield
        finally:
            for process in self._logs:
                if process.poll() is None:
                    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the process of a row and all processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status_of_exit(process: subprocess.Popen[str]) -> str:
    return "ok" if process.returncode == 0 else f"failed with exit code {process.returncode}"
