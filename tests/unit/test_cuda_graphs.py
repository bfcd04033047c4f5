"""What may be recorded in a CUDA graph. `tests/gpu` records it."""

from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch

from peft_study.models import cuda_graphs


class OnGpu(torch.nn.Module):
    """Stands for a base model on a GPU, of which only config and device are read."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        self.device = torch.device("cuda")


@pytest.mark.parametrize(
    ("config", "recordable"),
    [
        ({"model_type": "llama"}, True),
        ({"model_type": "codegen"}, True),
        ({"model_type": "t5"}, False),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, True),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, True),
        # transformers computes other frequencies for positions beyond the longest so far, and looks for them.
        ({"model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, False),
        ({"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}}, False),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "longrope"}}, False),
    ],
)
def test_architectures(config: dict[str, Any], recordable: bool) -> None:
    assert cuda_graphs.is_recordable(OnGpu(**config)) == recordable  # type: ignore[arg-type]


def test_a_model_on_a_cpu_or_in_8_bits_is_not() -> None:
    on_cpu, in_8_bits = OnGpu(model_type="llama"), OnGpu(model_type="llama")
    on_cpu.device = torch.device("cpu")
    in_8_bits.is_loaded_in_8bit = True  # type: ignore[assignment]

    assert not cuda_graphs.is_recordable(on_cpu)  # type: ignore[arg-type]
    assert not cuda_graphs.is_recordable(in_8_bits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("adapter", "recordable"),
    [
        (peft.LoraConfig(r=4, lora_dropout=0.1), True),
        (peft.IA3Config(), True),
        (peft.PromptTuningConfig(num_virtual_tokens=2), True),
        (peft.PrefixTuningConfig(num_virtual_tokens=2), True),
        (peft.LoraConfig(use_dora=True), False),
        (peft.LoraConfig(lora_bias=True), False),
        (peft.LoraConfig(trainable_token_indices=[1, 2]), False),
        (peft.LoraConfig(target_parameters=["weight"]), False),
        (peft.LoraConfig(modules_to_save=["lm_head"]), False),
        (peft.LoraConfig(layer_replication=[(0, 1)]), False),
        (peft.LoraConfig(task_type="CAUSAL_LM", alora_invocation_tokens=[5]), False),
        (peft.AdaLoraConfig(total_step=10), False),
        (peft.LoHaConfig(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_adapters(adapter: peft.PeftConfig, recordable: bool) -> None:
    assert cuda_graphs.is_recordable_adapter(adapter) == recordable
