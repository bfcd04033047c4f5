"""Micro-batches without padding have the loss and the gradients that transformers computes on padded ones."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from peft_study.config.compose import compose_cell
from peft_study.data.tokens import Encoded
from peft_study.models.adapter import adapter_config, attach, recompute_activations
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.training import loss as loss_module
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import Layout, Packer, arrange
from tests.packed_steps import assert_same_step, samples

ARCHITECTURES = ("tiny-llama", "tiny-codegen", "tiny-t5")
METHODS = ("full", "lora", "ia3", "prompt", "prefix")
ADAPTION_PROMPT = (
    "method.adapter._target_=peft.AdaptionPromptConfig",
    *(f"~method.adapter.{name}" for name in ("r", "lora_alpha", "lora_dropout", "bias")),
    "+method.adapter.adapter_len=4",
    "+method.adapter.adapter_layers=2",
)
"""It replaces attention modules, and looks at whole sequences there."""


def model_of(name: str, method: str, quantization: str, *overrides: str) -> tuple[Any, int]:
    """A model with its adapter away from where it starts, without dropout, and its padding token."""
    cell = compose_cell(
        [f"model={name}", f"method={method}", f"quantization={quantization}", "hardware.device=cpu", *overrides]
    )
    tokenizer = load_tokenizer(cell.model)
    compute = choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path, 10)
    model = attach(base, cell.method.kind, adapter, cell.seed)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad and method != "full":
                weights.add_(0.02 * torch.randn_like(weights))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_rate"):
            module.dropout_rate = 0.0
    model.train()
    return model, int(tokenizer.pad_token_id)


SLOW = [
    *((name, method, "none") for name in ("tiny-codegen2",) for method in METHODS),
    *((name, method, "int8") for name in ARCHITECTURES for method in METHODS[1:]),
    *((name, method, "nf4") for name in ARCHITECTURES for method in METHODS[1:]),
]


@pytest.mark.parametrize(
    ("name", "method", "quantization"),
    [
        *((name, method, "none") for name in ARCHITECTURES for method in METHODS),
        ("tiny-llama", "lora", "nf4"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW if case != ("tiny-llama", "lora", "nf4")),
    ],
)
def test_gradients_are_those_of_padded_samples(name: str, method: str, quantization: str) -> None:
    model, pad = model_of(name, method, quantization)

    assert_same_step(model, pad, samples(), Packer.of(model, pad))


@pytest.mark.parametrize("row_tokens", [1, 64, 10_000])
@pytest.mark.parametrize("multiple", [1, 64])
@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_rows_of_any_length_make_no_difference(method: str, row_tokens: int, multiple: int) -> None:
    model, pad = model_of("tiny-llama", method, "none")
    packer = replace(Packer.of(model, pad), row_tokens=row_tokens, multiple=multiple)

    assert_same_step(model, pad, samples(5), packer)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_chunks_of_logits_make_no_difference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_AT_ONCE", 7 * 2048)
    model, pad = model_of(name, "lora", "none")

    assert_same_step(model, pad, samples(), Packer.of(model, pad))


def test_an_adapter_of_the_head_is_part_of_the_loss() -> None:
    untied = ("model.weights=random", "model.architecture.tie_word_embeddings=false")
    model, pad = model_of("tiny-llama", "lora", "none", "++method.adapter.target_modules=[q_proj,lm_head]", *untied)

    assert any("lm_head" in name for name, weights in model.named_parameters() if weights.requires_grad)
    assert_same_step(model, pad, samples(4), Packer.of(model, pad))


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_recomputed_activations_make_no_difference(method: str) -> None:
    model, pad = model_of("tiny-llama", method, "none")
    recompute_activations(model)

    assert_same_step(model, pad, samples(4), Packer.of(model, pad))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_accumulated_micro_batches_add_up(name: str) -> None:
    model, pad = model_of(name, "lora", "none")
    packer, batch = Packer.of(model, pad), samples(6)
    count = sum(len(sample.target) for sample in batch)

    whole = training_loss(model, packer(batch), count)
    parts = [training_loss(model, packer(batch[start : start + 2]), count) for start in (0, 2, 4)]

    assert float(sum(part.detach() for part in parts)) == pytest.approx(float(whole.detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("tiny-llama", ["method=full"], Layout.packed),
        ("tiny-llama", ["method=prompt"], Layout.packed),
        ("tiny-llama", ["method=prefix"], Layout.packed),
        ("tiny-codegen", ["method=ia3"], Layout.packed),
        ("tiny-t5", ["method=lora"], Layout.encoder_decoder),
        (
            "tiny-llama",
            ["method=lora", "method.targets=none", *ADAPTION_PROMPT],
            Layout.padded,
        ),
    ],
)
def test_the_layout_follows_from_the_method(name: str, overrides: list[str], expected: Layout) -> None:
    method = overrides[0].removeprefix("method=")
    model, pad = model_of(name, method, "none", *overrides[1:])

    assert Packer.of(model, pad).layout is expected
    if expected is Layout.padded:
        assert_same_step(model, pad, samples(4), Packer.of(model, pad))


@pytest.mark.parametrize(
    ("lengths", "row_tokens", "expected"),
    [
        ([5], 1, [[0]]),
        ([5, 3, 2], 1, [[0], [1, 2]]),
        ([2, 3, 5], 5, [[2], [1, 0]]),
        ([2, 3, 5], 10, [[2, 1, 0]]),
        ([4, 4, 4], 4, [[0], [1], [2]]),
    ],
)
def test_samples_fill_rows_first_fit(lengths: list[int], row_tokens: int, expected: list[list[int]]) -> None:
    assert arrange(lengths, row_tokens) == expected


@pytest.mark.parametrize(
    ("encoder_decoder", "widths"),
    [(False, {"input_ids": 24, "labels": 24}), (True, {"input_ids": 16, "labels": 8})],
)
def test_padding_reaches_the_limits(encoder_decoder: bool, widths: dict[str, int]) -> None:
    collator = Collator(0, encoder_decoder, input_width=widths["input_ids"], label_width=8)

    batch = collator([Encoded((1,) * 5, (1,) * 3, 0, 0), Encoded((1,) * 7, (1,) * 2, 0, 0)])

    assert {name: batch[name].shape for name in widths} == {name: (2, width) for name, width in widths.items()}
    assert int((batch["labels"] != -100).sum()) == 5
    assert int(batch["attention_mask"].sum()) == (12 if encoder_decoder else 17)


def test_padding_on_the_left_to_a_length() -> None:
    batch = Collator(0, encoder_decoder=False, input_width=6, left=True)([Encoded((5, 6), (7,), 0, 0)])

    assert batch["input_ids"].tolist() == [[0, 0, 0, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, -100, -100, -100, 7]]
