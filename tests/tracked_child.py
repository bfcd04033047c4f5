"""A process that tracks a cell as a cell does, slowly, so that a test can kill it: FOLDER LAST_STEP MODE."""

import itertools
import sys
import time
from pathlib import Path

from peft_study.config.schema import TrackingConfig, WandbMode
from peft_study.results.schema import PhaseCost, RunResult, Status
from peft_study.results.store import CellFolder
from peft_study.tracking.base import CellStart
from peft_study.tracking.wandb import create_tracker

PLACE = {"trackers": {"wandb": {}}, "project": "a-project", "entity": "a-lab"}
CONFIG = {
    "seed": 1,
    "study": {"name": "demo"},
    "model": {"name": "tiny-llama"},
    "method": {"name": "lora"},
    "dataset": {"name": "minipy"},
    "quantization": {"name": "none"},
    "tracking": PLACE,
}
CHECKPOINT_EVERY = 10


def values_of(step: int) -> dict[str, float]:
    return {"loss": 1 / (step + 3), "learning_rate": 1e-4 / (step + 1)}


def track(path: Path, last_step: int, mode: str, step_seconds: float = 0.0) -> None:
    """Track a cell, or resume it behind its last checkpoint."""
    folder = CellFolder(path)
    earlier = folder.read_result()
    result = RunResult(path.name, "demo", Status.running, config=CONFIG)
    folder.write_result(result)
    tracker = create_tracker(TrackingConfig(project="a-project", entity="a-lab", mode=WandbMode(mode)), {}, path)
    tracker.start(CellStart.of_result(result, path, resumed=earlier is not None))
    reached = max((row["step"] for row in folder.read_steps()), default=0)
    checkpoint = reached - reached % CHECKPOINT_EVERY
    if earlier:
        folder.forget_steps_after(checkpoint)
    tracker.restore(folder.read_steps(), folder.read_usage())
    for step in itertools.takewhile(lambda number: number <= last_step, itertools.count(checkpoint + 1)):
        usage = {"step": step, "phase": "train", "seconds": step / 8, "peak_bytes": 10**9 + step}
        folder.append_usage(usage)
        folder.append_step(step, values_of(step))
        tracker.step(step, values_of(step), usage)
        if step % CHECKPOINT_EVERY == 0:
            usage |= {"seconds": step / 8 + 0.01}
            folder.append_usage(usage)
            folder.append_step(step, {"validation_loss": 2 / (step + 3)})
            tracker.step(step, {"validation_loss": 2 / (step + 3)}, usage)
            result.phases = {"train": PhaseCost(step / 8, 10**9 + step, None)}
            folder.write_result(result)
        time.sleep(step_seconds)
    result.status, result.metrics = Status.ok, {"em@1": 0.25}
    folder.write_result(result)
    tracker.finish(result)
    tracker.close()


if __name__ == "__main__":
    track(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], 0.02)
