"""The pool of workers: in whatever order, whoever leaves in the middle, whatever breaks."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_study.errors import UserError
from peft_study.judging.asserts.assertions import Proof
from peft_study.sandbox.jobs import Ending, Job, Kind, Level, Limits
from peft_study.sandbox.pool import Pool
from peft_study.sandbox.probe import reach
from peft_study.sandbox.session import Worker

LIMITS = Limits(cpu_seconds=1, wall_seconds=2, memory_bytes=200 << 20)
HELLO = Job("print('hello', input())", Kind.script, stdin=b"you\n")
SLEEP = Job("import time; time.sleep(60)", Kind.script)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, LIMITS, accept_level_c=True) as opened:
        yield opened


def test_every_job_comes_back_under_its_key(pool: Pool) -> None:
    jobs = {number: Job(f"print({number})", Kind.script) for number in range(30)}

    found = dict(pool.run(jobs.items()))

    assert {key: ran.stdout for key, ran in found.items()} == {number: f"{number}\n".encode() for number in jobs}


def test_jobs_are_drawn_as_they_are_needed(pool: Pool) -> None:
    drawn = itertools.count()
    jobs = ((next(drawn), HELLO) for _ in range(1000))

    running = pool.run(jobs)
    next(running)
    running.close()  # type: ignore[attr-defined]

    assert next(drawn) < 12


def test_leaving_in_the_middle_ends_what_runs(pool: Pool) -> None:
    started = time.monotonic()
    for _ in pool.run([("short", HELLO), ("long", SLEEP), ("longer", SLEEP)]):
        break
    assert time.monotonic() - started < 1.5

    assert [ran.stdout for _, ran in pool.run([(1, HELLO)])] == [b"hello you\n"]


def test_an_error_of_the_caller_leaves_the_pool_as_good_as_new(pool: Pool) -> None:
    def jobs() -> Iterator[tuple[int, Job]]:
        yield 1, SLEEP
        raise KeyError("no such problem")

    with pytest.raises(KeyError):
        list(pool.run(jobs()))

    assert [ran.stdout for _, ran in pool.run([(1, HELLO)])] == [b"hello you\n"]


def test_one_run_at_a_time(pool: Pool) -> None:
    running = pool.run([(1, HELLO), (2, HELLO)])
    next(running)
    with pytest.raises(RuntimeError, match="running other jobs"):
        next(pool.run([(3, HELLO)]))
    assert len(list(running)) == 1


def test_a_worker_that_is_killed_is_an_error_of_the_sandbox_and_the_next_job_gets_another() -> None:
    with Pool(1, LIMITS, accept_level_c=True) as pool:
        list(pool.run([(1, HELLO)]))
        process = pool._workers[0]._process
        assert process is not None
        jobs = iter([(2, SLEEP), (3, HELLO)])

        def killing() -> Iterator[tuple[int, Job]]:
            yield next(jobs)
            time.sleep(0.3)
            os.kill(process.pid, signal.SIGKILL)
            yield next(jobs)

        found = dict(pool.run(killing()))

    assert found[2].ending is Ending.sandbox_error
    assert found[2].detail
    assert found[3].stdout == b"hello you\n"


@pytest.mark.parametrize(
    "raised", [UnicodeDecodeError("utf-8", b"", 0, 1, "why"), RecursionError("why"), SystemExit(1)]
)
def test_whatever_is_raised_the_caller_gets_a_result(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(self: Worker, job: Job, limits: Limits) -> None:
        raise raised

    def break_again(self: Worker) -> None:
        raise ValueError("again")

    with Pool(1, LIMITS, accept_level_c=True) as pool:
        list(pool.run([(0, HELLO)]))
        stop = Worker.stop
        with monkeypatch.context() as patched:
            patched.setattr(Worker, "run", break_down)
            patched.setattr(Worker, "stop", break_again)
            ((_, ran),) = pool.run([(1, HELLO)])
        stop(pool._workers[0])
        assert ran.ending is Ending.sandbox_error
        assert "why" in ran.detail or "1" in ran.detail
        assert [ran.stdout for _, ran in pool.run([(1, HELLO)])] == [b"hello you\n"]


def test_tests_that_do_not_parse_are_an_error_of_the_sandbox(pool: Pool) -> None:
    ((_, ran),) = pool.run([(1, Job("def f(): pass", Kind.asserts, tests="assert (", proof=Proof))])
    assert ran.ending is Ending.sandbox_error
    assert "SyntaxError" in ran.detail


def test_clearing_up_that_takes_long_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import os\nfor n in range(3000): os.mkdir(str(n))\nprint('through')"
    with Pool(1, LIMITS, accept_level_c=True, level=Level.C) as pool:
        list(pool.run([(0, HELLO)]))
        before = pool._workers[0]._process
        with monkeypatch.context() as patched:
            patched.setattr("peft_study.sandbox.watch.LEAVE_SECONDS", 1e-6)
            ((_, ran),) = pool.run([(1, Job(source, Kind.script))])
        assert (ran.ending, ran.stdout) == (Ending.exited, b"through\n")
        assert [ran.stdout for _, ran in pool.run([(2, HELLO)])] == [b"hello you\n"]
        assert pool._workers[0]._process is not before


def test_limits_of_time_hold_to_a_fraction_of_a_second(pool: Pool) -> None:
    ((_, slept),) = pool.run([(1, SLEEP)])
    ((_, looped),) = pool.run([(1, Job("while True: pass", Kind.script))])
    assert (slept.ending, looped.ending) == (Ending.timeout, Ending.timeout)
    assert 1.9 < slept.seconds < 3
    assert looped.seconds < 2.5


def test_output_is_cut_at_its_limit_and_errors_keep_their_end(pool: Pool) -> None:
    ((_, flood),) = pool.run([(1, Job("while True: print('x' * 1000)", Kind.script))])
    assert flood.ending is Ending.output_limit
    assert len(flood.stdout) == LIMITS.output_bytes
    ((_, loud),) = pool.run([(1, Job("import sys; sys.stderr.write('x' * 9000 + 'end')", Kind.script))])
    assert loud.ending is Ending.exited
    assert loud.stderr.endswith(b"xend")
    assert len(loud.stderr) < 5000


def test_more_input_than_a_pipe_holds_is_read_or_not(pool: Pool) -> None:
    much = b"1\n" * 500_000
    ((_, read),) = pool.run([(1, Job("import sys; print(len(sys.stdin.read()))", Kind.script, stdin=much))])
    ((_, ignored),) = pool.run([(1, replace(HELLO, source="print('hello')", stdin=much))])
    assert (read.stdout, ignored.stdout) == (b"1000000\n", b"hello\n")


def test_a_program_of_megabytes_and_one_that_is_no_text_get_through(pool: Pool) -> None:
    source = "#" * 5_000_000 + "\nprint(len('\ud800'))"
    ((_, refused),) = pool.run([(1, Job(source, Kind.script))])
    ((_, ran),) = pool.run([(1, Job(source.replace("\ud800", "x"), Kind.script))])
    assert (refused.ending, refused.exit_code) == (Ending.exited, 1)
    assert ran.stdout == b"1\n"


def test_a_traceback_begins_in_the_program(pool: Pool) -> None:
    ((_, ran),) = pool.run([(1, Job("def f(): raise ValueError('why')\nf()", Kind.script))])
    assert ran.exit_code == 1
    assert ran.stderr.startswith(b'Traceback (most recent call last):\n  File "main.py", line 2, in <module>\n')
    assert ran.stderr.endswith(b"ValueError: why\n")


def test_sets_have_the_same_order_in_every_worker(pool: Pool) -> None:
    job = Job("print({'a', 'b', 'c', 'd', 'e'})", Kind.script)
    assert len({ran.stdout for _, ran in pool.run(enumerate([job] * 6))}) == 1


def test_level_c_is_refused_unless_it_is_accepted() -> None:
    with pytest.raises(UserError, match="level C"):
        Pool(1, LIMITS, level=Level.C)
    with Pool(1, LIMITS, level=Level.C, accept_level_c=True) as pool:
        assert (pool.level, pool.layers) == (Level.C, ["rlimits"])
        assert [ran.stdout for _, ran in pool.run([(1, HELLO)])] == [b"hello you\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is only level C")
def test_attacks_that_succeed_take_the_level_down(tmp_path: Path) -> None:
    plan = {"level": "C", "work": str(tmp_path), "inner_id": None, "file_bytes": 1 << 20, "beyond_bytes": 1 << 30}

    segments = Path("/proc/sysvipc/shm").read_text()

    reached = reach(lambda level, own_user: Worker(plan), Level.A)

    # Shared memory of System V outlives the programs that make it.
    assert Path("/proc/sysvipc/shm").read_text() == segments
    assert (reached.level, reached.layers) == (Level.C, ["rlimits"])
    assert len(reached.denied) >= 2
    for reason in reached.denied:
        assert "a program could read a file outside" in reason
        assert "connect to a port" in reason
        assert "write a file outside" in reason
        assert "make shared memory" in reason


@pytest.mark.parametrize("number", [0, 65])
def test_no_workers_and_more_than_have_users_are_refused(number: int) -> None:
    with pytest.raises(UserError, match=rf"workers must be .* got {number}"):
        Pool(number, LIMITS)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e300, 2**63])
@pytest.mark.parametrize("limit", ["cpu_seconds", "memory_bytes", "processes"])
def test_limits_that_no_machine_takes_are_refused(limit: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{limit} must be above 0"):
        Limits(**{limit: value})


def test_work_folders_go_with_the_pool() -> None:
    with Pool(1, LIMITS, accept_level_c=True) as pool:
        list(pool.run([(1, HELLO)]))
        folder = pool._folder
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="workers are found by /proc")
def test_nothing_outlives_a_pool_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import sys, threading, time\n"
        "from peft_study.sandbox.pool import *\n"
        "pool = Pool(2, Limits(wall_seconds=60), accept_level_c=True)\n"
        "jobs = [(n, Job('import time; time.sleep(50)', Kind.script)) for n in range(2)]\n"
        "threading.Thread(target=list, args=(pool.run(jobs),), daemon=True).start()\n"
        "time.sleep(1)\n"
        "print('running', flush=True)\n"
        "time.sleep(60)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {"PYTHONPATH": root, "TMPDIR": str(tmp_path), "PATH": os.defpath}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        workers = _below(process.pid)
        assert len(workers) >= 4  # two that fork, two that sleep
        process.kill()
    deadline = time.monotonic() + 5
    while (left := [pid for pid in workers if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _below(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *_below(child)]
    return found


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
