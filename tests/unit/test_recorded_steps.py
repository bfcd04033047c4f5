"""Which steps are replayed, and where their gradients go. A GPU records them in `tests/gpu`; here they are computed."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from peft_study.data.tokens import Encoded
from peft_study.training import recorded_steps
from peft_study.training.loss import training_loss
from peft_study.training.packing import Packer
from peft_study.training.recorded_steps import RecordedSteps
from tests.plain_generation import CPU
from tests.unit.test_decode import wide_model, with_adapter


class ComputingRecorder:
    """Stands for `cuda_graphs.Recorder`: a replay computes again."""

    def record(self, compute: Callable[[Mapping[str, Any]], Any], inputs: Mapping[str, Any]) -> Any:
        class Recording:
            def replay(self, inputs: Mapping[str, Any]) -> Any:
                return compute(inputs)

        return Recording()


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_steps, "Recorder", ComputingRecorder)
    monkeypatch.setattr(recorded_steps, "memory_room", lambda _device: 10)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 4)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def batch(model: Any, *lengths: int) -> dict[str, torch.Tensor]:
    samples = [Encoded(tuple(range(5, 5 + length)), tuple(range(9, 9 + length)), 0, 0) for length in lengths]
    return Packer.of(model, 0)(samples)


def test_usual_and_replayed_micro_batches_add_to_the_same_gradients() -> None:
    model = with_adapter(wide_model("tiny-llama"), "tiny-llama", "lora").eval()
    steps = RecordedSteps(model, CPU)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    batches = [batch(model, *lengths) for lengths in ((3, 4), (3, 4), (5, 6), (3, 4), (5, 6), (3, 4))]
    replayed = []

    for first in range(0, len(batches), 3):  # two optimizer steps of three micro-batches
        for inputs in batches[first : first + 3]:
            loss = steps.add_gradients(inputs, torch.tensor(10))
            replayed.append(loss is not None)
            if loss is None:
                training_loss(model, inputs, torch.tensor(10)).backward()
        gradients = [weights.grad.clone() for weights in trained if weights.grad is not None]
        model.zero_grad(set_to_none=True)
        for inputs in batches[first : first + 3]:
            training_loss(model, inputs, torch.tensor(10)).backward()
        for weights, gradient in zip(trained, gradients, strict=True):
            torch.testing.assert_close(gradient, weights.grad)
        model.zero_grad(set_to_none=True)

    # The larger shape ends the recording before it, so that a step of its size has room.
    assert replayed == [False, True, False, True, True, True]
    assert steps.count == 3


def test_what_a_recording_would_compute_otherwise_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_adapter(wide_model("tiny-llama"), "tiny-llama", "lora")
    without_mask, ordinary = batch(model, 4), batch(model, 3, 4)
    assert "sequence_ids" not in without_mask
    steps = RecordedSteps(model, CPU)
    assert [steps.add_gradients(without_mask, torch.tensor(4)) for _ in range(3)] == [None] * 3

    # The loss of more labels than this is split, and recomputed in the backward pass.
    monkeypatch.setattr("peft_study.training.loss.LOGITS_AT_ONCE", 1536 * 2)
    steps = RecordedSteps(model, CPU)
    assert [steps.add_gradients(ordinary, torch.tensor(7)) for _ in range(3)] == [None] * 3
