"""Offline W&B runs, read back with W&B's own reader."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_folders(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def read_records(run_folder: Path) -> dict[str, list[Any]]:
    """Read a run with `wandb leet inspect`: the contents of its records by their type, in order."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run_folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    records: dict[str, list[Any]] = {}
    for line in output.splitlines():
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record[record["type"]])
    return records


def final_summary(records: dict[str, list[Any]]) -> dict[str, Any]:
    """The summary that the records add up to, without W&B's own entries."""
    values: dict[str, Any] = {}
    for record in records["summary"]:
        values |= record.get("update", {})
    return {name: value for name, value in values.items() if not name.startswith("_")}


def history_of(records: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The rows of the history, without W&B's own entries."""
    return [
        {name: value for name, value in record["item"].items() if not name.startswith("_")}
        for record in records.get("history", [])
    ]
