"""The filters alone, each in a process that gives itself up to them."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
_START = """
import os, sys
sys.path.insert(0, {root!r})
from peft_study.sandbox.inside.confinement import kernel, seccomp
if not seccomp.available(): sys.exit(77)
kernel.no_new_privileges()
parent = os.getppid()
child = seccomp.child_program(processes={processes}, signals={signals}, rights={rights}, times={times})
kernel.install_filter(seccomp.worker_program())
kernel.install_filter(seccomp.with_pid(child, os.getpid()))
"""
_THREAD = "import threading; t = threading.Thread(target=print); t.start(); t.join()"


@pytest.mark.parametrize(
    ("allowed", "code", "happens"),
    [
        ("", "os.kill(os.getpid(), 0)", True),
        ("", "os.kill(0, 0)", True),
        ("", "os.kill(parent, 0)", False),
        ("", "os.kill(-1, 0)", False),
        ("signals", "os.kill(parent, 0)", True),
        ("", "import signal, threading; signal.pthread_kill(threading.get_ident(), 0)", True),
        ("", "os.fork()", False),
        ("", "import subprocess; subprocess.run([sys.executable, '-V'])", False),
        ("", _THREAD, True),
        ("processes", "os._exit(0) if os.fork() == 0 else os.wait()", True),
        ("processes", _THREAD, True),
        ("", "os.chmod({folder!r} + '/file', 0o600)", False),
        ("", "os.utime({folder!r} + '/file')", False),
        ("", "os.truncate({folder!r} + '/file', 0)", False),
        ("", "os.fchmod(os.open({folder!r} + '/file', os.O_RDONLY), 0o600)", False),
        ("times", "os.fchmod(os.open({folder!r} + '/file', os.O_RDONLY), 0o600)", False),
        ("rights", "os.fchmod(os.open({folder!r} + '/file', os.O_RDONLY), 0o600)", True),
        ("rights", "os.utime({folder!r} + '/file')", False),
        ("times", "os.utime({folder!r} + '/file')", True),
        ("rights", "os.chmod({folder!r} + '/file', 0o600)", True),
        ("rights", "os.truncate({folder!r} + '/file', 0)", True),
        ("", "open({folder!r} + '/file').read()", True),
        ("", "import socket; socket.socketpair()", True),
        ("", "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", False),
        ("", "import socket; socket.socket()", False),
        ("signals processes rights times", "import socket; socket.socket()", False),
        ("", "import fcntl; fcntl.fcntl(0, fcntl.F_GETFL)", True),
        ("", "import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, parent)", False),
        ("", "import resource; resource.prlimit(0, resource.RLIMIT_CPU)", True),
        ("", "import resource; resource.prlimit(parent, resource.RLIMIT_CPU)", False),
        ("", "kernel.unshare(kernel.CLONE_NEWUTS)", False),
        ("", "kernel.hide_memory()", False),
        ("", "kernel.drop_capabilities()", False),
        ("", "kernel.mount('none', '/', '', kernel.MS_REC | kernel.MS_PRIVATE)", False),
    ],
)
def test_calls(tmp_path: Path, allowed: str, code: str, happens: bool) -> None:
    (tmp_path / "file").write_text("x")
    flags = {name: name in allowed.split() for name in ("processes", "signals", "rights", "times")}
    start = _START.format(root=str(Path(__file__).resolve().parents[2]), **flags)
    source = start + code.replace("{folder!r}", repr(str(tmp_path)))
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=30)
    if ended.returncode == 77:
        pytest.skip("this machine's system calls are not numbered")
    assert (ended.returncode == 0) is happens, ended.stderr
    if not happens:
        assert "Operation not permitted" in ended.stderr
