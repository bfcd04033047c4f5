"""What is known of a cell before it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """One cell of a plan.

    Attributes:
        cell_id: readable name with its hash.
        folder: where its results are, or will be.
        overrides: the command line that runs it alone.
        model: config name, and likewise the next three.
        method: see `model`.
        dataset: see `model`.
        quantization: see `model`.
        seed: its seed.
        num_examples: training samples before a prompt.
        state: new, done, interrupted, infeasible, or how it failed.
        reason: why it cannot run, or why it failed.
        trainable_parameters: exact; None where the config does not state the model's architecture, or where peft needs
            the weights to build the adapter.
        predicted_peak_bytes: by a replay of a step; None likewise.
        budget_bytes: `hardware.memory_budget_gb`.
        division: the micro-batch that `training.memory` chooses, and whether activations are recomputed.
        settings: `identity.settings_key`: cells with the same key are replicates.
        advice: what would fit where the prediction, with the overhead of CUDA and its allocator, is above the budget.
        predicted_seconds: the median of finished cells of this model, method, data set and quantization; None where
            there is none. Loading Python's libraries comes on top.
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
        """Whether the prediction and its overhead are above the budget."""
        return self.advice is not None
