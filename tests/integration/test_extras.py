"""Every optional part of pyproject.toml can be installed with the exact versions of constraints.txt."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_resolves_with_the_constraints(extra: str) -> None:
    # As into an empty environment: what is installed here does not count.
    resolved = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *("--constraint", "constraints.txt", f".[{extra}]"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    if "Retrying" in resolved.stderr:
        pytest.skip("needs a package index")
    assert resolved.returncode == 0, resolved.stderr
