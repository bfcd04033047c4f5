"""A private view of the machine for a worker: no other processes, no network, and only an interpreter's files."""

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
"""The user and group of programs inside the namespace."""
ABOVE_WORK = "/home"
WORK = f"{ABOVE_WORK}/work"
"""A mount that is replaced after a test. Landlock allows its parent folder, so the rule survives the replacement."""
_NEEDED = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
_MOST_FILES = 4096  # empty files take kernel memory that the size of a tmpfs does not count
_ROOT_BYTES = 1 << 20


def enter(control: socket.socket) -> None:
    """Fork a child in new namespaces. Returns only in that child.

    The child is process 1 of its namespace. It has all capabilities inside and none outside, cannot be signalled from
    inside, and the namespace ends with it. The calling process only waits for it.

    Args:
        control: the socket to the pool, which maps the users of the namespace.

    Raises:
        OSError: the machine denies a namespace.
    """
    kernel.unshare(_NEEDED)
    for extra in (kernel.CLONE_NEWUTS, kernel.CLONE_NEWCGROUP):
        with contextlib.suppress(OSError):  # optional: nothing depends on these two
            kernel.unshare(extra)
    # Only a process outside the namespace may map its users.
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
    # Again, because the kernel clears this setting for the child of a fork (prctl(2)).
    kernel.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def build_root(files: Files, mount_point: str, work_bytes: int, packages: Sequence[str] = ()) -> None:
    """Make a read-only root of the interpreter's files and change to it. No other files remain visible.

    Args:
        files: files to show, under the same paths as outside.
        mount_point: an empty folder.
        work_bytes: size of the work folder.
        packages: folders to show in `packages_inside.FOLDER`.

    Raises:
        OSError: the machine denies a mount.
    """
    # Mounts in a new user namespace are slaves at first: later mounts of the machine would appear in them.
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
    for other in ("/dev/shm", "/tmp"):  # noqa: S108 - inside the sandbox
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
    """Replace the work folder by an empty one."""
    kernel.unmount(WORK)
    mount_work(size_bytes)


def _show(path: str, root: str, flags: int, shown_as: str | None = None) -> None:
    """Bind one file or folder, read-only, into the new root."""
    target = root + (shown_as or path)
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    kernel.mount(path, target, "", kernel.MS_BIND)
    # A remount in a user namespace must repeat the flags of the original mount.
    flags |= os.statvfs(target).f_flag & (kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC | 0x1C00)
    read_only = 0 if path in DEVICES else kernel.MS_RDONLY
    kernel.mount("none", target, "", kernel.MS_REMOUNT | kernel.MS_BIND | read_only | flags)
