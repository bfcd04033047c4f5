"""Machines that deny layers, made of this one by a filter that refuses system calls, as container engines do."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is only level C")
_ROOT = str(Path(__file__).resolve().parents[2])
_POOL = """
import json
from peft_study.errors import UserError
from peft_study.sandbox.pool import Job, Kind, Limits, Pool
try:
    with Pool(1, Limits()) as pool:
        ((_, ran),) = pool.run([(1, Job("print('hello')", Kind.script))])
        print(json.dumps([pool.level, pool.layers, pool.denied, ran.stdout.decode()]))
except UserError as refused:
    print(json.dumps(["C", [], str(refused), ""]))
"""
_DENY = """
import os, sys
from peft_study.sandbox.inside.confinement import kernel, seccomp
from peft_study.sandbox.inside.confinement.syscalls import REFUSED, WITH_ARGUMENTS
if not seccomp.available(): sys.exit(77)
code = seccomp._start()
for name in {names!r}:
    code += seccomp._if_number((REFUSED | WITH_ARGUMENTS)[name], [seccomp._refuse(1)])
kernel.no_new_privileges()
kernel.install_filter(seccomp._packed([*code, seccomp._RETURN_ALLOW]))
os.execv(sys.executable, [sys.executable, "-c", {then!r}])
"""


@cache
def reached(*names: str) -> tuple[str, list[str], list[str] | str, str]:
    """Level, layers, reasons and output of a program, where these system calls are refused."""
    ended = subprocess.run(
        [sys.executable, "-c", _DENY.format(names=names, then=_POOL)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ended.returncode == 77:
        pytest.skip("this machine's system calls are not numbered")
    assert ended.returncode == 0, ended.stderr
    level, layers, denied, out = json.loads(ended.stdout)
    return level, layers, denied, out


@pytest.mark.parametrize(
    ("refused", "level", "missing"),
    [
        (("unshare",), "B", "pid namespace"),
        (("mount",), "B", "private root"),
        (("pivot_root",), "B", "mount namespace"),
        (("landlock_create_ruleset",), "A", "Landlock"),
        (("unshare", "landlock_restrict_self"), "C", ""),
        (("prctl",), "C", ""),
    ],
)
def test_a_layer_that_is_denied_takes_the_level_down_and_programs_run_as_before(
    refused: tuple[str, ...], level: str, missing: str
) -> None:
    if reached()[0] != "A":
        pytest.skip(f"this machine itself gives no level A: {reached()[2]}")

    found, layers, denied, out = reached(*refused)

    assert found == level
    if level == "C":
        assert "where: the sandbox" in denied
    else:
        assert out == "hello\n"
        assert not any(layer.startswith(missing) for layer in layers)
        assert "seccomp" in layers
        assert bool(denied) is (level == "B")
