"""Which checkpoint of an interrupted run can be trusted."""

from pathlib import Path

# transformers writes a checkpoint in place, file by file; this one is written after the last of them.
COMPLETE = "complete"


def mark_complete(checkpoint: Path) -> None:
    """Say that every file of a checkpoint is written."""
    (checkpoint / COMPLETE).touch()


def last_complete(folder: Path) -> Path | None:
    """The checkpoint of the highest step whose writing was not interrupted, or None."""
    found = [
        (step, checkpoint) for checkpoint in folder.glob("checkpoint-*") if (step := step_of(checkpoint)) is not None
    ]
    return max(found)[1] if found else None


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step of a complete checkpoint, None for another folder."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() and (checkpoint / COMPLETE).is_file() else None
