"""Which checkpoint of an interrupted run can be trusted."""

import json
import os
from pathlib import Path

from peft_study.results.store import write_atomically

# transformers writes a checkpoint in place, file by file; this one is written after the last of them.
COMPLETE = "complete"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TRAINING_STATE = "training_state.safetensors"
"""What an adapter's training goes on from; `training.checkpoint` writes it beside peft's own file."""


def mark_complete(checkpoint: Path) -> None:
    """Say that every file of a checkpoint is on disk, and how large each is."""
    sizes = {}
    for file in sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != COMPLETE):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        sizes[file.name] = file.stat().st_size
    write_atomically(checkpoint / COMPLETE, json.dumps(sizes))


def last_complete(folder: Path) -> Path | None:
    """The checkpoint of the highest step whose writing was not interrupted, or None."""
    found = [
        (step, checkpoint) for checkpoint in folder.glob("checkpoint-*") if (step := step_of(checkpoint)) is not None
    ]
    return max(found)[1] if found else None


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step of a complete checkpoint, None for anything else, such as one that lost a file since."""
    number = checkpoint.name.rpartition("-")[2]
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        whole = all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
        # Earlier versions wrote peft's file alone, from which training cannot be resumed exactly.
        whole = whole and (TRAINING_STATE in sizes or ADAPTER_WEIGHTS not in sizes)
    except (OSError, ValueError, AttributeError):
        return None
    return int(number) if number.isdigit() and whole else None
