"""A worker's own view of the machine: no other process, no network, and of the file system an interpreter alone."""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence

from peft_study.sandbox.inside import frames
from peft_study.sandbox.inside.confinement import kernel
from peft_study.sandbox.inside.confinement.interpreter import DEVICES, Files
from peft_study.sandbox.inside.confinement.packages_inside import FOLDER

INNER_ID = 1000
"""The user and group that programs run as, as they see it."""
ABOVE_WORK = "/home"
WORK = f"{ABOVE_WORK}/work"
"""A mount of its own below a folder that stays: Landlock opens the folder, through whatever is mounted in it."""
_NEEDED = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
_MOST_FILES = 4096
_ROOT_BYTES = 1 << 20


def enter(control: socket.socket) -> None:
    """Put this process's next child, and what it starts, into namespaces of their own; returns only in that child.

    The child is process 1 of its namespace: it has every capability there and none outside, cannot be signalled from
    within, and all else in the namespace ends with it. This process waits for it and does nothing else.

    Raises:
        OSError: the machine denies it.
    """
    kernel.unshare(_NEEDED)
    for extra in (kernel.CLONE_NEWUTS, kernel.CLONE_NEWCGROUP):
        with contextlib.suppress(OSError):  # nothing hangs on these two
            kernel.unshare(extra)
    # Only somebody outside may say who the users in here are.
    frames.send(control, {"op": "map"})
    answer = frames.receive(control)
    if answer is None or answer[0]["op"] != "mapped":
        raise OSError("the users of a namespace cannot be mapped")
    kernel.die_with_parent()
    first = os.fork()
    if first:
        control.close()
        os.waitpid(first, 0)
        os._exit(0)
    kernel.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def build_root(files: Files, mount_point: str, work_bytes: int, packages: Sequence[str] = ()) -> None:
    """Make a root of the interpreter's files, read-only, and go there; nothing else of the file system is left.

    Args:
        files: what to show, under the paths it has outside.
        mount_point: an empty folder.
        work_bytes: the size of the work folder.
        packages: folders to show in `packages_inside.FOLDER`.

    Raises:
        OSError: the machine denies it.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", mount_point, "tmpfs", _SAFE, f"size={_ROOT_BYTES},mode=755")
    root = mount_point
    for path in files.read:
        _show(path, root, _SAFE)
    for path in packages:
        _show(path, root, _SAFE, f"{FOLDER}/{os.path.basename(path)}")
    for device in DEVICES:
        _show(device, root, kernel.MS_NOSUID)
    for path, target in files.links.items():
        if not os.path.exists(root + path):
            os.symlink(target, root + path)
    for path in files.hidden:
        kernel.mount("tmpfs", root + path, "tmpfs", _SAFE | kernel.MS_RDONLY, "size=4k,mode=755")
    os.makedirs(root + WORK)
    for other in ("/dev/shm", "/tmp"):  # noqa: S108 - of the sandbox
        if not os.path.exists(root + other):  # the interpreter may live below /tmp
            os.symlink(WORK, root + other)
    os.chdir(root)
    kernel.pivot_root()
    kernel.mount("none", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _SAFE)
    mount_work(work_bytes)
    with contextlib.suppress(OSError):
        socket.sethostname("sandbox")


def mount_work(size_bytes: int) -> None:
    """Mount an empty work folder."""
    options = f"size={size_bytes},nr_inodes={_MOST_FILES},mode=700,uid={INNER_ID},gid={INNER_ID}"
    kernel.mount("tmpfs", WORK, "tmpfs", _SAFE | kernel.MS_NOEXEC, options)


def replace_work(size_bytes: int) -> None:
    """Put an empty work folder in the place of one that holds something."""
    kernel.unmount(WORK)
    mount_work(size_bytes)


def _show(path: str, root: str, flags: int, shown_as: str | None = None) -> None:
    """Bind one file or folder, read-only, below the new root."""
    target = root + (shown_as or path)
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    kernel.mount(path, target, "", kernel.MS_BIND)
    # Flags that a mount outside has cannot be taken away here, and have to be named again.
    flags |= os.statvfs(target).f_flag & (kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC | 0x1C00)
    read_only = 0 if path in DEVICES else kernel.MS_RDONLY
    kernel.mount("none", target, "", kernel.MS_REMOUNT | kernel.MS_BIND | read_only | flags)
