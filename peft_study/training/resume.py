"""Find the last complete checkpoint of an interrupted run."""

import json
import os
from pathlib import Path

from peft_study.results.store import write_atomically

# transformers writes a checkpoint in place, file by file. This file is written after the last of them.
COMPLETE = "complete"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TRAINING_STATE = "training_state.safetensors"
"""File from which an adapter's training resumes. `training.checkpoint` writes it beside peft's file."""


def mark_complete(checkpoint: Path) -> None:
    """Record that a checkpoint is complete, with the size of each of its files."""
    sizes = {}
    for file in sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != COMPLETE):
        # Without fsync, a crash of the machine could leave the marker on disk and an empty file of weights.
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        sizes[file.name] = file.stat().st_size
    write_atomically(checkpoint / COMPLETE, json.dumps(sizes))


def last_complete(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step; None if none is complete."""
    # transformers' `get_last_checkpoint` takes the highest step, even if a crash cut its files off.
    complete = [
        (step, checkpoint) for checkpoint in folder.glob("checkpoint-*") if (step := step_of(checkpoint)) is not None
    ]
    return max(complete)[1] if complete else None


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step of a complete checkpoint; None for anything else, such as a checkpoint that lost a file."""
    number = checkpoint.name.rpartition("-")[2]
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        whole = all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
        # Earlier versions of this project wrote only peft's file, from which training cannot resume exactly.
        whole = whole and (TRAINING_STATE in sizes or ADAPTER_WEIGHTS not in sizes)
    except (OSError, ValueError, AttributeError):
        return None
    return int(number) if number.isdigit() and whole else None
