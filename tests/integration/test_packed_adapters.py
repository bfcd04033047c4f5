"""Training without padding computes what padded training does, for every config class of peft."""

import pytest
import torch
from torch import nn

from peft_study.config.compose import compose_cell
from peft_study.config.schema import MethodConfig, MethodKind
from peft_study.errors import UserError
from peft_study.models.adapter import adapter_config, attach, check_trains
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import batch_builder
from tests.packed_steps import assert_same_step, samples
from tests.peft_cells import CASES, CPU, Case

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TOLERANCE = 1e-4
DRAWS_NOISE = {"PveraConfig"}
"""Adapters that draw noise for each token, in another order where tokens stand elsewhere: no two layouts agree."""
CASES_WITHOUT_NOISE = [case for case in CASES if case.config not in DRAWS_NOISE]


@pytest.mark.parametrize("architecture", ["tiny-llama", "tiny-codegen"])
@pytest.mark.parametrize("case", CASES_WITHOUT_NOISE, ids=str)
def test_a_packed_step_is_a_padded_step(case: Case, architecture: str) -> None:
    cell = compose_cell([f"model={architecture}", "hardware.device=cpu"])
    method = MethodConfig(
        "case", MethodKind.adapter, 1e-3, case.targets, {"_target_": f"peft.{case.config}", **case.settings}
    )
    tokenizer = load_tokenizer(cell.model)
    pad = int(tokenizer.pad_token_id)
    batch = samples(5)
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

    assert_same_step(model, pad, batch, batch_builder(model, pad, cell.training, cell.dataset), TOLERANCE)
