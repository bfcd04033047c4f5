"""Find the last usable checkpoint of an interrupted run, and remove those that are not needed."""

import json
import logging
import os
import shutil
import zlib
from functools import lru_cache
from pathlib import Path

from peft_study.results.store import write_atomically

# transformers writes a checkpoint in place, file by file. This file is written after the last of them.
COMPLETE = "complete"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TRAINING_STATE = "training_state.safetensors"
"""File from which an adapter's training resumes. `training.checkpoint` writes it beside peft's file."""
TRAINER_STATE = "trainer_state.json"
KEPT = 3
"""Checkpoints of a run: the best, the newest, and the one before, in case an interrupt cuts off the newest."""
_CHUNK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def mark_complete(checkpoint: Path) -> None:
    """Record that a checkpoint is complete, with the size and the checksum of each of its files."""
    files = {}
    for file in sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != COMPLETE):
        # Without fsync, a crash of the machine could leave the marker on disk and an empty file of weights.
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        files[file.name] = [file.stat().st_size, _checksum(file)]
    write_atomically(checkpoint / COMPLETE, json.dumps(files))


def last_usable(folder: Path) -> Path | None:
    """Return the latest checkpoint from which training can resume; None if no checkpoint is usable.

    A usable checkpoint is complete, and each of its files matches its checksum. The same must hold for the best
    checkpoint so far, because the cell may use its weights at the end.
    """
    steps = _complete(folder)
    intact: dict[int, bool] = {}
    for step in sorted(steps, reverse=True):
        needed = {step, _best_step(steps[step]) or step}
        for other in needed - intact.keys():
            intact[other] = other in steps and _is_intact(steps[other])
        if all(intact[other] for other in needed):
            return steps[step]
    return None


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step of a complete checkpoint; None for anything else, such as a checkpoint that lost a file."""
    number = checkpoint.name.rpartition("-")[2]
    try:
        sizes = {name: size for name, (size, _) in _marked(checkpoint).items()}
        is_complete = all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
        # Earlier versions of this project wrote only peft's file, from which training cannot resume exactly.
        can_resume = TRAINING_STATE in sizes or ADAPTER_WEIGHTS not in sizes
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return int(number) if number.isdigit() and is_complete and can_resume else None


def remove_others(folder: Path, start: Path | None) -> None:
    """Remove the checkpoints that a run which resumes cannot use.

    Args:
        folder: the folder of the checkpoints.
        start: the checkpoint from which training resumes. Later ones are damaged; None removes all.
    """
    start_step = step_of(start) if start else None
    for checkpoint in folder.glob("checkpoint-*"):
        step = step_of(checkpoint)
        if step is None or start_step is None or step > start_step:
            logger.warning("%s is incomplete or damaged, or its best checkpoint is; it is removed", checkpoint)
            if checkpoint.is_dir():
                shutil.rmtree(checkpoint)
            else:
                checkpoint.unlink()


def remove_older(folder: Path, best_step: int | None) -> None:
    """Remove all checkpoints of a run but the best one and the newest ones, `KEPT` in all.

    Args:
        folder: the folder of the checkpoints.
        best_step: optimizer step of the checkpoint with the lowest validation loss.
    """
    # By step: transformers goes by the files' times, and after a jump of the clock it removes the newest checkpoint.
    steps = _complete(folder)
    best = {best_step} & steps.keys()
    newest = sorted(steps.keys() - best)[len(best) - KEPT :]
    for step in steps.keys() - best - set(newest):
        shutil.rmtree(steps[step], ignore_errors=True)


def _complete(folder: Path) -> dict[int, Path]:
    """The complete checkpoints of a run by their step."""
    # transformers' `get_last_checkpoint` takes the highest step, even if a crash cut its files off.
    return {step: checkpoint for checkpoint in folder.glob("checkpoint-*") if (step := step_of(checkpoint)) is not None}


def _marked(checkpoint: Path) -> dict[str, tuple[int, int | None]]:
    """The size and the checksum of each file of a complete checkpoint. Earlier versions wrote no checksums."""
    files = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return {name: (mark, None) if isinstance(mark, int) else (mark[0], mark[1]) for name, mark in files.items()}


def _is_intact(checkpoint: Path) -> bool:
    try:
        return all(
            checksum is None or _checksum(checkpoint / name) == checksum
            for name, (_, checksum) in _marked(checkpoint).items()
        )
    except OSError:
        return False


def _best_step(checkpoint: Path) -> int | None:
    try:
        step = json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))["best_global_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def _checksum(file: Path) -> int:
    stat = file.stat()
    return _checksum_of(file, stat.st_size, stat.st_mtime_ns)


# A cell that resumes asks twice: for the steps to keep in its record, and for the checkpoint to train from.
@lru_cache(maxsize=256)
def _checksum_of(file: Path, size: int, changed_ns: int) -> int:
    checksum = 0
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
