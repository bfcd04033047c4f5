"""Adapters that cannot train: refused with the setting, whatever peft or torch raises."""

from typing import Any

import pytest
import torch
from peft import PeftModel

from peft_study.config.compose import compose_cell
from peft_study.config.schema import Device, MethodConfig, MethodKind, Precision, Targets
from peft_study.cost.predict import estimate
from peft_study.errors import UserError
from peft_study.models.adapter import adapter_config, attach, check_trains, virtual_tokens
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import choose
from peft_study.training.loss import training_loss

# peft warns of settings that it then refuses, or that the project refuses.
pytestmark = pytest.mark.filterwarnings("ignore")
CPU = choose(Device.cpu, Precision.fp32)
IDS = torch.arange(3, 13)[None]
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}


def method(config: str, settings: dict[str, Any]) -> MethodConfig:
    targets = Targets.none if "target_modules" in settings or config == "AdaptionPromptConfig" else Targets.attention
    return MethodConfig("case", MethodKind.adapter, 1e-3, targets, {"_target_": f"peft.{config}", **settings})


def tried(config: str, settings: dict[str, Any]) -> PeftModel:
    """An adapter of tiny-llama that took a step."""
    cell = compose_cell(["model=tiny-llama"])
    adapter = adapter_config(method(config, settings), FAMILIES[cell.model.family], "")
    base = load_model(cell.model, cell.quantization, MethodKind.adapter, CPU, load_tokenizer(cell.model))
    model = attach(base, MethodKind.adapter, adapter, seed=0)
    assert isinstance(model, PeftModel)
    check_trains(model, BATCH, CPU, training_loss)
    return model


@pytest.mark.parametrize(
    ("config", "settings", "named"),
    [
        ("PromptTuningConfig", {"num_virtual_tokens": 0}, "num_virtual_tokens"),
        ("PromptTuningConfig", {"num_virtual_tokens": -1}, "num_virtual_tokens"),
        ("PromptTuningConfig", {"num_virtual_tokens": "x"}, "num_virtual_tokens"),
        ("PrefixTuningConfig", {"num_virtual_tokens": 2.5}, "num_virtual_tokens"),
        ("PrefixTuningConfig", {"num_virtual_tokens": 0}, "num_virtual_tokens"),
        ("PrefixTuningConfig", {"num_virtual_tokens": 4, "num_layers": 0}, "num_layers"),
        ("PromptEncoderConfig", {"num_virtual_tokens": 0, "encoder_hidden_size": 16}, "num_virtual_tokens"),
        ("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": -16}, "encoder_hidden_size"),
        ("PromptEncoderConfig", {"num_virtual_tokens": 4, "encoder_hidden_size": 0}, "encoder_hidden_size"),
        ("CartridgeConfig", {"num_virtual_tokens": 4, "num_frozen_tokens": 4}, "adapter"),
        ("LoraConfig", {"r": 0}, "r"),
        ("LoraConfig", {"r": -4}, "r"),
        ("LoraConfig", {"lora_alpha": 0}, "lora_alpha"),
        ("LoraConfig", {"lora_dropout": 1.0}, "lora_dropout"),
        ("LoraConfig", {"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
        ("LoraConfig", {"rank_pattern": {"v_proj": 4, "q_proj": -1}}, "rank_pattern"),
        ("LoraConfig", {"alpha_pattern": {"q_proj": 0}}, "alpha_pattern"),
        ("LoraConfig", {"rank_pattern": {"q_proj": "x"}}, "rank_pattern"),
        ("LoraConfig", {"rank_pattern": {"q_proj": None}}, "rank_pattern"),
        ("LoraConfig", {"alpha_pattern": 4}, "alpha_pattern"),
        ("LoHaConfig", {"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
        ("LoraConfig", {"target_modules": []}, "target_modules"),
        ("LoraConfig", {"target_modules": ["no_such_layer"]}, "adapter"),
        ("LoraConfig", {"layers_to_transform": []}, "layers_to_transform"),
        ("LoraConfig", {"layers_to_transform": [99]}, "adapter"),
        ("LoraConfig", {"inference_mode": True}, "adapter"),
        ("LoraConfig", {"init_lora_weights": "eva"}, "init_lora_weights"),
        ("LoraConfig", {"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ("LoraConfig", {"arrow_config": {}}, "adapter"),
        ("AdaLoraConfig", {"init_r": 0}, "init_r"),
        ("AdaLoraConfig", {"beta1": 0.0}, "beta1"),
        ("AdaLoraConfig", {"total_step": 0}, "adapter"),
        ("LoHaConfig", {"r": 0}, "r"),
        ("VeraConfig", {"r": 0}, "r"),
        ("BOFTConfig", {"boft_block_size": 7}, "adapter"),
        ("C3AConfig", {"block_size": 0}, "block_size"),
        ("VBLoRAConfig", {"vector_length": 0}, "vector_length"),
        ("AdaptionPromptConfig", {"adapter_len": 0, "adapter_layers": 2}, "adapter_len"),
        ("AdaptionPromptConfig", {"adapter_len": 4, "adapter_layers": 0}, "adapter_layers"),
        ("PolyConfig", {}, "adapter"),
    ],
)
def test_an_adapter_that_cannot_train_is_refused_with_its_setting(
    config: str, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError) as refused:
        tried(config, settings)

    assert f"method.adapter.{named}" in (refused.value.where or "") or named == "adapter"
    assert (refused.value.where or "").startswith("method.adapter")


def test_a_trial_leaves_the_adapter_and_the_random_numbers_as_they_are() -> None:
    torch.manual_seed(5)
    following = torch.rand(3)
    model = tried("LoraConfig", {"lora_dropout": 0.5})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)

    check_trains(model, BATCH, CPU, training_loss)

    assert torch.equal(torch.rand(3), following)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("config", "settings", "tokens"),
    [
        ("LoraConfig", {}, 0),
        ("PromptTuningConfig", {"num_virtual_tokens": 7}, 7),
        ("PrefixTuningConfig", {"num_virtual_tokens": 5}, 5),
    ],
)
def test_virtual_tokens_are_those_of_prompt_learning(config: str, settings: dict[str, Any], tokens: int) -> None:
    cell = compose_cell(["model=tiny-llama"])

    assert virtual_tokens(adapter_config(method(config, settings), FAMILIES[cell.model.family], "")) == tokens


@pytest.mark.parametrize("config", ["BOFTConfig", "ShiraConfig", "UniLoraConfig"])
def test_an_adapter_that_looks_at_the_weights_has_an_exact_estimate_or_none(config: str) -> None:
    cell = compose_cell(["model=tiny-llama"])
    cell.method = method(config, {})
    base = load_model(cell.model, cell.quantization, MethodKind.adapter, CPU, load_tokenizer(cell.model))
    model = attach(base, MethodKind.adapter, adapter_config(cell.method, FAMILIES[cell.model.family], ""), seed=0)

    predicted = estimate(cell)

    assert predicted is None or predicted.trainable_parameters == count(model).trainable
