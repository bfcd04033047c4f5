"""Base models: number formats, quantised layers, memory that a model needs, parameters that it has."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import CodeLlamaTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from peft_study.config.compose import compose_cell
from peft_study.config.naming import name_of
from peft_study.config.schema import Device, MethodKind, Precision
from peft_study.config.sources import needs_hub
from peft_study.errors import UserError
from peft_study.models import tiny
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.compat import layers_of
from peft_study.models.declared import declared_config
from peft_study.models.families import FAMILIES
from peft_study.models.fit import absent_bytes, check_fit, weight_bytes
from peft_study.models.loading import Model, fit_vocabulary, load_model, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import choose
from peft_study.models.random_weights import on_meta_device
from peft_study.models.tiny import load_tokenizer as tiny_tokenizer
from peft_study.results import limits
from tests.tokenizer_kinds import DECODERS, codellama

CPU = choose(Device.cpu, Precision.fp32)


def adapted(model: str, quantization: str, *overrides: str) -> Model:
    """A tiny model with LoRA, its adapters moved off their zero start so that every gradient is one."""
    cell = compose_cell([f"model={model}", "model.weights=random", f"quantization={quantization}", *overrides])
    tokenizer = load_tokenizer(cell.model)
    base = load_model(cell.model, cell.quantization, cell.method.kind, CPU, tokenizer)
    made = attach(base, cell.method.kind, adapter_config(cell.method, FAMILIES[cell.model.family], ""), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02, generator=generator)
    return made


def gradients(model: Model) -> dict[str, torch.Tensor]:
    ids = torch.arange(3, 23).reshape(2, 10)
    model.train()
    model.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_a_4_bit_base_passes_the_gradients_of_its_dequantised_weights_also_after_an_evaluation(model: str) -> None:
    # T5's attention drops out by a function, so switching its modules off is not enough.
    no_dropout = ["+model.architecture.dropout_rate=0.0"] if model == "tiny-t5" else []
    quantised = adapted(model, "nf4", "method.adapter.lora_dropout=0.0", *no_dropout)
    with torch.inference_mode():
        quantised.eval()(input_ids=torch.arange(3, 13)[None], labels=torch.arange(3, 13)[None])
    of_packed = gradients(quantised)
    expand(quantised)
    of_plain = gradients(quantised)

    assert of_packed.keys() == of_plain.keys()
    assert of_packed
    for name, gradient in of_packed.items():
        torch.testing.assert_close(gradient, of_plain[name], rtol=1e-3, atol=1e-6, msg=name)


def expand(model: nn.Module) -> None:
    """Put ordinary linear layers with the dequantised weights in the place of 4-bit ones."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear4bit):
                plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
                plain.weight = nn.Parameter(
                    dequantize_4bit(layer.weight.data, layer.weight.quant_state), requires_grad=False
                )
                plain.bias = layer.bias
                setattr(parent, name, plain)


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_parameters_are_counted_alike_quantised_or_not(model: str) -> None:
    counts = {quantization: count(adapted(model, quantization)) for quantization in ("none", "int8", "nf4")}

    assert counts["none"] == counts["int8"] == counts["nf4"]
    assert 0 < counts["none"].trainable < counts["none"].total


@pytest.mark.parametrize(
    ("model", "method", "trainable"),
    # Table 3 of the paper, "# Params": for CodeLlama-7B 12.6M, 1M, 0.08M and 2.6M.
    [
        ("codegen-350m-mono", "lora", 1_310_720),
        ("codet5p-220m", "lora", 2_654_208),
        ("codellama-7b-python", "lora", 12_582_912),
        ("codellama-7b-python", "ia3", 1_007_616),
        ("codellama-7b-python", "prompt", 81_920),
        ("codellama-7b-python", "prefix", 2_621_440),
    ],
)
def test_a_method_trains_the_papers_number_of_parameters(model: str, method: str, trainable: int) -> None:
    # The text that prompt tuning starts from needs the model's own tokenizer, and does not change the count.
    start = ["method.adapter.prompt_tuning_init=RANDOM"] if method == "prompt" else []
    cell = compose_cell([f"model={model}", f"method={method}", *start])
    with torch.device("meta"):
        made = attach(
            on_meta_device(cell.model),
            cell.method.kind,
            adapter_config(cell.method, FAMILIES[cell.model.family], "x"),
            seed=0,
        )

    assert count(made).trainable == trainable


@pytest.mark.parametrize(
    ("quantization", "gigabytes"),
    # 6,738,415,616 parameters; 131,072,000 each in the embeddings and the output head stay in 16 bits, as do the norms.
    [("none", 13.48), ("int8", 7.00), ("nf4", 3.86)],
)
def test_bytes_of_codellama_7b(quantization: str, gigabytes: float) -> None:
    cell = compose_cell(["model=codellama-7b-python", f"quantization={quantization}"])

    assert weight_bytes(on_meta_device(cell.model), cell.quantization, torch.bfloat16) / 1e9 == pytest.approx(
        gigabytes, abs=0.01
    )


@pytest.mark.parametrize(
    ("model", "number"),
    [("codellama-7b-python", 32), ("codegen-350m-mono", 20), ("codegen2-1b", 16), ("codet5p-220m", 24)],
)
def test_the_layers_of_each_family_are_listed(model: str, number: int) -> None:
    assert len(layers_of(on_meta_device(compose_cell([f"model={model}"]).model))) == number


@pytest.mark.parametrize(
    ("quantization", "bytes_per_weight"),
    [("none", 2.0), ("nf4", 0.5)],
)
@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_bytes_that_a_gpu_of_several_does_not_hold(quantization: str, bytes_per_weight: float, gpus: int) -> None:
    cell = compose_cell(["model=codellama-7b-python", f"quantization={quantization}"])
    # Four square matrices of attention and three of the feed-forward layer, in each of 32 layers. Two stay whole.
    layer = (4 * 4096**2 + 3 * 4096 * 11008) * bytes_per_weight

    absent = absent_bytes(on_meta_device(cell.model), cell.quantization, torch.bfloat16, gpus)

    assert absent == pytest.approx(30 * layer * (1 - 1 / gpus), rel=0.05)


@pytest.mark.parametrize("kind", MethodKind)
def test_a_cpu_computes_in_fp32_unless_told(kind: MethodKind) -> None:
    compute = choose(Device.cpu, Precision.auto)

    assert compute.precision is Precision.fp32
    assert compute.storage(kind) is torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_weights_that_are_trained_stay_in_fp32() -> None:
    compute = choose(Device.cpu, Precision.bf16)

    assert compute.storage(MethodKind.full) is torch.float32
    assert compute.storage(MethodKind.adapter) is torch.bfloat16
    with compute.autocast():
        assert torch.is_autocast_enabled("cpu")


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"training\.precision must be"):
        choose(Device.cpu, Precision.fp16)


def test_weights_beyond_the_limit_of_a_container_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = compose_cell(["model=tiny-llama"])
    arguments = (cell.model, declared_config(cell.model), cell.quantization, MethodKind.prompting, CPU, None)
    check_fit(*arguments)
    monkeypatch.setattr(limits, "host_limit_bytes", lambda: 10**6)

    with pytest.raises(UserError, match=r"this CPU has 0\.0 GB free"):
        check_fit(*arguments)


def test_a_source_below_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    for file in [*tiny.FOLDER.glob("*.json"), *(tiny.FOLDER / "tiny-llama").iterdir()]:
        (tmp_path / "model" / file.name).symlink_to(file)
    cell = compose_cell(["model=tiny-llama", "model.source='~/model'", "model.tokenizer='~/model'"])

    assert declared_config(cell.model) is not None
    load_model(cell.model, cell.quantization, MethodKind.prompting, CPU, load_tokenizer(cell.model))
    assert not needs_hub(compose_cell(["model=tiny-llama", "model.source='~/model'"]))


def test_a_source_below_the_home_folder_of_no_user_is_refused() -> None:
    cell = compose_cell(["model=tiny-llama", "model.source='~no-such-user/model'"])

    name_of(cell)
    assert declared_config(cell.model) is None
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer(replace(cell.model, tokenizer=None))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"num_hidden_layers": 9}, "model.layers.4."),
        ({"intermediate_size": 100}, "mlp"),
        ({"vocab_size": 9}, "embed_tokens"),
    ],
    ids=["missing layers", "other sizes", "another vocabulary"],
)
def test_weights_that_do_not_fill_their_config_are_refused(change: dict[str, int], name: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tiny.FOLDER / "tiny-llama" / "model.safetensors")
    config = json.loads((tiny.FOLDER / "tiny-llama" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    cell = compose_cell(["model=tiny-llama", f"model.source={tmp_path}", "model.tokenizer=tiny"])

    with pytest.raises(UserError, match=name) as caught:
        load_model(cell.model, cell.quantization, MethodKind.prompting, CPU, load_tokenizer(cell.model))

    assert caught.value.where == "model.source"


@pytest.mark.parametrize("setting", ["hidden_act=nonsense", "pad_token_id=99999", "rope_parameters={rope_type:none}"])
def test_an_architecture_that_transformers_cannot_build_is_refused(setting: str) -> None:
    cell = compose_cell(["model=codellama-7b-python", f"++model.architecture.{setting}"])

    with pytest.raises(UserError, match="cannot build this llama architecture"):
        on_meta_device(cell.model)


@pytest.mark.parametrize(
    ("source", "tokenizer", "hint"), [("FOLDER", "ORG/NAME/X", "network"), ("ORG/NAME", "FOLDER", "tokenizer.json")]
)
def test_the_hint_is_about_the_part_that_cannot_be_loaded(
    source: str, tokenizer: str, hint: str, tmp_path: Path
) -> None:
    overrides = [f"model.source={source}", f"model.tokenizer={tokenizer}"]
    cell = compose_cell(["model=tiny-llama", *(text.replace("FOLDER", str(tmp_path)) for text in overrides)])

    with pytest.raises(UserError) as caught:
        load_tokenizer(cell.model)

    assert hint in (caught.value.hint or "")


def padded() -> PreTrainedTokenizerBase:
    """A tokenizer with a padding token added by its user."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


def with_infilling() -> PreTrainedTokenizerBase:
    """CodeLlama's class, which adds its infilling tokens where a vocabulary lacks them."""
    vocabulary = codellama().get_vocab()
    return CodeLlamaTokenizer(vocab=vocabulary, merges=[], pad_token="</s>")


@pytest.mark.parametrize("build", [tiny_tokenizer, padded, with_infilling])
def test_tokens_that_no_text_is_encoded_to_need_no_embedding(build: Callable[[], PreTrainedTokenizerBase]) -> None:
    tokenizer = build()
    vocabulary = len(tiny_tokenizer() if build is not with_infilling else codellama())
    text = "".join(tokenizer.all_special_tokens)

    fit_vocabulary(tokenizer, vocabulary)

    assert tokenizer.pad_token_id < vocabulary
    assert max(tokenizer(text, split_special_tokens=True)["input_ids"]) < vocabulary


def speaking() -> PreTrainedTokenizerBase:
    tokenizer = padded()
    tokenizer.add_tokens(["<|user|>", "<|model|>"])
    return tokenizer


def ending() -> PreTrainedTokenizerBase:
    tokenizer = padded()
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})
    return tokenizer


def beginning() -> PreTrainedTokenizerBase:
    tokenizer = DECODERS["appending"]()
    tokenizer.pad_token = "</s>"
    # It begins every text with the last token of its vocabulary.
    tokenizer.add_special_tokens({"bos_token": AddedToken("<|begin|>", special=True)})
    template = {"single": "<|begin|> $A", "special_tokens": [("<|begin|>", len(tokenizer) - 1)]}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**template)
    return tokenizer


@pytest.mark.parametrize(
    ("build", "surplus"), [(speaking, "'<|user|>', '<|model|>'"), (ending, "'<|end|>'"), (beginning, "'<|begin|>'")]
)
def test_a_token_that_the_model_would_read_needs_an_embedding(
    build: Callable[[], PreTrainedTokenizerBase], surplus: str, tmp_path: Path
) -> None:
    tokenizer = build()
    embedded = len(tokenizer) - surplus.count("<")
    config = LlamaConfig(
        vocab_size=embedded, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )

    with pytest.raises(UserError) as caught:
        fit_vocabulary(tokenizer, embedded)

    assert "model.tokenizer" in (caught.value.where or "")
    assert surplus in caught.value.what
    # The remedy that the hint offers.
    model = LlamaForCausalLM(config)
    model.resize_token_embeddings(len(tokenizer))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    cell = compose_cell(["model=tiny-llama", f"model.source={tmp_path}", f"model.tokenizer={tmp_path}"])
    reloaded = load_tokenizer(cell.model)
    base = load_model(cell.model, cell.quantization, MethodKind.prompting, CPU, reloaded)
    fit_vocabulary(reloaded, base.get_input_embeddings().num_embeddings)
