"""Gradients of repeated micro-batches from CUDA graphs, equal bit by bit to those of a usual step."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel

from peft_study.config.schema import Precision, TrainingConfig
from peft_study.models.cuda_graphs import Recorder, Recording, is_recordable, memory_room
from peft_study.models.loading import Model, base_of
from peft_study.models.precision import Compute
from peft_study.training.loss import labels_at_once, training_loss
from peft_study.training.packing import Layout, layout_for

MOST_GRAPHS = 16
"""Most recorded shapes. The shapes of packed rows are multiples of `packing.GPU_MULTIPLE`, so that few are left out."""
MEMORY_MARGIN = 1.2
"""Factor of the activations' bytes, for what the allocator rounds and splits."""
TARGET_COUNT = "target_count"
"""Name of the number of target tokens among the inputs of a recording."""
_Shape = tuple[tuple[str, tuple[int, ...]], ...]


def recorded_steps(model: Model, settings: TrainingConfig, compute: Compute) -> "RecordedSteps | None":
    """What replays the training steps of a model; None if they cannot be recorded.

    Args:
        model: base or adapter.
        settings: of the training.
        compute: device and number format.
    """
    if (
        # A graph needs its gradients in the same place at every step. Those of all weights would add to the peak.
        not isinstance(model, PeftModel)
        or not is_recordable(model)
        or layout_for(model) is not Layout.packed
        # The factor of fp16's losses changes from step to step, and recomputation saves the random state.
        or compute.precision is Precision.fp16
        or settings.gradient_checkpointing
    ):
        return None
    return RecordedSteps(model, compute)


class RecordedSteps:
    """Adds the gradients of micro-batches, from a graph as soon as their shapes were seen before.

    Args:
        model: an adapter on a GPU that `recorded_steps` allows.
        compute: device and number format.

    Attributes:
        count: number of recordings so far.
    """

    def __init__(self, model: PeftModel, compute: Compute) -> None:
        self._model, self._compute = model, compute
        self._trained = [weights for weights in model.parameters() if weights.requires_grad]
        self._gradients = [torch.zeros_like(weights) for weights in self._trained]
        self._recorder = Recorder()
        self._recordings: dict[_Shape, Recording[torch.Tensor]] = {}
        self._seen: set[_Shape] = set()
        base: Any = base_of(model)
        self._labels_at_once = labels_at_once(int(base.config.vocab_size))
        self._largest = 0
        self.count = 0
        self._base_bytes = torch.cuda.memory_allocated(compute.device)
        if model.active_peft_config.is_prompt_learning:
            # peft copies them to the GPU in each step, which cannot be recorded.
            for name, ids in model.prompt_tokens.items():
                model.prompt_tokens[name] = ids.to(compute.device)

    def add_gradients(self, inputs: Mapping[str, torch.Tensor], target_count: torch.Tensor) -> torch.Tensor | None:
        """Add the gradients of a micro-batch to those of the model.

        Args:
            inputs: a micro-batch on the GPU.
            target_count: number of target tokens in all micro-batches of a step.

        Returns:
            the loss, in nats; None if nothing was added and the caller must compute a usual step.
        """
        self._make_room(inputs["input_ids"].numel() + inputs["labels"].numel())
        self._place_gradients()
        recorded_inputs = {**inputs, TARGET_COUNT: target_count}
        recording = self._recording_of(recorded_inputs)
        return None if recording is None else recording.replay(recorded_inputs).clone()

    def _recording_of(self, inputs: Mapping[str, torch.Tensor]) -> Recording[torch.Tensor] | None:
        # Without `sequence_ids`, transformers makes a mask, and in a recording another one than in a usual step. With
        # more labels, the loss recomputes logits, and saves the random state for it.
        if "sequence_ids" not in inputs or inputs["labels"].numel() > self._labels_at_once:
            return None
        shape = tuple((name, tuple(values.shape)) for name, values in inputs.items())
        recording = self._recordings.get(shape)
        if recording is None and shape in self._seen and len(self._recordings) < MOST_GRAPHS and self._has_room():
            recording = self._recordings[shape] = self._recorder.record(self._add, inputs)
            self.count += 1
        self._seen.add(shape)
        return recording

    def _add(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        batch = {name: values for name, values in inputs.items() if name != TARGET_COUNT}
        with self._compute.autocast(keep_casts=False):
            loss = training_loss(self._model, batch, inputs[TARGET_COUNT])
        loss.backward()
        return loss.detach()

    def _place_gradients(self) -> None:
        """Let all steps add to the same tensors. The Trainer removes the gradients after each optimizer step."""
        missing = [place for place, weights in enumerate(self._trained) if weights.grad is None]
        if missing:
            torch._foreach_zero_([self._gradients[place] for place in missing])
        for place in missing:
            self._trained[place].grad = self._gradients[place]

    def _make_room(self, size: int) -> None:
        """Free the memory of recordings before the first step of the largest micro-batch so far, which may need it."""
        if size > self._largest and self._recordings:
            self._recordings.clear()
            self._recorder = Recorder()
            torch.cuda.empty_cache()
        self._largest = max(size, self._largest)

    def _has_room(self) -> bool:
        # A graph keeps its activations' memory, and usual steps beside it need theirs. All graphs share one part.
        device = self._compute.device
        activations = torch.cuda.max_memory_allocated(device) - self._base_bytes
        return memory_room(device) >= 2 * MEMORY_MARGIN * activations
