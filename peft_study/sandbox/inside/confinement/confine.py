"""Confines a worker and its children.

At level A, a worker is process 1 of new namespaces, and one call kills all leftovers of a test. At levels B and C, a
worker adopts the orphans of its children. It kills them by their user if that user is separate, otherwise one by one.
"""

import os
import re
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from peft_study.sandbox.inside.confinement import kernel, landlock, leftovers, namespaces, seccomp
from peft_study.sandbox.inside.confinement.interpreter import DEVICES, Files, needed
from peft_study.sandbox.inside.confinement.namespaces import ABOVE_WORK, INNER_ID, WORK
from peft_study.sandbox.inside.confinement.packages_inside import FOLDER

FIRST_KEPT = 6
"""The first descriptor after those of the child."""
_STACK_BYTES = 128 << 20
_OPEN_FILES = 64
_RULESET = 100
_IN_NAMESPACE = 2
# Allowance for other processes of the same user, if the kernel counts all tasks of a user.
_TASKS_TO_COME = 256


class Confinement:
    """The restrictions of a worker's children.

    Args:
        work: the work folder, where children start and may write.
        work_bytes: size of the work folder, if it is a separate mount.
        inner_id: the user that children become, or None.
        beyond_bytes: address space of a process above the memory limit.

    Attributes:
        layers: names of the active layers.
        kept_descriptors: number of descriptors from FIRST_KEPT on that children keep. They are folders of the
            interpreter that the user of programs cannot open.
        own_namespace: this process is process 1 of a new namespace.
        tasks_of_others: tasks that the kernel counts in addition to those of a test. None sets no limit on tasks.
        ruleset: descriptor for `landlock.restrict`.
        filter: program for `seccomp.with_pid`. Empty at level C.
    """

    def __init__(self, work: str, work_bytes: int, inner_id: int | None, beyond_bytes: int) -> None:
        self.work, self.work_bytes, self.inner_id, self.beyond_bytes = work, work_bytes, inner_id, beyond_bytes
        self.layers = ["rlimits"]
        self.kept_descriptors = 0
        self.own_namespace = False
        self.tasks_of_others: int | None = None
        self.ruleset: int | None = None
        self.filter = b""

    def enter(self, limits: dict[str, Any]) -> None:
        """Confine a child, before it reads its program.

        Args:
            limits: the fields of `Limits`.

        Raises:
            OSError: the machine denies a layer.
        """
        os.chdir(self.work)
        self._limit(limits)
        # Groups first: after the change of user, the process may no longer change them.
        if self.inner_id is not None:
            os.setgroups([])
            os.setresgid(self.inner_id, self.inner_id, self.inner_id)
            os.setresuid(self.inner_id, self.inner_id, self.inner_id)
        # Around the ruleset, which is needed until `restrict`.
        os.closerange(FIRST_KEPT + self.kept_descriptors, _RULESET)
        os.closerange(_RULESET + 1, 1 << 20)
        if not self.filter:
            return
        if not self.own_namespace:  # a namespace ends with process 1, so its processes need no signal
            kernel.die_with_parent()
        kernel.drop_capabilities()
        if self.ruleset is not None:
            landlock.restrict(self.ruleset)
            os.close(self.ruleset)
        # Last, because the filter refuses the calls above.
        kernel.install_filter(seccomp.with_pid(self.filter, os.getpid()))

    def _limit(self, limits: dict[str, Any]) -> None:
        # The kernel counts whole seconds of one process. The parent measures the fraction and all processes together.
        _at_most(resource.RLIMIT_CPU, int(-(-limits["cpu_seconds"] // 1)) + 1)
        _at_most(resource.RLIMIT_AS, limits["memory_bytes"] + self.beyond_bytes)
        _at_most(resource.RLIMIT_FSIZE, limits["file_bytes"])
        _at_most(resource.RLIMIT_NOFILE, _OPEN_FILES)
        if self.tasks_of_others is not None:
            _at_most(resource.RLIMIT_NPROC, limits["processes"] + self.tasks_of_others)

    def kill_all(self) -> None:
        """Kill all processes of the test."""
        if self.own_namespace:
            # Process 1 of a namespace reaches all others in it, however often they have forked (kill(2)).
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        elif self.inner_id is not None:
            leftovers.kill_user(self.inner_id)
        else:
            leftovers.kill_descendants()

    def clear(self) -> bool:
        """Remove the processes and files that a test left.

        Returns:
            False if something remains. The worker must then be replaced.
        """
        return leftovers.reap(self.kill_all) and self._wipe()

    def _wipe(self) -> bool:
        os.chmod(self.work, 0o700)  # the program may have changed it
        with os.scandir(self.work) as listing:
            if next(listing, None) is None:
                return True
        if self.own_namespace:
            namespaces.replace_work(self.work_bytes)
            return True
        return leftovers.empty(self.work)


def prepare(plan: dict[str, Any], control: socket.socket) -> Confinement:
    """Confine this worker. At level A, it returns in a child of the calling process.

    Args:
        plan: `level`, `work` (the work folder), `inner_id` (the user that programs run as, None for the same user),
            `file_bytes` and `beyond_bytes`. With packages also `packages` and `packages_folder`.
        control: the socket to the pool.

    Returns:
        the restrictions of its children.

    Raises:
        OSError: the machine denies a layer.
    """
    _at_most(resource.RLIMIT_STACK, _STACK_BYTES, hard_too=False)  # programs that nest deeply raise it
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        _at_most(limit, 0)
    level = plan["level"]
    confinement = Confinement(plan["work"], plan["file_bytes"], plan["inner_id"], plan["beyond_bytes"])
    folders = plan.get("packages", [])
    if folders:
        sys.path.append(FOLDER if level == "A" else plan["packages_folder"])
    if level == "C":
        if sys.platform == "linux":
            kernel.adopt_orphans()
        return confinement
    files = needed()
    sys.executable = os.path.realpath(sys.executable)
    if level == "A":
        _enter_namespaces(confinement, files, plan, control)
    else:
        if confinement.inner_id is not None and not all(map(_open_to_all, folders)):
            raise OSError("the user of programs cannot reach the folder of a package")
        _stay_outside(confinement, files)
        files = files._replace(read=[*files.read, *folders, *([plan["packages_folder"]] if folders else [])])
    _add_landlock(confinement, files, needed=level == "B")
    if not seccomp.available():
        raise OSError(f"system calls of {os.uname().machine} are not listed")
    contained = confinement.own_namespace or confinement.inner_id is not None
    confinement.filter = seccomp.child_program(
        processes=contained,
        signals=contained or landlock.scopes_signals(),
        rights=contained,
        times=confinement.own_namespace,
    )
    # Without privileges, the kernel installs a filter only after this (seccomp(2)).
    kernel.no_new_privileges()
    kernel.install_filter(seccomp.worker_program())
    confinement.layers += ["seccomp", "no capabilities", "no new privileges"]
    return confinement


def _at_most(limit: int, value: int, *, hard_too: bool = True) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(limit, (value, value if hard_too else hard))
    except (OSError, ValueError):
        if sys.platform == "linux":  # other kernels define some limits without supporting them
            raise


def _enter_namespaces(confinement: Confinement, files: Files, plan: dict[str, Any], control: socket.socket) -> None:
    namespaces.enter(control)
    namespaces.build_root(files, plan["work"], plan["file_bytes"], plan.get("packages", []))
    confinement.work = WORK
    confinement.own_namespace = True
    confinement.inner_id = INNER_ID if plan["inner_id"] is not None else None
    # Without a separate user, the kernel also counts this process and the one that waits for it.
    confinement.tasks_of_others = 0 if confinement.inner_id is not None else _tasks_beside(_IN_NAMESPACE)
    confinement.layers += [f"{name} namespace" for name in ("user", "mount", "pid", "network", "ipc")]
    confinement.layers.append("private root")
    if confinement.inner_id is not None:
        confinement.layers.append("own user")


def _stay_outside(confinement: Confinement, files: Files) -> None:
    kernel.adopt_orphans()
    if confinement.inner_id is None:
        # Programs run as the user of this worker then.
        kernel.hide_memory()
        confinement.tasks_of_others = _tasks_beside(None)
        return
    confinement.tasks_of_others = 0
    confinement.layers.append("own user")
    _reach_interpreter(confinement, files)


def _tasks_beside(in_namespace: int | None) -> int:
    """Number of tasks that the kernel's limit on processes counts in addition to those of a test."""
    # From Linux 5.14 on, the limit counts per user namespace.
    major, minor = map(int, re.findall(r"\d+", os.uname().release)[:2])
    if in_namespace is not None and (major, minor) >= (5, 14):
        return in_namespace
    tasks = 0
    for process in os.listdir("/proc"):
        with suppress(OSError):
            if process.isdecimal() and os.stat(f"/proc/{process}").st_uid == os.getuid():
                tasks += len(os.listdir(f"/proc/{process}/task"))
    return tasks + _TASKS_TO_COME


def _reach_interpreter(confinement: Confinement, files: Files) -> None:
    """Replace import paths that other users cannot reach by descriptors that stay open."""
    for position, path in enumerate(sys.path):
        if os.path.isdir(path) and not _open_to_all(path):
            fd = os.open(path, os.O_PATH)
            number = FIRST_KEPT + confinement.kept_descriptors
            os.dup2(fd, number)
            os.close(fd)
            sys.path[position] = f"/proc/self/fd/{number}"
            for module in list(sys.modules.values()):  # loaded packages remember the folders of their submodules
                for index, folder in enumerate(getattr(module, "__path__", [])):
                    if f"{folder}/".startswith(f"{path}/"):
                        module.__path__[index] = f"{sys.path[position]}{folder.removeprefix(path)}"
            confinement.kept_descriptors += 1
    sys.path_importer_cache.clear()


def _open_to_all(path: str) -> bool:
    """Whether any user may traverse every folder down to this one."""
    while os.stat(path).st_mode & 0o001:
        if path == "/":
            return True
        path = os.path.dirname(path)
    return False


def _add_landlock(confinement: Confinement, files: Files, *, needed: bool) -> None:
    try:
        work = ABOVE_WORK if confinement.own_namespace else confinement.work
        # Inside a private root, hidden folders are covered by empty mounts.
        read = [*files.read, FOLDER] if confinement.own_namespace and os.path.isdir(FOLDER) else files.read
        fd = landlock.ruleset(read, [] if confinement.own_namespace else files.hidden, [work], DEVICES)
    except OSError as error:
        if needed:
            raise OSError(f"no Landlock: {error}") from error
        return
    confinement.ruleset = os.dup2(fd, _RULESET, inheritable=False)
    os.close(fd)
    confinement.layers.append(f"Landlock {landlock.version()}")
