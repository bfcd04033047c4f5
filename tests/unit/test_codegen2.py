"""CodeGen2 in transformers' CodeGen: against an eight-way attention written out, and with weights in a wrong order."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, CodeGenConfig, CodeGenForCausalLM
from transformers.models.codegen.modeling_codegen import CodeGenAttention

from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig, Device, Precision
from peft_study.errors import UserError
from peft_study.models import tiny
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.codegen2 import CodeGen2ForCausalLM, as_codegen, four_way
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.precision import choose

SHAPES = [(64, 8, 4), (64, 16, 2), (96, 8, 12), (160, 8, 20)]


def rotated(heads: Tensor, rotary: int) -> Tensor:
    """Rotary positions on the first dimensions, neighbours in pairs (arXiv 2104.09864, section 3.4.2)."""
    angle = torch.arange(heads.shape[1])[:, None] / 10_000 ** (torch.arange(0, rotary, 2) / rotary)
    cos, sin = (function(angle)[None, :, None, :] for function in (torch.cos, torch.sin))
    even, odd = heads[..., :rotary:2], heads[..., 1:rotary:2]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((turned, heads[..., rotary:]), dim=-1)


def eight_way_attention(hidden: Tensor, qkv: Tensor, out: Tensor, heads: int, rotary: int) -> Tensor:
    """Causal attention whose projection holds eight groups, in each the query, value and key of some heads."""
    batch, length, width = hidden.shape
    groups = (hidden @ qkv.T).view(batch, length, 8, 3, heads // 8, width // heads)
    query, value, key = (groups[:, :, :, part].reshape(batch, length, heads, -1) for part in range(3))
    query, key = rotated(query, rotary), rotated(key, rotary)
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(width // heads)
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)
    return mixed.reshape(batch, length, width) @ out.T


@pytest.mark.parametrize(("width", "heads", "rotary"), SHAPES)
def test_a_converted_projection_attends_as_eight_groups(width: int, heads: int, rotary: int) -> None:
    torch.manual_seed(0)
    config = CodeGenConfig(n_embd=width, n_head=heads, rotary_dim=rotary, n_positions=32)  # type: ignore[call-arg]
    layer = CodeGenAttention(config, layer_idx=0).eval()
    hidden, original = torch.randn(2, 9, width), torch.randn(3 * width, width)
    expected = eight_way_attention(hidden, original, layer.out_proj.weight, heads, rotary)
    mask = torch.full((9, 9), torch.finfo(torch.float32).min).triu(1)[None, None]
    positions = torch.arange(9)[None].expand(2, -1)

    with torch.no_grad():
        layer.qkv_proj.weight.copy_(four_way(original))
        converted = layer(hidden, attention_mask=mask, position_ids=positions)[0]
        layer.qkv_proj.weight.copy_(original)
        unconverted = layer(hidden, attention_mask=mask, position_ids=positions)[0]

    torch.testing.assert_close(converted, expected, rtol=1e-4, atol=1e-4)
    assert (unconverted - expected).abs().max() > 0.1


@pytest.mark.parametrize(("width", "heads", "rotary"), SHAPES)
def test_loading_converts_every_layer_and_nothing_else(tmp_path: Path, width: int, heads: int, rotary: int) -> None:
    torch.manual_seed(1)
    shape = {"n_embd": width, "n_head": heads, "rotary_dim": rotary, "n_layer": 3, "n_positions": 32, "vocab_size": 50}
    CodeGenForCausalLM(CodeGenConfig(**shape)).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")

    loaded = as_codegen(CodeGen2ForCausalLM.from_pretrained(tmp_path))

    weights = loaded.state_dict()
    for name, value in stored.items():
        expected = four_way(value) if name.endswith("qkv_proj.weight") else value
        assert torch.equal(weights[name], expected), name


def load(*overrides: str) -> Model:
    cell = compose_cell(overrides)
    compute = choose(Device.cpu, Precision.fp32)
    return load_model(cell.model, cell.quantization, cell.method.kind, compute, load_tokenizer(cell.model))


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_tiny_codegen2_computes_what_tiny_codegen_does(quantization: str) -> None:
    tokens = torch.arange(5, 45)[None]
    expected, logits = (
        load(f"model={name}", f"quantization={quantization}")(input_ids=tokens).logits
        for name in ("tiny-codegen", "tiny-codegen2")
    )
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
@pytest.mark.parametrize(("model", "source"), [("tiny-codegen2", "tiny-codegen"), ("tiny-codegen", "tiny-codegen2")])
def test_weights_in_the_other_order_are_refused(model: str, source: str, quantization: str) -> None:
    with pytest.raises(UserError, match="are in the order of") as caught:
        load(f"model={model}", f"model.source=package:{source}", f"quantization={quantization}")
    assert caught.value.hint == f"model.family={source.removeprefix('tiny-')}"


def test_what_is_saved_is_a_codegen_that_anybody_loads(tmp_path: Path) -> None:
    model = load("model=tiny-codegen2")
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.arange(5, 45)[None]

    assert type(again) is CodeGenForCausalLM
    assert torch.equal(model(input_ids=tokens).logits, again(input_ids=tokens).logits)


def test_an_adapter_of_codegen2_reloads(tmp_path: Path) -> None:
    from peft import PeftModel

    cell: CellConfig = compose_cell(["model=tiny-codegen2", "method=lora"])
    config = adapter_config(cell.method, FAMILIES[cell.model.family], str(tiny.FOLDER))
    model = attach(load("model=tiny-codegen2"), cell.method.kind, config, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(str(tmp_path))
    tokens = torch.arange(5, 45)[None]

    again = PeftModel.from_pretrained(load("model=tiny-codegen2"), str(tmp_path))

    assert torch.equal(model.eval()(input_ids=tokens).logits, again.eval()(input_ids=tokens).logits)
    assert not torch.allclose(model(input_ids=tokens).logits, load("model=tiny-codegen2")(input_ids=tokens).logits)


def test_random_weights_have_no_order_to_be_wrong_in(tmp_path: Path) -> None:
    config = CodeGenConfig(n_embd=64, n_head=8, rotary_dim=4, n_layer=2, n_positions=512, vocab_size=1_536)
    CodeGenForCausalLM(config).save_pretrained(tmp_path)

    for family in ("codegen", "codegen2"):
        load(f"model=tiny-{family}", f"model.source={tmp_path}")
