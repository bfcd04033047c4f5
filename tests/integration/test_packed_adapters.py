"""Training without padding computes what padded training does, for every config class of peft."""

import random
from typing import Any

import pytest
import torch
from torch import nn

from peft_study.config.compose import compose_cell
from peft_study.config.schema import MethodConfig, MethodKind
from peft_study.data.tokens import Encoded
from peft_study.errors import UserError
from peft_study.methods.attach import adapter_config, attach, check_trains
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import batch_builder
from tests.peft_cells import CASES, CPU, Case

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TOLERANCE = 1e-4
DRAWS_NOISE = {"PveraConfig"}
"""Adapters that draw noise for each token, in another order where tokens stand elsewhere."""


def samples() -> list[Encoded]:
    draw = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(5, 500) for _ in range(count))

    return [Encoded(tokens(draw.randrange(3, 30)), tokens(draw.randrange(1, 12)), 0, 0) for _ in range(5)]


def step(model: Any, inputs: dict[str, torch.Tensor], count: int) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    loss = training_loss(model, inputs, count)
    loss.backward()
    gradients = {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(loss.detach()), gradients


@pytest.mark.parametrize("architecture", ["tiny-llama", "tiny-codegen"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_packed_step_is_a_padded_step(case: Case, architecture: str) -> None:
    cell = compose_cell([f"model={architecture}", "hardware.device=cpu"])
    method = MethodConfig(
        "case", MethodKind.adapter, 1e-3, case.targets, {"_target_": f"peft.{case.config}", **case.settings}
    )
    tokenizer = load_tokenizer(cell.model)
    pad = int(tokenizer.pad_token_id)
    batch = samples()
    try:
        adapter = adapter_config(method, FAMILIES[cell.model.family], tokenizer.name_or_path, 10)
        model = attach(load_model(cell.model, cell.quantization, method.kind, CPU, tokenizer), method.kind, adapter, 1)
        check_trains(model, Collator(pad, encoder_decoder=False)(batch[:1]), CPU, training_loss)
    except UserError as error:
        pytest.skip(f"refused: {error.what}")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights.add_(0.01 * torch.randn_like(weights))
    model.train()
    count = sum(len(sample.target) for sample in batch)

    loss, found = step(model, batch_builder(model, pad, cell.training, cell.dataset)(batch), count)
    expected_loss, expected = step(model, Collator(pad, encoder_decoder=False)(batch), count)

    assert loss == pytest.approx(expected_loss, rel=1e-2 if case.config in DRAWS_NOISE else 1e-5)
    assert found.keys() == expected.keys()
    error = sum(((found[name] - expected[name]) ** 2).sum() for name in expected) ** 0.5
    if case.config in DRAWS_NOISE:
        return
    assert error < TOLERANCE * sum((value**2).sum() for value in expected.values()) ** 0.5
