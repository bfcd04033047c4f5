"""Find the last complete checkpoint of an interrupted run."""

import json
import os
import zlib
from pathlib import Path

from peft_study.results.store import write_atomically

# transformers writes a checkpoint in place, file by file. This file is written after the last of them.
COMPLETE = "complete"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TRAINING_STATE = "training_state.safetensors"
"""File from which an adapter's training resumes. `training.checkpoint` writes it beside peft's file."""
_PART_BYTES = 1 << 24


def mark_complete(checkpoint: Path) -> None:
    """Record that a checkpoint is complete, with the size and the CRC-32 of each of its files."""
    files = {}
    for file in sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != COMPLETE):
        # Without fsync, a crash of the machine could leave the marker on disk and an empty file of weights.
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        files[file.name] = [file.stat().st_size, _checksum(file)]
    write_atomically(checkpoint / COMPLETE, json.dumps(files))


def last_complete(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step; None if none is complete."""
    # transformers' `get_last_checkpoint` takes the highest step, even if a crash cut its files off.
    complete = [
        (step, checkpoint) for checkpoint in folder.glob("checkpoint-*") if (step := step_of(checkpoint)) is not None
    ]
    return max(complete)[1] if complete else None


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step of a complete checkpoint; None for anything else, such as a checkpoint with a damaged file."""
    number = checkpoint.name.rpartition("-")[2]
    try:
        files = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
        whole = all(_is_whole(checkpoint / name, record) for name, record in files.items())
        # Earlier versions of this project wrote only peft's file, from which training cannot resume exactly.
        whole = whole and (TRAINING_STATE in files or ADAPTER_WEIGHTS not in files)
    except (OSError, ValueError, AttributeError):
        return None
    return int(number) if number.isdigit() and whole else None


def _is_whole(file: Path, record: int | list[int]) -> bool:
    # Earlier versions recorded the size alone.
    size, checksum = record if isinstance(record, list) else (record, None)
    return file.stat().st_size == size and checksum in (None, _checksum(file))


def _checksum(file: Path) -> int:
    # Against a flipped bit, which safetensors reads as another weight. 4 GB a second, so that it costs little.
    checksum = 0
    with file.open("rb") as handle:
        while part := handle.read(_PART_BYTES):
            checksum = zlib.crc32(part, checksum)
    return checksum
