"""Holds the lease of a cell: the lock of a cell on file systems that keep the kernel's lock on each machine alone.

The holder writes the time into lease.json every few seconds. Another process takes the cell over if the file did not
change for `STALE_SECONDS` of its clock that never jumps, so that neither a wrong clock nor a corrected one matters.
"""

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from peft_study.console.messages import print_line
from peft_study.results.lease import BEAT_SECONDS, LEASE, STALE_SECONDS, Lease, now, parse, read_bytes, read_lease
from peft_study.results.lock import is_locked

_LOOK_SECONDS = 0.5
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class LeaseHeldError(Exception):
    """Another process holds the lease."""


class LeaseLostError(Exception):
    """Another process took the lease over, because this one did not write its heartbeat in time."""


class LeaseWatch:
    """Watches whether a cell's lease changes.

    Args:
        folder: the cell's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content = read_bytes(folder)
        self._since = time.monotonic()

    @property
    def stale(self) -> bool:
        """Whether the lease did not change for `STALE_SECONDS` of this object's life; False without a lease."""
        content = read_bytes(self._folder)
        if content != self._content:
            self._content, self._since = content, time.monotonic()
        return content is not None and time.monotonic() - self._since >= STALE_SECONDS

    def remove(self) -> None:
        """Remove the lease, which is stale, unless it changes meanwhile."""
        if self._content is not None:
            _remove_stale(self._folder, self._content)


class HeldLease:
    """A lease of this process, which a thread renews until `release`.

    Args:
        folder: the cell's folder.
        descriptor: the open file of the lease.
        lease: its record.
    """

    def __init__(self, folder: Path, descriptor: int, lease: Lease) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._lease = lease
        self._lost = False
        self._beat_seconds = _boot_clock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_released, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Ask whether this process still holds the lease, before it writes into the cell's folder.

        Raises:
            LeaseLostError: another process took the lease over.
        """
        # Within this time no other process can have called the lease stale, so the file need not be read.
        if not self._lost and _boot_clock() - self._beat_seconds < STALE_SECONDS / 2:
            return
        self._lost = self._lost or not self._is_ours()
        if self._lost:
            raise LeaseLostError("another process took the cell over")

    def release(self) -> None:
        """End the heartbeat and remove the file."""
        self._ending.set()
        self._thread.join()
        # What cannot be removed becomes stale.
        with contextlib.suppress(OSError):
            if self._is_ours():
                (self._folder / LEASE).unlink(missing_ok=True)
            os.close(self._descriptor)

    def _beat_until_released(self) -> None:
        while not self._ending.wait(BEAT_SECONDS) and not self._lost:
            # A server that is away for a moment must not end the cell.
            with contextlib.suppress(OSError):
                self._beat()

    def _beat(self) -> None:
        if not self._is_ours():
            self._lost = True
            return
        began = _boot_clock()
        self._lease = replace(self._lease, beat_at=now())
        # Into the open file, not into a new one: after a takeover in this very moment, it has no name any more.
        os.pwrite(self._descriptor, _content(self._lease), 0)
        os.fsync(self._descriptor)
        self._beat_seconds = began

    def _is_ours(self) -> bool:
        lease = parse(read_bytes(self._folder))
        return lease is not None and lease.token == self._lease.token


@contextmanager
def held(folder: Path, *, locked_by_kernel: bool) -> Iterator[HeldLease]:
    """Hold a cell's lease.

    Args:
        folder: the cell's folder.
        locked_by_kernel: whether this process has the kernel's lock of the cell. A lease of this machine is then the
            rest of a process that died.

    Raises:
        LeaseHeldError: another process holds the lease.
    """
    lease = _acquire(folder, locked_by_kernel)
    try:
        yield lease
    finally:
        lease.release()


def _acquire(folder: Path, locked_by_kernel: bool) -> HeldLease:
    while True:
        lease = Lease.of_this_process()
        try:
            return HeldLease(folder, _create(folder, lease), lease)
        except FileExistsError:
            content = read_bytes(folder)
        if content is None:
            continue  # the holder released it meanwhile
        other = parse(content)
        if not (locked_by_kernel and other is not None and other.is_of_this_machine):
            content = _wait_until_stale(folder, other)
        _remove_stale(folder, content)


def _wait_until_stale(folder: Path, other: Lease | None) -> bytes:
    """Return the content of a lease that is stale.

    Raises:
        LeaseHeldError: the lease is fresh.
    """
    # By the clocks it is fresh. If they are wrong, this is wrong in the safe direction.
    if other is not None and 0 <= other.age_seconds < STALE_SECONDS:
        raise LeaseHeldError
    watch = LeaseWatch(folder)
    content = read_bytes(folder)
    who = other.holder if other is not None else "an unknown process"
    print_line(f"waiting up to {STALE_SECONDS:.0f} s for a heartbeat of {who}, which may run {folder.name}")
    while content is not None and not watch.stale:
        time.sleep(_LOOK_SECONDS)
        if read_bytes(folder) not in (content, None):
            raise LeaseHeldError
        content = read_bytes(folder)
    return content or b""


def _create(folder: Path, lease: Lease) -> int:
    """Write lease.json if it does not exist, with its content from the first moment. Return its open file.

    Raises:
        FileExistsError: it exists.
    """
    partial = folder / f".{LEASE}.{lease.token}"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, _content(lease))
        os.fsync(descriptor)
        # A link fails if the name is taken, in one step also on NFS.
        os.link(partial, folder / LEASE)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links.
        descriptor = os.open(folder / LEASE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, _content(lease))
        os.fsync(descriptor)
    finally:
        partial.unlink(missing_ok=True)
    return descriptor


def _remove_stale(folder: Path, content: bytes) -> None:
    """Remove a stale lease with this content. Of several processes that try, only one does."""
    claim = folder / f".{LEASE}.{hashlib.sha256(content).hexdigest()[:16]}"
    try:
        os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        # The other process ends the step in milliseconds. If it died in the step, its claim would stay.
        with contextlib.suppress(FileNotFoundError):
            time.sleep(_LOOK_SECONDS)
            claim.unlink()
        return
    # The claim of a slow process can follow the removal by a quick one. The file then has another content.
    if read_bytes(folder) == content:
        (folder / LEASE).unlink(missing_ok=True)
    claim.unlink(missing_ok=True)


def _content(lease: Lease) -> bytes:
    return (json.dumps(asdict(lease), indent=2) + "\n").encode()


def _boot_clock() -> float:
    # Counts the time that a machine sleeps, in which another one may have taken the cell.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def is_held(folder: Path, watch: LeaseWatch) -> bool:
    """Whether a process runs a cell.

    Args:
        folder: the cell's folder.
        watch: has watched the lease since an earlier call, or starts now.
    """
    locked, lease = is_locked(folder), read_lease(folder)
    if locked or (locked is False and lease is not None and lease.is_of_this_machine):
        return bool(locked)
    # The kernel of another machine runs the holder, and cannot be asked.
    return (folder / LEASE).exists() and not watch.stale
