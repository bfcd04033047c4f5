"""What ends the cells of one sweep, and what their records say afterwards. A cell's seed chooses its fault."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_study.results.attempts import Attempt
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from tests.conftest import QUICK

pytestmark = pytest.mark.slow

# Python imports this module at each start. The server of the sweep is changed before it forks the cells.
FAULTS = r"""
import os, signal, sys
if "peft_study.sweep.server" in sys.orig_argv:
    import torch
    import peft_study.cell.run as cell
    from peft_study.generation.decode import Decoder
    train, generate = cell.train, Decoder.generate

    def say(line):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def faulty(model, samples, validation, collator, settings, *, seed, **named):
        if seed == 1: raise RuntimeError("a fault of the test")
        if seed == 2: os.kill(os.getpid(), signal.SIGKILL)
        if seed == 3: os.kill(os.getpid(), signal.SIGSEGV)
        if seed == 4: sys.exit(5)
        if seed == 5: os._exit(7)
        if seed == 6: os.kill(os.getpid(), signal.SIGTERM)
        if seed == 7:  # bitsandbytes prints and exits, until the micro-batch is 4
            if settings.micro_batch_size > 4:
                say("Error out of memory at line 380 in file /src/csrc/pythonInterface.cpp")
                os._exit(1)
        if seed == 8:  # OpenMP, for every micro-batch
            say("libgomp: Thread creation failed: Resource temporarily unavailable")
            os._exit(1)
        if seed == 9 and not settings.gradient_checkpointing: torch.empty(1 << 50)
        if seed == 10: bytearray(1 << 60)
        if seed == 11: raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if seed == 12:
            for parameter in model.parameters():
                parameter.data.fill_(float("nan"))
        return train(model, samples, validation, collator, settings, seed=seed, **named)

    def hungry(self, prompts, done=frozenset(), **named):
        if self._seed == 20 and len(prompts) > 1 and self._most_prompts != 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        if self._seed == 21 and len(prompts) > 1: raise MemoryError
        return generate(self, prompts, done, **named)

    cell.train, Decoder.generate = faulty, hungry
"""
TRAIN_STEPS = [8, 4, 2, 1, 1]
EXPECTED = {
    1: (Status.failed, "RuntimeError: a fault of the test"),
    2: (Status.failed, "SIGKILL"),
    3: (Status.failed, "SIGSEGV"),
    4: (Status.failed, "SystemExit: 5"),
    5: (Status.failed, "exit code 7"),
    6: (Status.preempted, "a signal (SIGTERM) ended the process"),
    7: (Status.ok, None),
    8: (Status.oom, "libgomp: Thread creation failed"),
    9: (Status.ok, None),
    10: (Status.oom, "out of memory: MemoryError; train ran out with micro-batch 8; micro-batch 4;"),
    11: (Status.oom, "CUDA out of memory"),
    12: (Status.diverged, "is not a finite number"),
    13: (Status.ok, None),
    20: (Status.ok, None),
    21: (Status.oom, "generate ran out with 2 prompts at once; 1 prompts at once"),
}
MICRO_BATCHES = {7: [8, 4], 8: TRAIN_STEPS, 9: TRAIN_STEPS, 10: TRAIN_STEPS, 11: TRAIN_STEPS, 12: [8], 13: [8]}


@pytest.fixture(scope="module")
def results(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, RunResult]:
    """The results of the sweep by seed."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "sitecustomize.py").write_text(FAULTS)
    ended = sweep(folder, f"dataset.path={small_data}", f"seed={','.join(map(str, EXPECTED))}")
    assert ended.returncode == 1, ended.stderr
    return results_in(folder)


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep of tiny cells whose Python imports `sitecustomize` from its folder."""
    command = [sys.executable, "-m", "peft_study", "--multirun", "model=tiny-llama", "method=lora", *QUICK]
    command += ["hardware.cells_at_once=2", *overrides]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{Path.cwd()}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def results_in(folder: Path) -> dict[int, RunResult]:
    """Results by seed."""
    results = [CellFolder(path.parent).read_result() for path in folder.glob("multirun/*/*/result.json")]
    return {result.config["seed"]: result for result in results if result is not None}


@pytest.mark.parametrize("seed", EXPECTED)
def test_the_record_says_how_the_cell_ended(results: dict[int, RunResult], seed: int) -> None:
    status, reason = EXPECTED[seed]
    result = results[seed]

    assert (result.status, result.attempts[-1].status) == (status, status), result.reason
    assert reason is None or reason in str(result.reason)
    assert result.finished_at == result.attempts[-1].finished_at


@pytest.mark.parametrize("seed", MICRO_BATCHES)
def test_each_attempt_is_recorded_and_keeps_the_samples_of_a_step(results: dict[int, RunResult], seed: int) -> None:
    attempts = results[seed].attempts

    assert [attempt.micro_batch_size for attempt in attempts] == MICRO_BATCHES[seed]
    assert {_batch(attempt) for attempt in attempts} == {8}
    assert [attempt.gradient_checkpointing for attempt in attempts] == [index == 4 for index in range(len(attempts))]


def test_generation_is_retried_with_a_prompt_at_a_time_and_without_training_again(
    results: dict[int, RunResult],
) -> None:
    first, second = results[20].attempts

    assert (first.phase, first.prompts_at_once, second.prompts_at_once) == ("generate", 2, 1)
    assert results[20].training["resumed_from_step"] == results[20].training["steps"]


def test_attempts_read_back(results: dict[int, RunResult]) -> None:
    for seed, result in results.items():
        assert RunResult.from_json(json.loads(json.dumps(result.to_json()))).attempts == result.attempts, seed


def _batch(attempt: Attempt) -> int:
    assert attempt.micro_batch_size is not None
    assert attempt.gradient_accumulation is not None
    return attempt.micro_batch_size * attempt.gradient_accumulation


def test_two_sweeps_share_the_cells_of_a_folder(small_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "peft_study", "--multirun", "model=tiny-llama", "method=lora", *QUICK]
    command += ["hardware.cells_at_once=1", f"dataset.path={small_data}", "seed=1,2,3,4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    sweeps = [subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **streams) for _ in range(2)]

    printed = [process.communicate()[0] for process in sweeps]

    assert [process.returncode for process in sweeps] == [0, 0], printed
    results = results_in(tmp_path)
    # Every cell has one attempt, so that none ran twice.
    assert {seed: [attempt.status for attempt in result.attempts] for seed, result in results.items()} == {
        seed: ["ok"] for seed in (1, 2, 3, 4)
    }
    assert all("4 of 4 cells done" in text for text in printed)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_cell_with_its_reason_and_room_resumes_it(
    full_disk: Path, small_data: Path, tmp_path: Path
) -> None:
    overrides = (f"dataset.path={small_data}", f"output_dir={full_disk}", "seed=1")
    filler = full_disk / "filler"
    filler.write_bytes(b"x" * 2_500_000)

    ended = sweep(tmp_path, *overrides)

    assert ended.returncode != 0
    assert "No space left on device" in ended.stdout + ended.stderr
    filler.unlink()
    assert sweep(tmp_path, *overrides).returncode == 0


def test_a_disk_without_room_for_the_record_ends_a_single_cell(full_disk: Path, small_data: Path) -> None:
    cell = ["model=tiny-llama", f"dataset.path={small_data}", f"output_dir={full_disk}", *QUICK]
    (full_disk / "filler").write_bytes(b"x" * (shutil.disk_usage(full_disk).free - 40_000))

    ended = subprocess.run([sys.executable, "-m", "peft_study", *cell], capture_output=True, text=True, check=False)
    status = subprocess.run(
        [sys.executable, "-m", "peft_study", "status", str(full_disk), "--json"], capture_output=True, check=True
    )

    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert json.loads(status.stdout)["states"] in ({"stale": 1}, {"failed": 1})


def test_a_read_only_folder_is_a_refusal_that_names_it(small_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        ended = sweep(tmp_path, f"dataset.path={small_data}", f"output_dir={folder}", "seed=1")
    finally:
        subprocess.run(["umount", str(folder)], check=True)

    assert ended.returncode == 2
    assert "Read-only file system" in ended.stdout + ended.stderr
