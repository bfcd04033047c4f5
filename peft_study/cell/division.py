"""How a cell divides its batches, by the predicted memory and after attempts that ran out of it."""

import logging
from dataclasses import replace

from peft_study.cell.retries import restricted
from peft_study.config.schema import CellConfig, MemoryPolicy
from peft_study.cost.memory import device_bytes
from peft_study.cost.policy import choose_memory, recorded, smallest_division
from peft_study.errors import UserError
from peft_study.generation.batches import MAX_BATCH
from peft_study.models.precision import Compute
from peft_study.results.attempts import Attempt
from peft_study.results.schema import RunResult
from peft_study.training.schedule import micro_batch_of_rank

logger = logging.getLogger(__name__)


def by_prediction(cell: CellConfig, compute: Compute, result: RunResult) -> CellConfig:
    """Choose micro-batch and gradient checkpointing by the predicted memory of a GPU.

    Args:
        cell: the typed config.
        compute: device and number format.
        result: gets the prediction.

    Returns:
        the config with the chosen division; on a CPU, where nothing is predicted, the same config, or the smallest
        division for `training.memory=small`.

    Raises:
        UserError: the cell fits under no choice.
    """
    if compute.device.type != "cuda":
        # The prediction is for a GPU's memory, and takes seconds.
        is_small = cell.training.memory is MemoryPolicy.small and not cell.training.division_is_set
        return replace(cell, training=smallest_division(cell)) if is_small and cell.method.trains else cell
    # The prediction needs the precision in use, because the setting may be auto.
    training = replace(cell.training, precision=compute.precision)
    choice = choose_memory(replace(cell, training=training), device_bytes(compute.device, cell.hardware.budget_bytes))
    result.predicted = recorded(choice, cell.hardware.gpus_per_cell)
    if choice.exceeds_even_without_overhead:
        raise UserError(
            f"predicted memory must fit the budget: {choice.advice}",
            where="training.memory, hardware.memory_budget_gb",
            hint="training.memory=auto, quantization=nf4, or generation.batch_size=1",
        )
    if cell.method.trains:
        logger.info("micro-batch %d: %s", choice.training.micro_batch_size, choice.reason)
    return replace(cell, training=replace(choice.training, precision=cell.training.precision))


def by_attempts(cell: CellConfig, attempt: Attempt, prompts: int) -> CellConfig:
    """Use less memory than an earlier attempt that ran out of it, and record what is used.

    Args:
        cell: the typed config.
        attempt: the record of this process, filled in place.
        prompts: number of test prompts.

    Returns:
        the config with the division that the attempt's restriction allows.
    """
    training = restricted(cell.training, attempt.restriction)
    if training != cell.training:
        logger.info("after exhausted memory: %s", attempt.restriction)
    if cell.method.trains:
        ranks = cell.hardware.gpus_per_cell
        attempt.micro_batch_size = micro_batch_of_rank(training, ranks)
        attempt.gradient_accumulation = training.batch_size // (attempt.micro_batch_size * ranks)
        attempt.gradient_checkpointing = training.gradient_checkpointing
    most = attempt.restriction.prompts_at_once or cell.generation.batch_size or MAX_BATCH
    attempt.prompts_at_once = min(prompts, most)
    return replace(cell, training=training)
