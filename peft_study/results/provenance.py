"""The origin of a result: versions, commit, machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "hydra-core",
    "numpy",
    "omegaconf",
    "peft",
    "peft-study",
    "safetensors",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
    "wandb",
)
_PACKAGE = Path(__file__).resolve().parents[1]


def collect() -> dict[str, Any]:
    """Collect the versions of the libraries, the commit of this package, and the machine.

    Returns:
        "python", "packages", "commit" and "dirty" (whether files were changed; both None for an installed wheel),
        "platform" and "cpu_count".
    """
    commit, dirty = _commit()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit,
        "dirty": dirty,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    # A wheel may be installed inside another repository, whose commit says nothing about this package. Therefore the
    # repository must track a file of this package.
    if _git("ls-files", "--error-unmatch", str(_PACKAGE / "__init__.py")) is None:
        return None, None
    status = _git("status", "--porcelain")
    return _git("rev-parse", "HEAD"), None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    # An image without git, or a repository on a slow network drive, must not keep a cell from starting.
    try:
        process = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
