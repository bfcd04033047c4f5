"""Models with drawn weights: for memory and speed, without a download, quantised while they are drawn."""

import weakref

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch.nn.functional import cosine_similarity

from peft_study.config.compose import compose_cell
from peft_study.config.schema import Device, Precision
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import choose
from peft_study.models.random_weights import RandomTensor
from peft_study.models.tiny import load_tokenizer as tiny_tokenizer

CPU = choose(Device.cpu, Precision.fp32)
SHRUNKEN = [  # CodeLlama's shape in everything but size
    "model.architecture.hidden_size=512",
    "model.architecture.intermediate_size=1376",
    "model.architecture.num_hidden_layers=6",
    "model.architecture.num_attention_heads=8",
    "model.architecture.num_key_value_heads=8",
]


def load(*overrides: str) -> Model:
    cell = compose_cell(["model.weights=random", "model.tokenizer=tiny", *overrides])
    return load_model(cell.model, cell.quantization, cell.method.kind, CPU, load_tokenizer(cell.model))


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-codegen2", "tiny-t5"])
def test_they_are_the_same_every_time_and_leave_the_generator_alone(model: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)

    first, second = (load(f"model={model}").state_dict() for _ in range(2))

    assert torch.rand(1) == expected
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [value for value in first.values() if value.ndim == 2]
    assert all(value.is_floating_point() and 0.01 < value.std() < 1.1 for value in drawn)
    assert len({float(value.flatten()[0]) for value in drawn}) > 10


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantised_ones_are_the_quantised_weights_of_the_others(quantization: str) -> None:
    tokens = torch.arange(20)[None]
    whole, packed = (load("model=tiny-llama", f"quantization={bits}") for bits in ("none", quantization))

    likeness = cosine_similarity(whole(input_ids=tokens).logits, packed(input_ids=tokens).logits, dim=-1)

    assert count(whole).total == count(packed).total
    assert likeness.min() > 0.8  # of weights drawn otherwise it would be near 0


def test_a_shrunken_codellama_in_4_bits_exists_in_more_one_layer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0
    draw = RandomTensor.__getitem__

    def watched(self: RandomTensor, key: object) -> torch.Tensor:
        nonlocal most
        tensor = draw(self, key)
        if tensor.ndim == 2 and 32_000 not in tensor.shape:  # neither the embeddings nor the head, which stay
            alive.add(tensor)
        most = max(most, len(alive))
        return tensor

    monkeypatch.setattr(RandomTensor, "__getitem__", watched)
    model = load("model=codellama-7b-python", "quantization=nf4", *SHRUNKEN)

    assert 0 < most <= 2
    assert isinstance(model.get_submodule("model.layers.5.mlp.up_proj"), Linear4bit)
    assert model(input_ids=torch.arange(8)[None]).logits.isfinite().all()


def test_norms_are_ones_and_biases_zeros() -> None:
    state = load("model=tiny-codegen").state_dict()

    assert all((state[name] == 1).all() for name in state if name.endswith(("ln_1.weight", "ln_f.weight")))
    assert all((state[name] == 0).all() for name in state if name.endswith("bias"))


def test_the_tokenizer_fills_what_the_architecture_leaves_open() -> None:
    model = load("model=tiny-llama")
    tokenizer = tiny_tokenizer()

    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
