"""Divide a batch so that training fits the memory: micro-batch, accumulation and gradient checkpointing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from peft_study.config.schema import CellConfig, MemoryPolicy, TrainingConfig
from peft_study.cost.forecast import Estimate
from peft_study.cost.predict import estimate
from peft_study.training.schedule import micro_batch_of_rank

GB = 1e9
# Halves of the study's batch of 8, so that accumulation keeps the samples of an optimizer step.
MICRO_BATCHES = (8, 4, 2, 1)


@dataclass(frozen=True)
class MemoryChoice:
    """The chosen division of a cell's batch.

    Attributes:
        training: the chosen settings.
        predicted: estimate for these settings; None if it is unknown.
        budget_bytes: memory that the cell may take; None for no limit.
        reason: why the settings were chosen.
        smallest: estimate for the division that takes the least memory; None if `predicted` fits or is unknown.
    """

    training: TrainingConfig
    predicted: Estimate | None
    budget_bytes: int | None
    reason: str
    smallest: Estimate | None = None

    @property
    def fits(self) -> bool | None:
        """Whether the prediction with overhead is within the budget; None if either is unknown."""
        if self.predicted is None or self.budget_bytes is None:
            return None
        return _fits(self.predicted, self.budget_bytes)

    @property
    def exceeds_even_without_overhead(self) -> bool:
        """Whether the predicted allocations exceed the budget even without overhead."""
        # Only this refuses a cell: the overhead is a rule of thumb, and a cell that might fit should be tried.
        return (
            self.predicted is not None
            and self.budget_bytes is not None
            and self.predicted.peak_bytes > self.budget_bytes
        )

    @property
    def division(self) -> str:
        """The micro-batch, and `+recompute` for gradient checkpointing; empty without training."""
        if self.predicted is None or not self.predicted.train_peak_bytes:
            return ""
        return f"{self.training.micro_batch_size}{'+recompute' if self.training.gradient_checkpointing else ''}"

    @property
    def advice(self) -> str | None:
        """A change that makes the cell fit; None if it fits or if that is unknown."""
        if self.fits is not False or self.predicted is None or self.budget_bytes is None:
            return None
        excess = f"{_needed(self.predicted) / GB:.1f} GB > {self.budget_bytes / GB:.1f}"
        if self.smallest is not None and _fits(self.smallest, self.budget_bytes):
            return f"{excess}: fits with training.memory=small ({_needed(self.smallest) / GB:.1f} GB)"
        generates = self.predicted.generate_peak_bytes == self.predicted.peak_bytes
        return (
            f"{excess}: {'generation' if generates else 'training'} does not fit with any setting of training.memory; "
            "quantization=nf4, hardware.shard_weights=true with hardware.gpus_per_cell=2, or another card"
        )


def choose_memory(cell: CellConfig, budget_bytes: int | None) -> MemoryChoice:
    """Choose micro-batch and gradient checkpointing by `training.memory`, the prediction and the budget.

    Args:
        cell: the typed config. A micro-batch or checkpointing that differs from its default overrides the policy.
        budget_bytes: memory that the cell may take; None for no limit.

    Returns:
        the choice; if it exceeds the budget, `fits` is False. With several GPUs a cell, the micro-batch is that of a
        GPU.
    """
    choice = _choose(_share_of_gpu(cell), budget_bytes)
    return replace(choice, training=replace(choice.training, batch_size=cell.training.batch_size))


def _share_of_gpu(cell: CellConfig) -> CellConfig:
    share = cell.training.batch_size // cell.hardware.gpus_per_cell
    return replace(cell, training=replace(cell.training, batch_size=share))


def _choose(cell: CellConfig, budget_bytes: int | None) -> MemoryChoice:
    training = cell.training
    if not cell.method.trains:
        return MemoryChoice(training, estimate(cell), budget_bytes, "nothing is trained")
    if training.division_is_set:
        fitting = replace(training, micro_batch_size=micro_batch_of_rank(training))
        reason = "training.micro_batch_size or training.gradient_checkpointing is set"
        return _with_smallest(cell, _chosen(cell, fitting, budget_bytes, reason))
    fastest, *slower = _divisions(cell)
    smallest = slower[-1] if slower else fastest
    if training.memory is MemoryPolicy.small:
        return _chosen(cell, smallest, budget_bytes, "training.memory=small")
    choice = _chosen(cell, fastest, budget_bytes, f"training.memory={training.memory}")
    if training.memory is not MemoryPolicy.auto or choice.fits is not False:
        return _with_smallest(cell, choice)
    for division in slower:
        choice = _chosen(cell, division, budget_bytes, "the fastest that fits the budget by the prediction")
        if choice.fits:
            return choice
    return replace(choice, reason="the smallest, which exceeds the budget", smallest=choice.predicted)


def smallest_division(cell: CellConfig) -> TrainingConfig:
    """Return the settings of training that divide a batch so that it takes the least memory.

    Args:
        cell: the typed config. With several GPUs a cell, the micro-batch is that of a GPU.
    """
    *_, smallest = _divisions(_share_of_gpu(cell))
    return replace(smallest, batch_size=cell.training.batch_size)


def recorded(choice: MemoryChoice, gpus: int = 1) -> dict[str, int | str]:
    """A choice as result.json stores it: the predicted bytes of each phase, the chosen division and the reason."""
    predicted = choice.predicted
    if predicted is None:
        return {}
    record: dict[str, int | str] = {
        "peak_bytes": predicted.peak_bytes,
        "load_peak_bytes": predicted.load_peak_bytes,
        "train_peak_bytes": predicted.train_peak_bytes,
        "generate_peak_bytes": predicted.generate_peak_bytes,
        "overhead_bytes": predicted.overhead_bytes,
    }
    if predicted.train_peak_bytes:
        training = choice.training
        record |= {
            "micro_batch_size": training.micro_batch_size,
            "gradient_accumulation": training.batch_size // (training.micro_batch_size * gpus),
            "gradient_checkpointing": int(training.gradient_checkpointing),
            "memory_policy": str(training.memory),
            "memory_reason": choice.reason,
        }
    return record


def _divisions(cell: CellConfig) -> Iterator[TrainingConfig]:
    """Divisions of a batch, the fastest first."""
    # Recomputing activations costs about a third more time; a smaller micro-batch costs less, so it is tried first.
    # Measured for an adapter of CodeLlama-7B on an H100: micro-batches of one with recomputed activations take 13.8
    # instead of 19.4 GB, and ten times as long (docs/performance-log.md).
    training = cell.training
    sizes = [size for size in MICRO_BATCHES if training.batch_size % size == 0]
    for recompute in (False, True) if cell.method.can_recompute else (False,):
        for size in sizes:
            yield replace(training, micro_batch_size=size, gradient_checkpointing=recompute)


def _chosen(cell: CellConfig, training: TrainingConfig, budget_bytes: int | None, reason: str) -> MemoryChoice:
    return MemoryChoice(training, estimate(replace(cell, training=training)), budget_bytes, reason)


def _with_smallest(cell: CellConfig, choice: MemoryChoice) -> MemoryChoice:
    if choice.fits is not False:
        return choice
    *_, smallest = _divisions(cell)
    return replace(choice, smallest=estimate(replace(cell, training=replace(smallest, memory=MemoryPolicy.small))))


def _needed(predicted: Estimate) -> int:
    return predicted.peak_bytes + predicted.overhead_bytes


def _fits(predicted: Estimate, budget_bytes: int) -> bool:
    return _needed(predicted) <= budget_bytes
