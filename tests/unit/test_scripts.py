"""The commands in scripts/ start from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"tiny_architectures.py", "tiny_codegen2.py"}
COMMANDS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name not in MODULES)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_from_another_folder(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / name), "--help"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert name in ended.stdout


def test_the_readme_lists_every_script() -> None:
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")

    assert [name for name in {*COMMANDS, *MODULES} if f"`{name}" not in text] == []
