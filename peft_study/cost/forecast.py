"""The row of a plan: facts and estimates about a cell before it runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """A cell of a plan.

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
