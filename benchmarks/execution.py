"""Running generations in the sandbox's pool, against one `multiprocessing` process and manager a generation.

    python -m benchmarks.execution
    python -m benchmarks.execution --light
    python -m benchmarks.execution --generations 3750 --turns 15 --slow-generations 20 --single-tests 300

The other arms follow the published checker of APPS (eval/testing_util.py and test_one_solution.py): a `Manager` holds
the result, a forked `Process` runs the program with redirected output, and the parent joins it. The first runs one
generation after the other, like APPS. The second runs as many threads as there are cores, like the metric `code_eval`
of Hugging Face.

A fork costs more if the process holds more memory. All arms run in a process that has loaded torch and transformers,
like a cell that scores its candidates. With --light the process has loaded numpy only, as the published checkers do.

The arms take turns, so that other work on the machine slows all of them. The slow arms run fewer generations a turn,
and the benchmark compares rates.

The overhead of a test is the time that the caller waits for a trivial program on a warm worker.
"""

import argparse
import contextlib
import io
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy  # noqa: F401

from benchmarks import record
from peft_study.sandbox.cores import available_cores
from peft_study.sandbox.pool import Job, Kind, Level, Limits, Pool

_SOURCE = "print(int(input()) + {number})"
_STDIN = b"1\n"
_TIMEOUT_SECONDS = 8


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=3750, help="generations of the pool, over all turns")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--slow-generations", type=int, default=20, help="generations of each other arm, in each turn")
    parser.add_argument("--single-tests", type=int, default=300)
    parser.add_argument("--light", action="store_true", help="load only numpy in the parent")
    options = parser.parse_args()
    if not options.light:
        import torch  # noqa: F401
        import transformers.trainer  # noqa: F401
    started = time.perf_counter()
    with Pool(None, Limits()) as pool:
        start_seconds = time.perf_counter() - started
        a_turn = options.generations // options.turns
        arms: dict[str, tuple[Callable[[int], None], int]] = {
            "pool": (lambda count: in_pool(pool, count), a_turn),
            "process_and_manager": (one_by_one, options.slow_generations),
            "process_and_manager_in_threads": (in_threads, options.slow_generations),
        }
        rates: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(options.turns):
            for name, (run, count) in arms.items():
                started = time.perf_counter()
                run(count)
                rates[name].append(round(count / (time.perf_counter() - started), 1))
        level = pool.level
    medians = {name: statistics.median(values) for name, values in rates.items()}
    figures = {
        "level": str(level),
        "workers": available_cores(),
        "pool_start_seconds": round(start_seconds, 3),
        "generations": {name: count * options.turns for name, (_, count) in arms.items()},
        "generations_a_second": rates,
        "median_generations_a_second": medians,
        "ratio_to_process_and_manager": round(medians["pool"] / medians["process_and_manager"], 1),
        "ratio_to_process_and_manager_in_threads": round(
            medians["pool"] / medians["process_and_manager_in_threads"], 1
        ),
        "overhead_of_a_test_ms": {name: overhead_ms(name, options.single_tests) for name in Level if name >= level},
    }
    record.write("execution-light" if options.light else "execution", figures, ("numpy", "torch", "transformers"))


def in_pool(pool: Pool, count: int) -> None:
    """Run every generation once, and check its output."""
    sources = {number: _SOURCE.format(number=number) for number in range(count)}
    jobs = ((number, Job(source, Kind.script, stdin=_STDIN)) for number, source in sources.items())
    answers = {number: int(ran.stdout) for number, ran in pool.run(jobs)}
    assert answers == {number: number + 1 for number in range(count)}


def one_by_one(count: int) -> None:
    """Run one generation after the other."""
    assert all(map(_in_process, range(count)))


def in_threads(count: int) -> None:
    """Run as many generations at a time as there are cores."""
    with ThreadPoolExecutor(available_cores()) as threads:
        assert all(threads.map(_in_process, range(count)))


def overhead_ms(level: Level, count: int) -> dict[str, float]:
    """Median and 95th percentile of the wait for one test on a warm worker, in milliseconds."""
    waits = []
    with Pool(1, Limits(), level=level, accept_level_c=True) as pool:
        for number in range(count + 20):
            started = time.perf_counter()
            list(pool.run([(number, Job(_SOURCE.format(number=number), Kind.script, stdin=_STDIN))]))
            waits.append(1000 * (time.perf_counter() - started))
    warm = sorted(waits[20:])
    return {"median": round(statistics.median(warm), 2), "95th_percentile": round(warm[int(0.95 * len(warm))], 2)}


def _in_process(number: int) -> bool:
    with multiprocessing.Manager() as manager:
        result = manager.list()
        process = multiprocessing.Process(target=_execute, args=(_SOURCE.format(number=number), result))
        process.start()
        process.join(_TIMEOUT_SECONDS)
        if process.is_alive():
            process.kill()
        return bool(result and int(result[0]) == number + 1)


def _execute(source: str, result: Any) -> None:
    sys.stdin = io.StringIO(_STDIN.decode())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {"__name__": "__main__"})  # noqa: S102 - the arm that is compared with
    result.append(out.getvalue())


if __name__ == "__main__":
    main()
