"""The settings of a fine-tuning run, as transformers' Trainer takes them."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from peft_study.config.schema import Optimizer, Precision, RateSchedule, TrainingConfig
from peft_study.models.compat import use_one_gpu
from peft_study.models.precision import Compute
from peft_study.training.adafactor import GroupedAdafactor
from peft_study.training.schedule import Schedule

LOGGED_STEPS = 200
"""Number of loss values of a run: enough for the shape of a curve, few enough for a small record."""
# The names of transformers. The fused AdamW updates in place; the unfused one copies all trained parameters at a step.
_OPTIMIZERS: Mapping[Optimizer, str] = {
    Optimizer.adafactor: "adafactor",
    Optimizer.adamw: "adamw_torch_fused",
    Optimizer.adamw_8bit: "adamw_bnb_8bit",
    Optimizer.paged_adamw: "paged_adamw_32bit",
    Optimizer.paged_adamw_8bit: "paged_adamw_8bit",
}
_SCHEDULES: Mapping[RateSchedule, str] = {
    RateSchedule.linear: "linear",
    RateSchedule.cosine: "cosine",
    RateSchedule.constant: "constant_with_warmup",
}


def optimizer_class(
    settings: TrainingConfig, learning_rate: float, compute: Compute
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The class of the optimizer and its arguments, as the Trainer takes them; None for that of transformers.

    Args:
        settings: name the optimizer.
        learning_rate: peak learning rate.
        compute: gives the device.
    """
    # On a CPU, launches cost nothing, and results stay equal bit by bit to those of earlier versions.
    if settings.optimizer is not Optimizer.adafactor or compute.device.type != "cuda":
        return None
    # The values that the Trainer sets for `adafactor`.
    return GroupedAdafactor, {"lr": learning_rate, "scale_parameter": False, "relative_step": False}


def training_arguments(
    settings: TrainingConfig,
    schedule: Schedule,
    learning_rate: float,
    seed: int,
    compute: Compute,
    folder: Path,
    *,
    fresh: bool,
) -> TrainingArguments:
    """The Trainer's arguments.

    Args:
        settings: with the micro-batch size of all ranks together.
        schedule: steps, and when to evaluate.
        learning_rate: peak learning rate.
        seed: seed of the data order and of dropout.
        compute: device and number format.
        folder: folder of the checkpoints.
        fresh: evaluate before the first step; False if a run resumes.
    """
    # With bf16 and fp16 both False, accelerate reads the number format from the environment: an exported variable would
    # turn fp32 into mixed precision.
    mixed = {Precision.fp32: "no", Precision.bf16: "bf16", Precision.fp16: "fp16"}
    os.environ["ACCELERATE_MIXED_PRECISION"] = mixed[compute.precision]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.total_steps,
        per_device_train_batch_size=settings.micro_batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
        optim=_OPTIMIZERS[settings.optimizer],
        weight_decay=settings.weight_decay,
        learning_rate=learning_rate,
        lr_scheduler_type=_SCHEDULES[settings.schedule],
        # transformers 5 has no `warmup_ratio`.
        warmup_steps=math.ceil(settings.warmup_fraction * schedule.total_steps),
        max_grad_norm=settings.max_grad_norm,
        bf16=compute.precision is Precision.bf16,
        fp16=compute.precision is Precision.fp16,
        use_cpu=compute.device.type == "cpu",
        seed=seed,
        data_seed=seed,
        # A resumed run keeps the first validation loss in the Trainer's state.
        eval_on_start=fresh,
        prediction_loss_only=True,
        # `_Watch` decides when to evaluate and save. The Trainer tracks the best step only with save_strategy="steps".
        eval_strategy="no",
        save_strategy="steps",
        save_steps=schedule.total_steps + 1,
        # `load_best_model_at_end` stays off: it fails for prompt learning (peft 0.21). `checkpoint.restore` loads it.
        # `_Watch` removes older checkpoints, because the Trainer goes by the files' times.
        save_total_limit=None,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, schedule.total_steps // LOGGED_STEPS),
        # The filter would log a loss of NaN as 0.0, which hides a run that diverges.
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=compute.device.type == "cuda",
        disable_tqdm=True,
        # Only `tracking` talks to W&B, because it removes secrets from what is sent.
        report_to="none",
    )
    # A cell runs on one GPU. With several visible, the Trainer would split each batch among them.
    use_one_gpu(arguments)
    return arguments
