"""What is predicted of a cell before it runs: its memory, and its row of a plan."""

from dataclasses import dataclass

CUDA_CONTEXT_BYTES = 450_000_000
"""GPU memory of a process outside torch's allocator: CUDA's context and kernels, about 0.4 GB on an A5000."""
# The allocations themselves are predicted closely: for a packed batch on an H100 with a median error of 0.8 %, and at
# most 8.8 % (CodeT5+ 220M, docs/performance-log.md).
FRAGMENTATION = 0.03
"""Bytes that the caching allocator reserves in addition, as a share of the allocated bytes; a rule of thumb."""


@dataclass(frozen=True)
class Estimate:
    """The predicted parameters and peak memory of a cell.

    Peaks count the bytes that torch's allocator hands out, as `torch.cuda.max_memory_allocated` reports them.

    Attributes:
        trainable_parameters: exact number, counted on a model without data.
        total_parameters: exact number, the adapter included.
        load_peak_bytes: peak while the model is loaded.
        train_peak_bytes: peak of an optimizer step or an evaluation with samples that fill the data set's limits; 0 if
            nothing is trained.
        generate_peak_bytes: peak of a batch with prompts and candidates that fill the limits.
    """

    trainable_parameters: int
    total_parameters: int
    load_peak_bytes: int
    train_peak_bytes: int
    generate_peak_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The largest peak of the three phases."""
        return max(self.load_peak_bytes, self.train_peak_bytes, self.generate_peak_bytes)

    @property
    def overhead_bytes(self) -> int:
        """GPU memory in addition to `peak_bytes`, by a rule of thumb: CUDA's context and fragmentation."""
        return CUDA_CONTEXT_BYTES + round(FRAGMENTATION * self.peak_bytes)


@dataclass(frozen=True)
class Forecast:
    """A cell of a plan: facts and estimates.

    Attributes:
        cell_id: readable name with a hash.
        folder: folder of the results.
        overrides: the command line that runs only this cell.
        model: config name of the model.
        method: config name of the method.
        dataset: config name of the data set.
        quantization: config name of the quantization.
        seed: seed of the cell.
        num_examples: number of training samples before a prompt.
        state: new, done, interrupted, infeasible, or the status of a failed run.
        runs: whether the command would run the cell, and not skip or refuse it.
        reason: why the cell cannot run, or why it failed; None for other states.
        trainable_parameters: exact number; None if the config does not state the model's architecture, or if peft
            needs the weights to build the adapter.
        predicted_peak_bytes: peak memory by a replay of a step; None if it cannot be predicted.
        budget_bytes: `hardware.memory_budget_gb` in bytes; None for no budget.
        division: the micro-batch that `training.memory` chooses, and whether activations are recomputed.
        settings: `identity.settings_key`: cells with the same key are replicates.
        advice: a change that makes the cell fit, if the prediction with overhead exceeds the budget; else None.
        predicted_seconds: median duration of finished replicates of this cell on the same hardware option, without the
            import of libraries; None if no replicate has finished under the output folder.
    """

    cell_id: str
    folder: str
    overrides: list[str]
    model: str
    method: str
    dataset: str
    quantization: str
    seed: int
    num_examples: int
    state: str
    runs: bool
    reason: str | None
    trainable_parameters: int | None
    predicted_peak_bytes: int | None
    budget_bytes: int | None
    predicted_seconds: float | None
    division: str = ""
    settings: str | None = None
    advice: str | None = None

    @property
    def over_budget(self) -> bool:
        """Whether the prediction with overhead exceeds the budget."""
        return self.advice is not None
