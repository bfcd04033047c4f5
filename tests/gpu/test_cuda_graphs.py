"""Steps replayed from CUDA graphs compute what usual steps compute."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.optimization import Adafactor

from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig
from peft_study.data.prompts import Template
from peft_study.data.tokens import Encoded
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.cuda_graphs import memory_room
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.training.adafactor import GroupedAdafactor
from peft_study.training.loop import Trained, train
from peft_study.training.packing import batch_builder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FIRST_TOKEN, LAST_TOKEN = 300, 1500
"""Ids of ordinary text in the embedded tokenizer."""


def loaded(cell: CellConfig) -> tuple[Model, Any]:
    tokenizer = load_tokenizer(cell.model)
    compute = choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
    return attach(base, cell.method.kind, adapter, cell.seed), tokenizer


def random_tokens(generator: random.Random, count: int) -> tuple[int, ...]:
    return tuple(generator.randrange(FIRST_TOKEN, LAST_TOKEN) for _ in range(count))


def trained(
    settings: Sequence[str], folder: Path, *, graphs: bool
) -> tuple[list[float], dict[str, torch.Tensor], Trained]:
    cell = compose_cell(["dataset=conala", "hardware.device=cuda", "training.epochs=2", *settings])
    model, tokenizer = loaded(cell)
    generator = random.Random(0)
    lengths = [(generator.randrange(8, 50), generator.randrange(4, 40)) for _ in range(64)]
    samples = [
        Encoded(random_tokens(generator, prompt), random_tokens(generator, target), 0, 0) for prompt, target in lengths
    ]
    losses: list[float] = []
    assert cell.method.learning_rate is not None
    outcome = train(
        model,
        samples,
        samples[:8],
        batch_builder(model, int(tokenizer.pad_token_id), cell.training, cell.dataset),
        cell.training,
        learning_rate=cell.method.learning_rate,
        seed=3,
        compute=choose(cell.hardware.device, cell.training.precision),
        folder=folder / str(graphs),
        on_step=lambda _step, values, _speed: losses.extend(values.values()),
        on_progress=lambda _: None,
        cuda_graphs=graphs,
    )
    weights = {name: value.detach().cpu() for name, value in model.named_parameters() if value.requires_grad}
    return losses, weights, outcome


@pytest.mark.parametrize(
    "settings",
    [
        ("model=tiny-llama", "method=lora", "training.precision=fp32"),
        ("model=tiny-llama", "method=lora"),
        ("model=tiny-llama", "method=lora", "training.micro_batch_size=2"),
        ("model=tiny-llama", "method=lora", "quantization=nf4"),
        ("model=tiny-llama", "method=ia3"),
        ("model=tiny-llama", "method=prompt"),
        ("model=tiny-llama", "method=prefix"),
        ("model=tiny-codegen", "method=lora"),
        ("model=tiny-codegen", "method=ia3"),
        ("model=tiny-codegen", "method=prompt"),
        ("model=tiny-codegen", "method=prefix"),
    ],
    ids=" ".join,
)
def test_training_is_equal_bit_by_bit(settings: tuple[str, ...], tmp_path: Path) -> None:
    usual, usual_weights, usual_outcome = trained(settings, tmp_path, graphs=False)
    replayed, replayed_weights, outcome = trained(settings, tmp_path, graphs=True)

    assert usual_outcome.cuda_graphs == 0
    assert outcome.cuda_graphs > 0
    assert replayed == usual
    for name, weights in usual_weights.items():
        assert torch.equal(replayed_weights[name], weights), name


@pytest.mark.parametrize(
    "settings",
    [
        ("model=tiny-t5", "method=lora"),
        ("model=tiny-llama", "method=full"),
        ("model=tiny-llama", "method=lora", "quantization=int8"),
        ("model=tiny-llama", "method=lora", "training.gradient_checkpointing=true"),
        ("model=tiny-llama", "method=lora", "training.memory=paper"),
        ("model=tiny-llama", "method=lora", "training.precision=fp16"),
        ("model=tiny-llama", "method=lora", "+method.adapter.use_dora=true"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_recorded_trains_as_usual(settings: tuple[str, ...], tmp_path: Path) -> None:
    assert trained(settings, tmp_path, graphs=True)[2].cuda_graphs == 0


def test_a_split_loss_trains_as_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft_study.training.loss.LOGITS_AT_ONCE", 1536 * 16)

    assert trained(("model=tiny-llama", "method=lora"), tmp_path, graphs=True)[2].cuda_graphs == 0


def test_without_room_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft_study.training.recorded_steps.memory_room", lambda device: memory_room(device) // 10**6)

    assert trained(("model=tiny-llama", "method=lora"), tmp_path, graphs=True)[2].cuda_graphs == 0


@pytest.mark.parametrize(
    "settings",
    [
        ("generation.num_beams=10", "generation.num_candidates=10"),
        ("generation.num_beams=4", "generation.num_candidates=4", "generation.early_stopping=true"),
        ("generation.num_beams=1", "generation.num_candidates=5", "generation.temperature=0.8", "generation.top_p=0.9"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen"])
def test_candidates_are_equal(model: str, quantization: str, settings: tuple[str, ...]) -> None:
    cell = compose_cell(
        [
            f"model={model}",
            "method=lora",
            "dataset=conala",
            "hardware.device=cuda",
            "training.precision=fp32",
            f"quantization={quantization}",
            *settings,
        ]
    )
    base, tokenizer = loaded(cell)
    generator = random.Random(1)
    common = random_tokens(generator, 40)
    prompts = [(*common, *random_tokens(generator, generator.randrange(3, 20))) for _ in range(12)]
    written = {}
    for graphs in (False, True):
        decoder = Decoder(
            base,
            tokenizer,
            Template(stop_at_newline=True),
            cell.generation,
            100,
            choose(cell.hardware.device, cell.training.precision),
            cuda_graphs=graphs,
        )
        batches = list(decoder.tokens(prompts))
        written[graphs] = {index: rows for batch in batches for index, rows in batch}
        assert (decoder.decoding.cuda_graphs > 0) == graphs

    assert written[True] == written[False]


def test_grouped_adafactor_updates_like_transformers() -> None:
    shapes = [(8, 64)] * 5 + [(64, 8)] * 3 + [(64,)] * 2
    start = [torch.randn(shape) for shape in shapes]
    updated = []
    for kind in (Adafactor, GroupedAdafactor):
        weights = [torch.nn.Parameter(values.clone().cuda()) for values in start]
        optimizer = kind(weights, lr=1e-3, scale_parameter=False, relative_step=False)
        for step in range(5):
            generator = torch.Generator().manual_seed(step)
            for parameter in weights:
                parameter.grad = torch.randn(parameter.shape, generator=generator).cuda()
            optimizer.step()
        updated.append(weights)

    for theirs, ours in zip(*updated, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
