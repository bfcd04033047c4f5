"""What is cleared up behind a test, and what is seen of one that runs."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peft_study.sandbox import usage, users
from peft_study.sandbox.inside.confinement import leftovers
from peft_study.sandbox.jobs import Ending, Job, Kind, Level, Limits
from peft_study.sandbox.pool import Pool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HOLD = "import sys, time; x = bytearray(b'x' * (60 << 20)); print('held', flush=True); time.sleep(60)"


def test_any_folder_is_emptied_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "work"
    (outside / "kept").mkdir(parents=True)
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "link").symlink_to(outside / "kept")
    (folder / "a" / "file").write_text("x")
    (folder / "a" / "b").chmod(0)
    (folder / "a").chmod(0)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(60):  # longer than a path may be
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
    finally:
        os.chdir(here)

    assert leftovers.empty(str(folder))
    assert list(folder.iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_what_cannot_be_emptied_is_told(tmp_path: Path) -> None:
    assert not leftovers.empty(str(tmp_path / "missing"))


def test_memory_and_time_of_a_process_below_this_one_are_seen() -> None:
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        used = usage.usage(process.pid, None)
        for pid in usage.descendants(process.pid):
            os.kill(pid, 9)
    assert 60 << 20 <= used.memory_bytes < 90 << 20
    assert 0 < used.cpu_seconds < 5


def test_files_are_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/usr")
    assert 100_000 <= usage.usage(os.getpid(), str(tmp_path)).file_bytes < 150_000


@pytest.mark.parametrize("shape", ["deep", "many"])
def test_what_cannot_be_looked_through_is_too_much(tmp_path: Path, shape: str) -> None:
    here = Path.cwd()
    if shape == "many":
        for number in range(20_100):
            (tmp_path / str(number)).touch()
    else:
        os.chdir(tmp_path)
        try:
            for _ in range(70):
                Path("d" * 200).mkdir()
                os.chdir("d" * 200)
            Path("big").write_bytes(b"x" * (1 << 20))
        finally:
            os.chdir(here)

    assert usage.usage(os.getpid(), str(tmp_path)).file_bytes == math.inf
    assert leftovers.empty(str(tmp_path))


def test_removed_files_count_while_they_are_open(tmp_path: Path) -> None:
    source = (
        "import os, time; f = open('x', 'wb'); f.write(b'x' * 1_000_000); f.flush(); os.remove('x');"
        "print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = usage.usage(os.getpid(), str(tmp_path))
        process.kill()
    assert used.file_bytes >= 1_000_000


@ROOT
def test_every_process_of_a_user_is_killed() -> None:
    user = users.next_user()
    with subprocess.Popen(["/bin/sleep", "60"], user=user, group=user, extra_groups=[]) as process:
        usage.kill_user(user)
        assert process.wait(5) == -9


@ROOT
def test_no_process_keeps_a_user_alive_or_seen_by_its_name() -> None:
    user = users.next_user()
    name = "import ctypes, time; ctypes.CDLL(None).prctl(15, bytes([255, 254, 13]), 0, 0, 0)"
    source = f"{name}; print(flush=True); time.sleep(60)"
    with (
        subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as named,
        subprocess.Popen(["/bin/sleep", "60"], user=user, group=user, extra_groups=[]) as process,
    ):
        assert named.stdout is not None
        named.stdout.readline()
        usage.kill_user(user)
        assert process.wait(5) == -9
        named.kill()


def test_users_are_distinct_and_nobodys() -> None:
    found = [users.next_user() for _ in range(60)]
    assert len(set(found)) == 60
    assert all(1000 < user < 1 << 31 for user in found)


def test_a_worker_that_was_left_with_a_file_takes_another_folder() -> None:
    with Pool(1, Limits(), accept_level_c=True, level=Level.C) as pool:
        before = Path(pool._workers[0].plan["work"])
        (before / "residue").touch()
        look = Job("import os; print(os.listdir('.'))", Kind.script)
        ((_, ran),) = pool.run([(1, look)])
        assert ran.stdout == b"[]\n"
        assert Path(pool._workers[0].plan["work"]) != before


def test_time_of_processes_that_nobody_waits_for_counts() -> None:
    source = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "for _ in range(40):\n"
        "  if os.fork() == 0:\n"
        "    while time.process_time() < 0.1: pass\n"
        "    os._exit(0)\n"
        "  try: os.wait()\n"
        "  except ChildProcessError: pass\n"
    )
    with Pool(1, Limits(cpu_seconds=0.5, wall_seconds=20), accept_level_c=True, level=Level.C) as pool:
        ((_, ran),) = pool.run([(1, Job(source, Kind.script))])
    assert ran.ending is Ending.timeout
    assert ran.seconds < 15


def test_where_memory_cannot_be_watched_address_space_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft_study.sandbox.pool.can_watch", lambda: False)
    monkeypatch.setattr("peft_study.sandbox.watch.usage", lambda pid, folder: usage.Usage())
    limits = Limits(memory_bytes=100 << 20)
    with Pool(1, limits, accept_level_c=True) as pool:
        taking = Job("x = []\nwhile True: x.append(bytearray(1 << 20))", Kind.script)
        started = time.monotonic()
        ((_, ran),) = pool.run([(1, taking)])
    assert ran.ending is Ending.memory
    assert time.monotonic() - started < 4
