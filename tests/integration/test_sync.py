"""`sync` against a stand-in for W&B's server: every run and every row once, whatever failed before."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import wandb

from peft_study.cli.main import dispatch
from peft_study.cli.sync import send
from peft_study.config.schema import TrackingConfig
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.tracking import wandb as tracking
from peft_study.tracking.base import CellStart
from peft_study.tracking.names import history, summary_values
from peft_study.tracking.wandb import WandbTracker
from peft_study.tracking.wandb_run.identity import run_id
from tests.tracked_child import CONFIG, track
from tests.wandb_server import Fault, Kind, Run, WandbServer, always, nth
from tests.wandb_server.isolated import KEY

ROOT = Path(__file__).resolve().parents[2]
REAL_CELL = (
    *("training.epochs=12", "training.evaluations_per_epoch=2", "dataset.max_new_tokens=4"),
    *("dataset.test_limit=4", "generation.num_beams=2", "generation.num_candidates=2", "hardware=cpu"),
)
Sync = Callable[..., int]


pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """Run the command with short waits."""
    monkeypatch.setattr(send, "PAUSES_SECONDS", (0.05, 0.05))
    return lambda *options: dispatch(["sync", str(tmp_path / "cells"), "--timeout", "5", *options])


def recorded(path: Path, steps: int = 12, status: Status = Status.ok) -> Path:
    """Write the record of a cell that ran without a network, and lost its offline file."""
    folder = CellFolder(path)
    for step in range(1, steps + 1):
        folder.append_usage({"step": step, "phase": "train", "seconds": step / 8})
        folder.append_step(step, {"loss": 1 / (step + 3)})
    folder.append_usage({"phase": "generate", "prompts": 2, "seconds": 9.5, "peak_bytes": 2 * 10**9})
    folder.write_result(RunResult(path.name, "demo", status, config=CONFIG, metrics={"em@1": 0.1}))
    return path


def run_of(server: WandbServer, folder: Path) -> Run:
    result = CellFolder(folder).read_result()
    assert result is not None
    return server.run(run_id(CellStart.of_result(result, folder, resumed=True)))


def assert_arrived_once(server: WandbServer, folder: Path) -> None:
    """Every row of the record is in the run once, in order, with its values, and so is the summary."""
    run, store = run_of(server, folder), CellFolder(folder)
    result = store.read_result()
    assert result is not None
    logged = [{name: value for name, value in row.items() if name[0] != "_"} for row in run.history]
    assert logged == list(history(store.read_steps(), store.read_usage()))
    assert [row["_step"] for row in run.history] == list(range(len(logged)))
    assert (run.conflicts, run.creations) == ([], 1)
    assert {name: run.summary.get(name) for name in summary_values(result)} == summary_values(result)
    assert run.state == ("finished" if result.status is Status.ok else "failed")


def wandb_files(folder: Path) -> Sequence[Path]:
    return list(folder.glob("wandb/offline-run-*/*.wandb"))


def killed_children(folders: Sequence[Path], chance: random.Random) -> None:
    """Track cells offline in processes of their own, and kill each in the middle."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    for folder in folders:
        command = [sys.executable, "-m", "tests.tracked_child", str(folder), "100000", "offline"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        metrics, least = folder / "metrics.jsonl", chance.randint(1, 25)
        deadline = time.monotonic() + 60
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < least:
            assert time.monotonic() < deadline, "the child does not track"
            assert process.poll() is None, "the child ended"
            time.sleep(0.005)
        process.kill()
        process.wait()


@pytest.mark.parametrize("cells", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_cells_that_were_killed_arrive_once_and_go_on_in_their_runs(
    cells: int, server: WandbServer, sync: Sync, tmp_path: Path
) -> None:
    folders = [tmp_path / "cells" / "demo" / f"cell-{number}" for number in range(cells)]
    killed_children(folders, random.Random(4))
    shutil.rmtree(folders[0] / "wandb")
    (file,) = wandb_files(folders[1])
    file.write_bytes(file.read_bytes()[:100])

    assert sync() == 0

    assert len(server.store.runs) == cells
    for folder in folders:
        assert_arrived_once(server, folder)
        assert run_of(server, folder).summary["status"] == "running"
    # The cells resume without a network, and repeat the steps behind their checkpoints.
    for folder in folders:
        track(folder, 40, "offline")
    assert sync() == 0
    for folder in folders:
        assert_arrived_once(server, folder)
        assert run_of(server, folder).summary["status"] == "ok"
    sent = len(server.requests)
    assert sync() == 0
    assert len(server.requests) == sent


@pytest.mark.slow
def test_a_real_cell_that_was_killed_arrives_once_and_goes_on_in_its_run(
    server: WandbServer, sync: Sync, small_data: Path, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "peft_study", "model=tiny-llama", f"dataset.path={small_data}", *REAL_CELL),
        *("tracking=wandb", "tracking.entity=a-lab", f"output_dir={tmp_path / 'cells'}", "tracking.mode=offline"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for rows in (5, 20):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while sum(file.read_bytes().count(b"\n") for file in tmp_path.glob("cells/*/*/metrics.jsonl")) < rows:
            assert time.monotonic() < deadline
            assert process.poll() is None, "the cell ended before it was killed"
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert sync() == 0
        (folder,) = [file.parent for file in tmp_path.glob("cells/*/*/result.json")]
        run = run_of(server, folder)
        assert [row["_step"] for row in run.history] == list(range(len(run.history)))
        assert run.summary["status"] == "running"
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    assert sync() == 0
    run, store = run_of(server, folder), CellFolder(folder)
    recorded_rows = list(history(store.read_steps(), store.read_usage()))
    # Steps that were repeated have the losses of the first time, and times and speeds of their own.
    for row, recorded_row in zip(run.history, recorded_rows, strict=True):
        assert {name: row.get(name) for name in recorded_row if name.startswith(("train/", "validation/"))} == {
            name: value for name, value in recorded_row.items() if name.startswith(("train/", "validation/"))
        }
    assert (run.conflicts, run.repeats, len(server.store.runs), run.summary["status"]) == ([], 0, 1, "ok")


def test_wandbs_own_client_reads_what_was_recorded(sync: Sync, server: WandbServer, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "cells" / "demo" / "a-cell")
    assert sync() == 0
    (run,) = wandb.Api(timeout=5).runs("a-lab/a-project", lazy=False)
    rows = list(run.scan_history(use_cache=False))
    assert [row["train/loss"] for row in rows[:-1]] == [row["loss"] for row in CellFolder(folder).read_steps()]
    assert rows[-1]["memory/generate_peak_gb"] == 2.0
    assert (run.group, run.job_type, run.name, run.state) == ("demo", "lora", "a-cell", "finished")
    assert run.config["model"]["name"] == "tiny-llama"


FAILURES = {
    "hangs": always(Fault(Kind.hang)),
    "500": always(Fault(Kind.status, 500)),
    "429": always(Fault(Kind.status, 429)),
    "403": always(Fault(Kind.status, 403)),
    "stream hangs": always(Fault(Kind.hang), "file_stream"),
    "stream 500": always(Fault(Kind.status, 500), "file_stream"),
    "stream 403": always(Fault(Kind.status, 403), "file_stream"),
    "creation 500": always(Fault(Kind.status, 500), "UpsertBucket"),
    "late": always(Fault(Kind.late, seconds=4.0)),
}


def slow_unless(quick: set[str]) -> pytest.MarkDecorator:
    names = [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in FAILURES]
    return pytest.mark.parametrize("name", names)


@slow_unless({"hangs", "stream 500", "stream 403"})
def test_a_failing_server_ends_the_command_in_time_and_the_next_one_sends_all(
    name: str, server: WandbServer, sync: Sync, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [recorded(tmp_path / "cells" / f"cell-{number}") for number in range(2)]
    server.faults = FAILURES[name]
    began = time.monotonic()
    assert sync("--timeout", "1") == 1
    # Two cells, three attempts each, with a wait for the answer, the start and the end of the run.
    assert time.monotonic() - began < 2 * 3 * (3 * 1 + 2)
    error = capfd.readouterr().err
    assert "not sent" in error
    assert KEY not in error
    server.faults = always(None)
    assert sync() == 0
    for folder in folders:
        assert_arrived_once(server, folder)


@pytest.mark.parametrize("kind", [Kind.lost_answer, Kind.dropped, Kind.status])
def test_a_request_that_failed_is_repeated_and_counted_once(
    kind: Kind, server: WandbServer, sync: Sync, tmp_path: Path
) -> None:
    folder = recorded(tmp_path / "cells" / "a-cell")
    server.faults = nth(Fault(kind), "file_stream", 0)
    assert sync("--timeout", "20") == 0
    assert_arrived_once(server, folder)


def test_a_server_that_dies_in_the_middle_and_returns_gets_the_rest(
    server: WandbServer, sync: Sync, tmp_path: Path
) -> None:
    folders = [recorded(tmp_path / "cells" / f"cell-{number}") for number in range(4)]

    def die_at_the_second_run(name: str, _number: int) -> Fault | None:
        if name != "file_stream" or len(server.store.runs) < 2:
            return None
        threading.Thread(target=server.die).start()
        return Fault(Kind.lost_answer)

    server.faults = die_at_the_second_run
    assert sync("--timeout", "1") == 1
    server.die()
    server.faults = always(None)
    server.start()
    before = len(server.requests)
    assert sync() == 0
    assert len(server.store.runs) == 4
    for folder in folders:
        assert_arrived_once(server, folder)
    # The first cell was sent before, and is not asked for again.
    assert server.requests[before:].count("UpsertBucket") <= 2 * 3


def test_ctrl_c_ends_the_command_and_the_next_one_sends_the_rest(
    server: WandbServer, sync: Sync, tmp_path: Path
) -> None:
    folders = [recorded(tmp_path / "cells" / f"cell-{number}") for number in range(3)]
    hanging = threading.Event()

    def hang_at_the_second_run(name: str, _number: int) -> Fault | None:
        if name != "file_stream" or len(server.store.runs) < 2:
            return None
        hanging.set()
        return Fault(Kind.hang)

    server.faults = hang_at_the_second_run
    command = [sys.executable, "-m", "peft_study", "sync", str(tmp_path / "cells")]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert hanging.wait(60)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "the same command sends the rest" in error
    assert "Traceback" not in error
    server.faults = always(None)
    assert sync() == 0
    for folder in folders:
        assert_arrived_once(server, folder)


def test_a_cell_whose_server_died_loses_nothing(server: WandbServer, sync: Sync, tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "a-cell"
    track(folder, 5, "online")
    rows = len(run_of(server, folder).history)
    assert rows == 5
    server.die()
    # Without a server, each start of a run waits for it.
    tracking._unreachable.add(server.address)
    track(folder, 15, "auto")
    server.start()
    assert sync() == 0
    assert_arrived_once(server, folder)


@slow_unless({"stream hangs"})
def test_a_failing_server_costs_a_cell_a_bounded_time(name: str, server: WandbServer, tmp_path: Path) -> None:
    folder, seconds = recorded(tmp_path / "cells" / "a-cell"), 8.0
    server.faults = FAILURES[name]
    result = CellFolder(folder).read_result()
    assert result is not None
    config = TrackingConfig(project="a-project", entity="a-lab", timeout_seconds=seconds)
    tracker: WandbTracker = tracking.create_tracker(config, {}, folder)
    began = time.monotonic()
    tracker.start(CellStart.of_result(result, folder, resumed=True))
    for step in range(10):
        tracker.step(step, {"loss": 1.0}, {"step": step, "phase": "train", "seconds": float(step)})
    tracker.finish(result)
    tracker.close()
    wandb.teardown()
    assert time.monotonic() - began < seconds + 1


def test_what_is_sent_holds_no_secret(
    server: WandbServer, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_plantedplantedplanted")
    folder = recorded(tmp_path / "cells" / "a-cell")
    result = CellFolder(folder).read_result()
    assert result is not None
    result.config = CONFIG | {"scoring": {"note": "x hf_plantedplantedplanted", "api_key": "planted-in-the-config"}}
    CellFolder(folder).write_result(result)
    assert sync() == 0
    sent = b"".join(server.bodies)
    assert b"train/loss" in sent
    for secret in ("hf_plantedplantedplanted", "planted-in-the-config", KEY):
        assert secret.encode() not in sent


def test_only_tracked_cells_that_do_not_run_are_sent(
    server: WandbServer, sync: Sync, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path / "cells" / "tracked")
    untracked = recorded(tmp_path / "cells" / "untracked")
    busy = recorded(tmp_path / "cells" / "busy")
    CellFolder(untracked).write_result(
        RunResult("untracked", "demo", Status.ok, config=CONFIG | {"tracking": {"trackers": {}}})
    )
    assert sync("--dry-run") == 0
    assert server.requests == []
    with CellFolder(busy).locked():
        assert sync() == 0
    assert [run.attributes["displayName"] for run in server.store.runs] == ["tracked"]
    error = capfd.readouterr().err
    assert "1 running" in error
    assert "--all" in error, "the hint to the cell that is left out"
    assert sync("--all", "--project", "another") == 0
    assert {run.attributes["displayName"] for run in server.store.runs if run.project == "another"} == {
        *("tracked", "untracked", "busy")
    }


@pytest.mark.parametrize(
    "edited",
    [
        {"tracking": "wandb"},
        {"tracking": ["wandb"]},
        {"tracking": {"trackers": 3}},
        {"tracking": {"trackers": {"wandb": {}}, "predictions": "many"}},
        {"tracking": {"trackers": {"wandb": {}}, "artifacts": ["adapter"]}},
        {"tracking": {"trackers": {"wandb": {}}, "project": 5}},
        {"model": "a word"},
        {"seed": "x"},
        {"dataset": [1]},
    ],
)
def test_damaged_records_do_not_block_the_others(
    edited: dict[str, object], server: WandbServer, sync: Sync, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # After two cells that could not be sent, the command assumes that the server takes no runs.
    *damaged, intact = (recorded(tmp_path / "cells" / name) for name in ("a-damaged", "b-damaged", "c-intact"))
    for folder in damaged:
        record = RunResult(folder.name, "demo", Status.ok, config=CONFIG | edited)
        CellFolder(folder).write_result(record)

    assert sync() == 1

    assert_arrived_once(server, intact)
    printed = capfd.readouterr().err
    assert all(folder.name in printed for folder in damaged)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "nowhere"),
        (["cells", "--timeout", "0"], "--timeout"),
        (["cells", "--project", "a/b"], "--project"),
        (["cells"], "a key"),
    ],
)
def test_a_wrong_command_line_is_refused(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path / "cells" / "a-cell")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.chdir(tmp_path)
    assert dispatch(["sync", *options]) == 2
    assert words in capfd.readouterr().err
