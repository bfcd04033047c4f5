"""Fine-tuning with transformers' Trainer: schedule, best checkpoint by validation loss, resuming."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import AutocastKwargs  # type: ignore[import-untyped]
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from peft_study.config.schema import TrainingConfig
from peft_study.cost.flops import TrainingFlops
from peft_study.data.tokens import Encoded
from peft_study.models.compat import remove_autocast
from peft_study.models.loading import Model
from peft_study.models.precision import Compute
from peft_study.results.schema import Work
from peft_study.training import resume
from peft_study.training.adalora import RankAllocation
from peft_study.training.arguments import optimizer_class, training_arguments
from peft_study.training.checkpoint import save_training_state
from peft_study.training.packing import BatchBuilder
from peft_study.training.ranks import ALONE, Ranks
from peft_study.training.recorded_steps import recorded_steps
from peft_study.training.schedule import Schedule, micro_batch_of_rank, plan
from peft_study.training.trainer import TokenMeanTrainer
from peft_study.training.work import StepClock, share_builder

OVERFLOWS = 25
"""Steps in a row that fp16's gradient scaler may skip. The scale starts at 2**16 and halves at each skipped step. After
25 it is 2**-9, so gradients that still overflow are not a matter of scale."""
_VALUES = {
    "loss": "loss",
    "eval_loss": "validation_loss",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "epoch": "epoch",
}
"""The values of a step by the Trainer's names."""
OnStep = Callable[[int, Mapping[str, float], float | None], None]


class DivergedError(Exception):
    """A loss is not a finite number, or the gradients of many steps in a row are not."""


@dataclass(frozen=True)
class Trained:
    """The outcome of a fine-tuning run.

    Attributes:
        checkpoint: the folder of the checkpoint with the lowest validation loss.
        steps: optimizer steps of the whole run.
        best_step: the optimizer step of that checkpoint.
        best_validation_loss: cross-entropy in nats a token: the mean over the target tokens of each validation batch,
            averaged over the samples.
        initial_validation_loss: the validation loss before the first step; None if it was not evaluated.
        resumed_from_step: the step at which an interrupted run resumed; None for an uninterrupted run.
        cuda_graphs: number of CUDA graphs that were recorded.
    """

    checkpoint: Path
    steps: int
    best_step: int
    best_validation_loss: float
    initial_validation_loss: float | None
    resumed_from_step: int | None
    cuda_graphs: int


class _Watch(TrainerCallback):
    """Evaluates and saves by our schedule, reports steps, and stops a run that diverges."""

    def __init__(
        self,
        schedule: Schedule,
        clock: StepClock,
        on_step: OnStep,
        on_progress: Callable[[int], None],
        *,
        writes_checkpoints: bool,
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._writes_checkpoints = writes_checkpoints
        self._on_step = on_step
        self._on_progress = on_progress
        self._overflows = 0
        self.diverged: DivergedError | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        # accelerate's optimizer tells whether the scaler found gradients that are not finite. The loss is finite in
        # such a step, so it does not show the overflow.
        self._overflows = self._overflows + 1 if getattr(optimizer, "step_was_skipped", False) else 0
        if self._overflows >= OVERFLOWS:
            self._stop(state, control, f"gradients overflowed in {OVERFLOWS} steps in a row")
            return
        if state.global_step in self._schedule.evaluation_steps:
            control.should_evaluate = control.should_save = control.should_log = True
        self._on_progress(state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        if not self._writes_checkpoints:
            return
        assert args.output_dir is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if isinstance(model, PeftModel):
            save_training_state(model, folder)
        resume.mark_complete(folder)
        resume.remove_older(folder.parent, state.best_global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        values = {_VALUES[key]: float(value) for key, value in (logs or {}).items() if key in _VALUES}
        if not values.keys() & {"loss", "validation_loss"}:
            return
        speed = self._clock.tokens_per_second(state.global_step) if "loss" in values else None
        self._on_step(state.global_step, values, speed)
        for name in ("loss", "validation_loss"):
            if not math.isfinite(values.get(name, 0.0)):
                self._stop(state, control, f"the {name.replace('_', ' ')} is not a finite number")

    def _stop(self, state: TrainerState, control: TrainerControl, what: str) -> None:
        self.diverged = DivergedError(f"{what} at step {state.global_step}")
        control.should_training_stop = True
        # Resuming from a checkpoint with NaN would repeat the failure.
        control.should_save = False


def train(
    model: Model,
    train_samples: Sequence[Encoded],
    validation_samples: Sequence[Encoded],
    collator: BatchBuilder,
    settings: TrainingConfig,
    *,
    learning_rate: float,
    seed: int,
    compute: Compute,
    folder: Path,
    on_step: OnStep,
    on_progress: Callable[[int], None],
    on_work: Callable[[Work], None] = lambda _: None,
    ranks: Ranks = ALONE,
    cuda_graphs: bool = False,
) -> Trained:
    """Fine-tune a model, or resume an interrupted run with the same settings.

    Args:
        model: base or adapter with `requires_grad` set; trained in place.
        train_samples: encoded training split.
        validation_samples: encoded validation split.
        collator: builds micro-batches, see `loss.training_loss`.
        settings: epochs, batch size and schedule.
        learning_rate: peak learning rate.
        seed: seed of the data order and of dropout.
        compute: device and number format.
        folder: folder of the checkpoints of this run.
        on_step: receives the optimizer step, its values (loss, learning_rate, validation_loss, ...), and the tokens a
            second since the last loss, which is None without a loss.
        on_progress: receives the number of finished optimizer steps.
        on_work: receives the tokens, seconds and FLOPs of the steps since its last call, before each evaluation.
        ranks: the processes that train the model. Each calls this function with the same arguments, and the first one
            writes the checkpoints. The micro-batch size is that of a rank.
        cuda_graphs: replay the steps of repeated shapes from CUDA graphs where `recorded_steps` allows it.

    Returns:
        the best checkpoint and its loss.

    Raises:
        DivergedError: a loss is not a finite number, or gradients overflow in many steps in a row.
    """
    schedule = plan(len(train_samples), settings)
    clock = StepClock(schedule.evaluation_steps, compute.device, on_work)
    watch = _Watch(schedule, clock, on_step, on_progress, writes_checkpoints=ranks.first)
    start = resume.last_usable(folder)
    resumed_from_step = resume.step_of(start) if start else None
    if ranks.first:
        resume.remove_others(folder, start)
    recorded = recorded_steps(model, settings, compute) if cuda_graphs and ranks.size == 1 else None
    # The Trainer sees the micro-batches of all ranks together, so that the batch stays the study's.
    micro_batch_of_all_ranks = micro_batch_of_rank(settings, ranks.size) * ranks.size
    arguments = training_arguments(
        replace(settings, micro_batch_size=micro_batch_of_all_ranks),
        schedule,
        learning_rate,
        seed,
        compute,
        folder,
        fresh=start is None,
    )
    trainer = TokenMeanTrainer(
        clock=clock,
        ranks=ranks,
        recorded=recorded,
        model=model,
        args=arguments,
        optimizer_cls_and_kwargs=optimizer_class(settings, learning_rate, compute),
        # torch's DataLoader takes every sequence, so that samples need no class of a data set.
        train_dataset=list(train_samples),
        eval_dataset=list(validation_samples),
        data_collator=share_builder(collator, ranks, TrainingFlops.of(model)),
        callbacks=[watch, clock, RankAllocation()],
    )
    # As `Compute.autocast` explains, cached 16-bit copies would only take memory in a training step.
    trainer.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
    # PrinterCallback prints every log line, which would break the progress display.
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    remove_autocast(model)
    if watch.diverged:
        raise watch.diverged
    ranks.wait(compute.device)  # until the last checkpoint is written
    state = trainer.state
    assert state.best_global_step is not None
    assert state.best_metric is not None
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    return Trained(
        checkpoint=folder / f"checkpoint-{state.best_global_step}",
        steps=schedule.total_steps,
        best_step=state.best_global_step,
        best_validation_loss=float(state.best_metric),
        initial_validation_loss=losses.get(0),
        resumed_from_step=resumed_from_step,
        cuda_graphs=0 if recorded is None else recorded.count,
    )
