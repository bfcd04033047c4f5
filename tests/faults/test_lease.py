"""The lease of a cell where the kernel's lock does not reach: other machines, wrong clocks, processes that slept."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import pytest

from peft_study.results import holding
from peft_study.results.lease import LEASE, Lease, job_id, read_lease
from peft_study.results.lock import is_locked
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import CellBusyError, CellFolder

STALE = 1.0
RESULT = RunResult(cell_id="cell", study="single", status=Status.running)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is stale after `STALE` seconds, and is renewed ten times as often."""
    monkeypatch.setattr(holding, "STALE_SECONDS", STALE)
    monkeypatch.setattr(holding, "BEAT_SECONDS", STALE / 10)
    monkeypatch.setattr(holding, "_LOOK_SECONDS", STALE / 30)


def foreign(beat: timedelta = timedelta()) -> Lease:
    """A lease of another machine whose last heartbeat is this much from now."""
    at = (datetime.now(UTC) + beat).isoformat(timespec="milliseconds")
    return replace(Lease.of_this_process(), host="node7", boot="another", job="18_1", acquired_at=at, beat_at=at)


def write(folder: Path, lease: Lease) -> None:
    (folder / LEASE).write_text(json.dumps(asdict(lease)))


def test_a_fresh_lease_of_another_machine_holds_and_the_message_names_it(tmp_path: Path) -> None:
    write(tmp_path, foreign())

    with pytest.raises(CellBusyError, match="node7, job 18_1"), CellFolder(tmp_path).locked():
        pass


@pytest.mark.parametrize(
    "beat",
    [
        pytest.param(timedelta(hours=-3), id="of a machine that died hours ago"),
        pytest.param(timedelta(hours=3), id="from the future, by a wrong clock"),
    ],
)
def test_a_lease_that_does_not_change_is_taken_over(tmp_path: Path, beat: timedelta) -> None:
    write(tmp_path, foreign(beat))
    began = time.monotonic()

    with CellFolder(tmp_path).locked():
        lease = read_lease(tmp_path)
        assert lease is not None
        assert lease.process == os.getpid()

    assert time.monotonic() - began >= STALE
    assert not list(tmp_path.glob("*lease*"))


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_holder_with_a_wrong_clock_keeps_its_lease_while_it_writes_heartbeats(tmp_path: Path, hours: int) -> None:
    ending = threading.Event()

    def beat() -> None:
        lease = foreign()
        while not ending.wait(STALE / 10):
            write(tmp_path, replace(lease, beat_at=foreign(timedelta(hours=hours)).beat_at))

    write(tmp_path, foreign(timedelta(hours=hours)))
    holder = threading.Thread(target=beat)
    holder.start()
    try:
        with pytest.raises(CellBusyError), CellFolder(tmp_path).locked():
            pass
    finally:
        ending.set()
        holder.join()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}'])
def test_a_torn_lease_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LEASE).write_text(content)

    with CellFolder(tmp_path).locked():
        assert read_lease(tmp_path) is not None


HOLD = """
import sys
from pathlib import Path
from peft_study.results.store import CellFolder
with CellFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    lease = read_lease(tmp_path)
    assert lease is not None
    assert lease.process == holder.pid
    began = time.monotonic()

    with CellFolder(tmp_path).locked():
        assert time.monotonic() - began < STALE


def test_without_locks_of_the_kernel_the_lease_alone_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with CellFolder(tmp_path).locked(), pytest.raises(CellBusyError), CellFolder(tmp_path).locked():
        pass
    with CellFolder(tmp_path).locked():
        pass


def test_a_lock_of_nfs_can_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def nfs_lock(file: TextIO, operation: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", nfs_lock)

    with CellFolder(tmp_path).locked():
        assert is_locked(tmp_path) is True
    assert is_locked(tmp_path) is False


def test_a_process_that_slept_writes_nothing_into_the_work_of_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = CellFolder(tmp_path)
    monkeypatch.setattr(holding, "BEAT_SECONDS", 60.0)  # as of a stopped process
    with sleeper.locked():
        sleeper.write_result(RESULT)
        before = (tmp_path / "result.json").read_bytes()
        successor = foreign()
        watch = holding.LeaseWatch(tmp_path)
        time.sleep(STALE)
        assert watch.stale
        watch.remove()
        write(tmp_path, successor)

        for write_something in (
            lambda: sleeper.write_result(RESULT),
            lambda: sleeper.append_step(1, {"loss": 1.0}),
            lambda: sleeper.append_candidates([{"index": 0}]),
            sleeper.remove_work,
        ):
            with pytest.raises(CellBusyError, match="took the cell over"):
                write_something()
        assert (tmp_path / "result.json").read_bytes() == before
    assert read_lease(tmp_path) == successor  # the sleeper's end left it alone


TAKE = """
import sys
from pathlib import Path
from peft_study.results import holding
holding.STALE_SECONDS, holding.BEAT_SECONDS, holding._LOOK_SECONDS = 3.0, 0.1, 0.02
try:
    with holding.held(Path(sys.argv[1]), locked_by_kernel=False):
        print("won", flush=True)
        sys.stdin.read()
except holding.LeaseHeldError:
    print("lost", flush=True)
"""


def test_one_of_many_processes_takes_a_stale_lease_over(tmp_path: Path) -> None:
    write(tmp_path, foreign(timedelta(hours=-1)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]

    # The winner holds the lease until all others have given up.
    ends = sorted(process.stdout.readline().strip() for process in processes if process.stdout is not None)
    for process in processes:
        process.communicate()

    assert ends == ["lost"] * 7 + ["won"]


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "19", "SLURM_ARRAY_JOB_ID": "18", "SLURM_ARRAY_TASK_ID": "1"}, "18_1"),
        ({"SLURM_JOB_ID": "19"}, "19"),
        ({"RAY_JOB_ID": "01000000"}, "01000000"),
    ],
)
def test_the_job_is_named_as_the_scheduler_lists_it(environment: dict[str, str], job: str | None) -> None:
    assert job_id(environment) == job
