"""A pool of workers that run untrusted programs, each test in its own process.

A worker (`inside.worker`) forks one child per test. The parent sends programs and inputs, reads pipes, and watches
resource use (`watch`). Only the parent knows the expected answers.

Covered:

- Other processes, the network and the file system outside the work folder (levels A and B).
- CPU time, wall-clock time, memory, output, files and processes of a test.
- What a test leaves behind: its processes are killed and the work folder is emptied. A worker that fails to do so is
  replaced.
- Determinism: each test has an empty environment and a fixed hash seed.

Levels, found by running attacks (`probe`):

- A: user, mount, process, network and IPC namespaces (`namespaces`), plus everything of level B. The root is read-only
  and holds the interpreter, its libraries and five devices. There is no /proc and no network interface that is up.
- B: Landlock limits the file system (`landlock`), and a seccomp filter limits system calls (`seccomp`). The process
  has no capabilities. If the parent is root, each worker also gets a separate user. Without a separate user, a program
  can start threads but no processes, and cannot change a file's permissions by its path.
- C: resource limits only. The pool refuses this level unless the caller accepts it.

Not covered:

- Bugs in the kernel, which all programs share.
- At level B, whether a path exists and how large the file is.
- Short peaks of memory: usage is read every 20 ms. The address space of a process ends at the limit plus 1 GiB.
- Kernel memory of sockets and pipes: a few megabytes for each of the 64 descriptors of a process.
- At level B, removed files that live on in a mapping or in a socket's message. Without a separate user, also removed
  files that are still open.
- CPU time of processes that end between two readings and that no parent waits for. Wall-clock time limits them.
- What a program does to assertions that run in its process: see `judging.asserts.assertions`.

/proc is missing at levels A and B. `open` and `os.open` still find /dev/stdin, /dev/stdout and /dev/fd (`streams`),
but `os.path.exists` does not. `docs/trust.md` lists the tests that check all of this.
"""

import itertools
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from peft_study.errors import UserError
from peft_study.sandbox.cores import available_cores
from peft_study.sandbox.inside.confinement import leftovers
from peft_study.sandbox.inside.confinement.namespaces import INNER_ID
from peft_study.sandbox.jobs import Ending, Job, Kind, Level, Limits, TestResult
from peft_study.sandbox.packages import check_packages, folders_of, link_packages
from peft_study.sandbox.probe import reach
from peft_study.sandbox.session import Worker
from peft_study.sandbox.usage import BEYOND_UNWATCHED_BYTES, BEYOND_WATCHED_BYTES, can_watch
from peft_study.sandbox.users import MOST_WORKERS, map_users, next_user
from peft_study.sandbox.watch import WorkerLostError

__all__ = ["Ending", "Job", "Kind", "Level", "Limits", "Pool", "TestResult"]

# Jobs per worker that are taken from the caller and not yet returned: a worker never waits, and few sources are held.
_AHEAD = 2


class Pool:
    """Run jobs on several workers at once. A context manager.

    Args:
        workers: number of workers. None means one per available core.
        limits: limits of every test.
        accept_level_c: run programs even if this machine can limit only resources.
        level: highest level to try. A lower one behaves as a machine that denies the others.
        packages: installed packages that programs may import, among `packages.ALLOWED`.

    Attributes:
        level: the level reached, found by running attacks.
        layers: names of the active layers.
        denied: why each higher level was not reached.

    Raises:
        UserError: `workers` is out of range, a package is not available, or only level C is reached and the caller
            does not accept it.
    """

    def __init__(
        self,
        workers: int | None,
        limits: Limits,
        *,
        accept_level_c: bool = False,
        level: Level | None = None,
        packages: Sequence[str] = (),
    ) -> None:
        check_packages(packages, "packages")
        if workers is not None and not 1 <= workers <= MOST_WORKERS:
            # Each worker needs a separate user, and `users` reserves MOST_WORKERS of them for a process.
            raise UserError(
                f"workers must be between 1 and {MOST_WORKERS}, got {workers}",
                where="workers",
                hint="leave it out for one worker per core",
            )
        self._number = workers or min(available_cores(), MOST_WORKERS)
        self._limits = limits
        self._folder = Path(tempfile.mkdtemp(prefix="peft-study-sandbox-"))
        self._folder.chmod(0o711)  # the user of a program must reach its work folder
        self._packages = folders_of(packages)
        try:
            if self._packages:
                link_packages(self._packages, self._folder / "packages")
            reached = reach(self._worker, level or Level.A)
            if reached.level is Level.C and not accept_level_c:
                raise _refusal(reached.denied, held_back=level is Level.C)
        except BaseException:
            self._remove_folder()
            raise
        self.level, self.layers, self.denied = reached.level, reached.layers, reached.denied
        self._inbox: queue.SimpleQueue[tuple[Hashable, Job] | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[Hashable, TestResult]] = queue.SimpleQueue()
        self._stopping = self._running = self._abandoned = False
        self._workers = [self._worker(reached.level, reached.own_user) for _ in range(self._number)]
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, jobs: Iterable[tuple[Hashable, Job]]) -> Iterator[tuple[Hashable, TestResult]]:
        """Run jobs and yield their results in order of completion.

        Args:
            jobs: pairs of a key and a job. They are drawn lazily, shortly before they run.

        Yields:
            Pairs of the key and the result.

        Raises:
            RuntimeError: another call of `run` is not finished.
        """
        # Both calls would read the same outbox, and each would get results of the other.
        if self._running:
            raise RuntimeError("the pool is running other jobs")
        waiting = iter(jobs)
        self._running = True
        open_jobs = 0
        try:
            while True:
                for job in itertools.islice(waiting, _AHEAD * self._number - open_jobs):
                    self._inbox.put(job)
                    open_jobs += 1
                if not open_jobs:
                    return
                result = self._outbox.get()
                open_jobs -= 1
                yield result
        finally:
            if open_jobs:
                self._abandon(open_jobs)
            self._running = False

    def _abandon(self, open_jobs: int) -> None:
        """Stop running jobs and drop waiting ones after the caller has left the loop early."""
        self._abandoned = True
        with suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()
                open_jobs -= 1
        # Their threads wait for programs that may run for another `wall_seconds`.
        for worker in self._workers:
            worker.interrupt()
        for _ in range(open_jobs):
            self._outbox.get()
        self._abandoned = False

    def close(self) -> None:
        """Stop all workers and the programs in them, and remove the work folders."""
        if self._stopping:
            return
        self._stopping = True
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join()
        self._remove_folder()

    def _remove_folder(self) -> None:
        with suppress(OSError):  # holds only links
            shutil.rmtree(self._folder / "packages")
        # By descriptors, because a program may have nested folders deeper than a path may be long.
        with suppress(Exception):  # a program may have made it unremovable
            leftovers.empty(str(self._folder))
            self._folder.rmdir()

    def _worker(self, level: Level, own_user: bool) -> Worker:
        work = Path(tempfile.mkdtemp(dir=self._folder))
        # RLIMIT_NPROC counts by user and is ignored for root, so workers of a root parent do not share a user.
        user = next_user() if own_user else None
        if user is not None:
            os.chown(work, user, user)
        plan: dict[str, Any] = {
            "level": str(level),
            "work": str(work),
            "inner_id": user,
            "file_bytes": self._limits.file_bytes,
            "beyond_bytes": BEYOND_WATCHED_BYTES if can_watch() else BEYOND_UNWATCHED_BYTES,
        }
        if self._packages:
            plan |= {"packages": self._packages, "packages_folder": str(self._folder / "packages")}
        return Worker(plan, lambda pid: map_users(pid, user, INNER_ID))

    def _serve(self, worker: Worker) -> None:
        # The kernel kills a worker when the thread that started it ends (PR_SET_PDEATHSIG): one thread per worker.
        try:
            while (item := self._inbox.get()) is not None:
                key, job = item
                cancelled = TestResult(Ending.sandbox_error, detail="the caller went away")
                self._outbox.put((key, cancelled if self._abandoned else _attempt(worker, job, self._limits)))
        finally:
            with suppress(Exception):
                worker.stop()


def _attempt(worker: Worker, job: Job, limits: Limits) -> TestResult:
    """Run a job. A lost worker counts as an error of the sandbox, never as an answer of the program."""
    try:
        if not worker.alive:
            worker.start()
        return worker.run(job, limits)
    except WorkerLostError as error:
        reason = str(error)
    except BaseException as error:
        # For example tests that do not parse: the other jobs still run, and the caller waits for this result.
        reason = f"{type(error).__name__}: {error}"
    with suppress(Exception):  # `start` stops it again
        worker.stop()
    return TestResult(Ending.sandbox_error, detail=reason)


def _refusal(denied: list[str], *, held_back: bool) -> UserError:
    if held_back:
        what = "level C limits resources only: a program could read, write and send everything that you can"
    else:
        what = "this machine cannot contain untrusted programs: they could read, write and send everything that you can"
    reasons = "".join(f"\n         {reason}" for reason in denied)
    return UserError(
        what,
        where=f"the sandbox{reasons}",
        hint="use a Linux machine with user namespaces or Landlock, or accept level C for programs that you trust",
    )
