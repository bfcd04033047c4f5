"""Steps on packed micro-batches, held against transformers' own loss on padded samples."""

import random
from typing import Any

import pytest
import torch

from peft_study.data.tokens import Encoded
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder


def samples(number: int = 8) -> list[Encoded]:
    """Samples of very different lengths."""
    draw = random.Random(0)
    lengths = [(draw.randrange(3, 40), draw.randrange(1, 20)) for _ in range(number)]

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 500) for _ in range(count))

    return [Encoded(tokens(prompt), tokens(target), 0, 0) for prompt, target in lengths]


def assert_same_step(
    model: Any, pad: int, batch: list[Encoded], builder: BatchBuilder, tolerance: float = 1e-5
) -> None:
    """Compare loss and gradients.

    Args:
        model: base or adapter, without dropout; its gradients are removed.
        pad: the padding token.
        batch: the samples.
        builder: what is tested.
        tolerance: of the gradients, relative to their norm.
    """
    padded = Collator(pad, bool(model.config.is_encoder_decoder))(batch)
    torch.manual_seed(0)
    expected_loss, expected = _step(model, model(**padded).loss)
    torch.manual_seed(0)
    loss, gradients = _step(model, training_loss(model, builder(batch), sum(len(sample.target) for sample in batch)))

    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert gradients.keys() == expected.keys()
    error = sum(((gradients[name] - expected[name]) ** 2).sum() for name in expected)
    assert error**0.5 < tolerance * sum((value**2).sum() for value in expected.values()) ** 0.5


def _step(model: Any, loss: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    loss.backward()
    gradients = {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(loss.detach()), gradients
