"""Write the figures of a benchmark with its command and the machine, as JSON in benchmarks/results/."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine without names of hosts or people: kind of processor, cores, memory, GPU."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
    }


def write(name: str, figures: Mapping[str, Any], packages: Sequence[str] = ("torch", "transformers")) -> Path:
    """Write a benchmark's figures with all that is needed to repeat it.

    Args:
        name: name of the file, without its suffix.
        figures: figures by name, with the unit as a suffix of the name. A ratio compares arms of the same run.
        packages: packages whose versions are recorded.

    Returns:
        the file.
    """
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    # An absolute path means nothing on other machines.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])
    record = {
        "command": command,
        "at": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions,
    }
    record |= figures
    path = RESULTS / f"{name}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
