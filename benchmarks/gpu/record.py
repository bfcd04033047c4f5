"""The record of a row: its phases with their errors, written as JSON after each phase."""

import json
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
ERROR_CHARACTERS = 3000
_FOLDER = re.compile(rf'File "(?:[^"\n]*/site-packages|{re.escape(str(Path(__file__).parents[2]))})/')


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in a single step, so that a reader never sees a part of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def versions() -> dict[str, str | None]:
    """Versions of the packages that decide the figures; None for a missing package."""
    values: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            values[package] = version(package)
        except PackageNotFoundError:
            values[package] = None
    return values


def card() -> dict[str, Any]:
    """The names and versions of the GPU and its driver; their values are None on a machine without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return {"card": None, "driver": None, "cuda": torch.version.cuda}
    properties = torch.cuda.get_device_properties(0)
    return {
        "card": properties.name,
        "card_bytes": properties.total_memory,
        "driver": _driver(),
        "cuda": torch.version.cuda,
    }


def process_bytes() -> int | None:
    """GPU memory of this process by NVML, CUDA's context included; None if NVML does not report it."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        used = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
    except Exception:  # a missing library, driver or permission must not end a row
        return None
    return int(used[0]) if used and used[0] is not None else None


def _driver() -> str | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # see `process_bytes`
        return None


class RowRecord:
    """The JSON file of a row, updated after every phase.

    Args:
        path: path of the file.
        values: values that it holds from the beginning.
    """

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self._path = path
        self.values: dict[str, Any] = {**values, "phases": {}}
        self.write()

    def write(self) -> None:
        """Update the file."""
        write_json(self._path, self.values)

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Record a phase; an error in it is recorded as well and ends only the phase.

        Yields:
            the record of the phase, for the caller to fill.
        """
        from peft_study.models.out_of_memory import is_out_of_memory

        entry: dict[str, Any] = {"status": "running"}
        self.values["phases"][name] = entry
        self.write()
        try:
            yield entry
            entry["status"] = "ok"
        except Exception as error:
            entry["status"] = "oom" if is_out_of_memory(error) else "failed"
            text = "".join(traceback.format_exception(error))
            # Where a package is installed says something about the machine, and nothing about the error.
            entry["error"] = _FOLDER.sub('File "', text)[-ERROR_CHARACTERS:]
        finally:
            self.write()
