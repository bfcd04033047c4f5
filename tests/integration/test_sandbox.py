"""The sandbox against programs that want out: at levels A and B, as root and as a plain user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.run import PROGRAMS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and Landlock are Linux's")
_ROOT = Path(__file__).resolve().parents[2]
_NOBODY = 65534
_SECONDS = 120
CONFIGURATIONS = [f"{user} {level}" for user in ("root", "plain") for level in ("A", "B")]


@dataclass(frozen=True)
class Suite:
    """What became of every program, and what the machine looked like before and behind."""

    result: dict[str, Any]
    before: dict[str, set[str]]
    behind: dict[str, set[str]]


def run_suite(configuration: str) -> Suite | str:
    """Run all programs in a process of their own.

    Returns:
        The outcome, or why it cannot be had here.
    """
    user, level = configuration.split()
    as_root = os.geteuid() == 0
    if user == "root" and not as_root:
        return "needs root"
    change_user = user == "plain" and as_root
    interpreter = _interpreter_for_all() if change_user else sys.executable
    if interpreter is None:
        return "no interpreter from 3.11 on can be reached by a plain user"
    nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if change_user else {}
    with tempfile.TemporaryDirectory(prefix="peft-study-tests-") as folder:
        project, temporary = _copy(Path(folder))
        before = _machine(project, temporary)
        ended = subprocess.run(
            [interpreter, "-m", "tests.hostile.run", level],
            cwd="/",
            env={"PYTHONPATH": str(project), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            **nobody,  # type: ignore[arg-type]
        )
        assert ended.returncode == 0, ended.stderr
        return Suite(json.loads(ended.stdout), before, _machine(project, temporary))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_program_gets_its_verdict_and_leaves_nothing(configuration: str) -> None:
    """One test a configuration, as all programs of it share a pool: one leaves something, the next looks for it."""
    suite = run_suite(configuration)
    if isinstance(suite, str):
        pytest.skip(suite)
    if suite.result["level"] != configuration.split()[1]:
        pytest.skip(f"this machine does not give it: {suite.result['denied']}")

    wrong = {}
    for program in PROGRAMS:
        verdict, detail = suite.result["outcomes"][program.name]
        if verdict not in program.elsewhere.get(configuration, program.expected).split("|"):
            wrong[program.name] = f"{verdict}: {detail}"

    assert wrong == {}
    assert suite.result["untouched"]
    left = {what: found - suite.before[what] for what, found in suite.behind.items()}
    assert not any(left.values()), left


def test_there_are_at_least_sixty_hostile_programs_with_names_of_their_own() -> None:
    hostile = {program.name for program in PROGRAMS if ", after one that " not in program.name}
    assert len(hostile) > 60 + 30
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)


def _copy(folder: Path) -> tuple[Path, Path]:
    """What is needed of the project, and a folder for temporary files, where any user can reach both."""
    project, temporary = folder / "project", folder / "temporary"
    for part in ("peft_study/sandbox", "peft_study/judging", "tests/hostile"):
        shutil.copytree(_ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__", "errors"):
        shutil.copy(_ROOT / f"peft_study/{name}.py", project / "peft_study")
    shutil.copy(_ROOT / "tests/__init__.py", project / "tests")
    temporary.mkdir()
    folder.chmod(0o755)
    temporary.chmod(0o777)
    return project, temporary


def _machine(project: Path, temporary: Path) -> dict[str, set[str]]:
    """What a test could leave: processes, mounts, shared memory, temporary files."""
    processes = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(project).encode() in command:
                processes.add(f"{process.name} {command!r}")
    return {
        "processes": processes,
        "mounts": {line for line in Path("/proc/self/mounts").read_text().splitlines() if str(temporary) in line},
        "shared memory": set(Path("/proc/sysvipc/shm").read_text().splitlines()),
        "files": {path.name for path in temporary.iterdir()},
        # Launchers that other tests run meanwhile keep their semaphores there.
        "shared files": {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith("sem.loky-")},
    }


def _interpreter_for_all() -> str | None:
    for name in (
        sys.executable,
        *(f"{folder}/python3.{minor}" for folder in ("/usr/local/bin", "/usr/bin") for minor in range(11, 15)),
    ):
        path = Path(name).resolve()
        if path.exists() and _open_to_all(path) and Path(name).name != "python":
            return str(path)
    return None


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in [path, *path.parents])
