"""A pool of workers that run untrusted programs, each test in a process of its own.

A worker is one interpreter that forks a child a test (`worker`); the parent, here, gives it programs and inputs, reads
pipes, watches what is used (`watch`), and alone knows what answers are expected. What a program may touch:

- Level A. The worker is process 1 of its own user, mount, process, network and ipc namespaces (`namespaces`). Its root
  holds the standard library, the interpreter, the shared libraries' folders and five devices, read-only; no /proc, no
  network, not even a loopback that is up; one work folder of limited size. With everything of level B.
- Level B. Landlock leaves the same files readable and one work folder writable (`landlock`); a seccomp filter leaves
the
  system calls that programs need, without sockets, foreign processes, keys, io_uring and the like (`seccomp`); no
  capabilities, an empty environment, limits of resources. For root, a user of its own besides, without which a
  program can start threads and no processes, and change no file's rights by its path.
- Level C. Limits of resources alone, refused unless the caller accepts it.

The level is found by attacks (`probe`). After each test every process of it is killed and the work folder emptied; a
worker that cannot do so is replaced. Programs see the standard library and the packages asked for, and sets of text
have the same order in every run.

What remains. The kernel is shared: a hole in it is a hole here. At level B a program can ask whether a path exists and
how large it is. Memory is looked at every 20 ms, so that a program can be above its limit for so long, though never by
more than 1 GiB a process. What waits in sockets and pipes is the kernel's memory and is not counted: at most a few
megabytes for each of a process's 64 descriptors. Nor is, at level B, a file that was removed and lives on in a mapping
alone or in a message of a socket, nor, without a user of its own, one that is removed and still open. CPU time of
processes that live shorter than a look, and whose parent never waits for them, is limited by wall-clock time alone.
/proc is missing, so that `open` and `os.open` alone find /dev/stdin, /dev/stdout and /dev/fd (`streams`), and
`os.path.exists` does not. What a program can do to assertions that run beside it is said in `assertions`.
"""

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
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

_AHEAD = 2
"""Jobs taken from the caller and not yet given back, for each worker."""


class Pool:
    """Runs jobs on several workers at once; a context manager.

    Args:
        workers: how many; None is one for each core that this process may use.
        limits: for every test.
        accept_level_c: go on where this machine contains nothing but resources.
        level: hold layers back, to behave as a machine that denies them does.
        packages: installed packages that programs may import, among `packages.ALLOWED`.

    Attributes:
        level: how far programs are contained, found by trying to get out.
        layers: the names of the layers that hold.
        denied: why each higher level was not reached.

    Raises:
        UserError: only level C is reached, and nobody accepted that.
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
        if workers is not None and workers < 1:
            raise UserError(f"{workers} workers", where="workers", hint="1 or more, or none for one a core")
        if workers is not None and workers > MOST_WORKERS:
            raise UserError(
                f"{workers} workers", where="workers", hint=f"at most {MOST_WORKERS}: each has a user of its own"
            )
        self._number = workers or min(available_cores(), MOST_WORKERS)
        self._limits = limits
        self._folder = Path(tempfile.mkdtemp(prefix="peft-study-execution-"))
        self._folder.chmod(0o711)  # a program's own user has to get to its work folder
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
        self.level = reached.level
        self.layers = reached.layers
        self.denied = reached.denied
        self._inbox: queue.SimpleQueue[tuple[Hashable, Job] | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[Hashable, TestResult]] = queue.SimpleQueue()
        self._stopping = self._running = self._abandoned = False
        self._workers = [self._worker(reached.level, reached.own_user) for _ in range(self._number)]
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, jobs: Iterable[tuple[Hashable, Job]]) -> Iterator[tuple[Hashable, TestResult]]:
        """Run jobs and give back how each ended, in whatever order they end.

        Args:
            jobs: taken one by one, not much earlier than they run; the first of a pair comes back with its result.

        Yields:
            Each job's first and how it ended.
        """
        if self._running:
            raise RuntimeError("the pool is running other jobs")
        waiting = iter(jobs)
        self._running = True
        open_jobs, more = 0, True
        try:
            while more or open_jobs:
                while more and open_jobs < _AHEAD * self._number:
                    job = next(waiting, None)
                    if job is None:
                        more = False
                        break
                    self._inbox.put(job)
                    open_jobs += 1
                if open_jobs:
                    result = self._outbox.get()
                    open_jobs -= 1
                    yield result
        finally:
            if open_jobs:
                self._abandon(open_jobs)
            self._running = False

    def _abandon(self, open_jobs: int) -> None:
        """The caller left in the middle: end what runs, forget what waits."""
        self._abandoned = True
        with suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()
                open_jobs -= 1
        for worker in self._workers:
            worker.interrupt()
        for _ in range(open_jobs):
            self._outbox.get()
        self._abandoned = False

    def close(self) -> None:
        """End every worker and everything that runs in one, and remove the work folders."""
        if self._stopping:
            return
        self._stopping = True
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join()
        self._remove_folder()

    def _remove_folder(self) -> None:
        with suppress(OSError):  # links alone
            shutil.rmtree(self._folder / "packages")
        with suppress(Exception):  # whatever programs made of it: nothing more can be done here
            leftovers.empty(str(self._folder))
            self._folder.rmdir()

    def _worker(self, level: Level, own_user: bool) -> Worker:
        work = Path(tempfile.mkdtemp(dir=self._folder))
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
        # The kernel ends a worker with the thread that started it, which is why each has its own.
        try:
            while (item := self._inbox.get()) is not None:
                key, job = item
                given_up = TestResult(Ending.sandbox_error, detail="the caller went away")
                self._outbox.put((key, given_up if self._abandoned else _attempt(worker, job, self._limits)))
        finally:
            with suppress(Exception):
                worker.stop()


def _attempt(worker: Worker, job: Job, limits: Limits) -> TestResult:
    """Run a job; a worker that is lost is an error of the sandbox, never an answer of the program."""
    try:
        if not worker.alive:
            worker.start()
        return worker.run(job, limits)
    except WorkerLostError as error:
        reason = str(error)
    except BaseException as error:  # a test that is no Python, say: the others still run, and somebody waits for this
        reason = f"{type(error).__name__}: {error}"
    with suppress(Exception):  # it is started anew, and then stopped before
        worker.stop()
    return TestResult(Ending.sandbox_error, detail=reason)


def _refusal(denied: list[str], *, held_back: bool) -> UserError:
    if held_back:
        what = "level C contains resources only: a program could read, write and send whatever you can"
    else:
        what = "this machine does not contain untrusted programs: they could read, write and send whatever you can"
    reasons = "".join(f"\n         {reason}" for reason in denied)
    return UserError(
        what,
        where=f"the sandbox{reasons}",
        hint="a Linux machine that allows user namespaces or Landlock; or accept level C, for programs that you trust",
    )
