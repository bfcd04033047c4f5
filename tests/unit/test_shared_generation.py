"""Decoding behind shared keys and values gives what `generate` gives one prompt at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch

from peft_study.config.compose import compose_cell
from peft_study.config.schema import GenerationConfig, MethodKind, PromptForm
from peft_study.data.prompts import Template
from peft_study.generation import shared_cache
from peft_study.generation.active import fill_holes
from peft_study.generation.batches import common_tokens
from peft_study.generation.decode import Decoder
from peft_study.generation.prompt_batch import PromptBatch
from peft_study.generation.prompt_reader import PromptReader
from peft_study.models.loading import Model, load_model, load_tokenizer
from tests.plain_generation import CPU, decoded, plainly
from tests.unit.test_decode import PROMPTS, TOKENIZER, wide_model, with_adapter

BEAMS = GenerationConfig()
EARLY = GenerationConfig(early_stopping=True)
SAMPLES = GenerationConfig(num_beams=1, num_candidates=5, temperature=0.6, top_p=0.95, top_k=40)
GREEDY = GenerationConfig(num_beams=1, num_candidates=1)
FEW = GenerationConfig(num_beams=4, num_candidates=2, length_penalty=0.5)
EXAMPLES = [token for prompt in PROMPTS for token in prompt]
"""What few-shot prompts begin with."""


SEARCHES = {"beams": BEAMS, "early": EARLY, "draws": SAMPLES, "greedy": GREEDY, "few": FEW}
ADAPTERS = [
    *(("tiny-llama", method) for method in ("lora", "ia3", "prompt", "prefix")),
    *(("tiny-codegen", method) for method in ("lora", "prefix")),
    ("tiny-codegen2", "ia3"),
    *(("tiny-t5", method) for method in ("lora", "ia3")),
]
BASES = [("tiny-llama", "none"), ("tiny-codegen", "none"), ("tiny-t5", "none")]
# An adapter changes what a forward pass computes, and no search: behind it one search of beams and one of draws do.
MODELS_AND_SEARCHES = [
    *((*base, search, True) for base in BASES for search in SEARCHES),
    *((*base, search, False) for base in BASES for search in ("beams", "draws")),
    *((*adapter, "beams", True) for adapter in ADAPTERS),
    *((*adapter, "draws", False) for adapter in ADAPTERS),
]


@cache
def far_apart(name: str, method: str) -> Model:
    """A model that no test changes."""
    model = wide_model(name)
    if name == "tiny-t5":
        # T5 does not scale its scores: with weights as far apart as the others', rounding decides beams.
        for parameter in model.parameters():
            parameter.data *= 0.5
    return model if method == "none" else with_adapter(model, name, method)


@pytest.mark.parametrize("common", [0, len(EXAMPLES)])
@pytest.mark.parametrize(("name", "method", "search", "stop_at_newline"), MODELS_AND_SEARCHES)
def test_candidates_are_those_of_each_prompt_alone(
    name: str, method: str, common: int, stop_at_newline: bool, search: str
) -> None:
    model, settings = far_apart(name, method), SEARCHES[search]
    template = Template(stop_at_newline=stop_at_newline)
    prompts = [EXAMPLES[:common] + prompt for prompt in PROMPTS]
    decoder = Decoder(model, TOKENIZER, template, settings, 10, CPU)

    candidates = decoded(decoder, prompts)

    assert candidates == plainly(model, TOKENIZER, template, settings, 10, prompts)
    assert decoder.decoding.path == "shared"
    assert decoder.decoding.largest_batch == len(prompts)
    assert (decoder.decoding.common_tokens >= common > 0) == (common > 0 and name != "tiny-t5")


def test_grouped_heads_and_four_bits() -> None:
    overrides = ["model=tiny-llama", "quantization=nf4", "model.weights=random", "hardware.device=cpu"]
    cell = compose_cell([*overrides, "++model.architecture.num_key_value_heads=1"])
    model = load_model(cell.model, cell.quantization, MethodKind.adapter, CPU, load_tokenizer(cell.model))
    prompts = [EXAMPLES + prompt for prompt in PROMPTS]
    decoder = Decoder(model, TOKENIZER, Template(), BEAMS, 10, CPU)

    assert decoded(decoder, prompts) == plainly(model, TOKENIZER, Template(), BEAMS, 10, prompts)
    assert decoder.decoding.path == "shared"


@pytest.mark.parametrize("settings", [BEAMS, SAMPLES], ids=["beams", "draws"])
def test_candidates_that_end_by_their_text(settings: GenerationConfig) -> None:
    model, template = wide_model("tiny-llama"), Template(PromptForm.completion)
    newline = TOKENIZER("\n")["input_ids"]
    # Line breaks are likely, so that candidates end at different lengths.
    model.get_input_embeddings().weight.data[newline] *= 3  # type: ignore[operator]
    decoder = Decoder(model, TOKENIZER, template, settings, 24, CPU)

    together = decoded(decoder, PROMPTS)

    assert decoder.decoding.path == "shared"
    assert together == plainly(model, TOKENIZER, template, settings, 24, PROMPTS)
    assert len({len(text) for row in together for text in row}) > 5


def test_a_prompt_that_is_finished_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wide_model("tiny-llama")
    newline = TOKENIZER("\n")["input_ids"]
    model.get_input_embeddings().weight.data[newline] *= 2  # type: ignore[operator]
    sizes: list[int] = []
    step = PromptBatch.step

    def counted(batch: PromptBatch, tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        return step(batch, tokens)

    monkeypatch.setattr(PromptBatch, "step", counted)
    decoder = Decoder(model, TOKENIZER, Template(stop_at_newline=True), EARLY, 24, CPU)
    decoded(decoder, PROMPTS)

    steps = sizes[2:]  # after those of the probe
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == len(PROMPTS) > steps[-1]


def test_keys_of_the_common_part_and_of_prompts_are_kept_once() -> None:
    model = wide_model("tiny-llama")
    prompts = [EXAMPLES + prompt for prompt in PROMPTS]
    decoder = Decoder(model, TOKENIZER, Template(), BEAMS, 10, CPU)

    decoded(decoder, prompts)

    config: Any = model.config
    each = 2 * config.num_hidden_layers * config.hidden_size * 4
    common = decoder.decoding.common_tokens
    longest = max(map(len, prompts)) - common
    assert common == common_tokens(prompts) >= len(EXAMPLES)
    assert decoder.decoding.cache_bytes == each * (common + len(prompts) * (longest + 10 * 10))


@pytest.mark.parametrize("settings", [BEAMS, SAMPLES], ids=["beams", "draws"])
def test_a_prompt_that_begins_otherwise_leaves_the_others_their_common_part(settings: GenerationConfig) -> None:
    model = wide_model("tiny-llama")
    examples = EXAMPLES * 16
    # As if the first example asked what the prompt asks, or as if it did not fit.
    prompts = [examples + prompt for prompt in PROMPTS]
    prompts.insert(2, examples[len(PROMPTS[0]) :] + PROMPTS[0])
    decoder = Decoder(model, TOKENIZER, Template(), settings, 6, CPU)

    batches = list(decoder.tokens(prompts))

    assert [sorted(index for index, _ in batch) for batch in batches] == [[0, 1, 3, 4, 5], [2]]
    assert decoder.decoding.common_tokens >= len(examples)
    expected = plainly(model, TOKENIZER, Template(), settings, 6, prompts)
    assert decoded(decoder, prompts) == expected
    # As a resumed cell, and one of two processes.
    rest = [item for batch in decoder.generate(prompts, done={0, 1, 3, 4, 5}) for item in batch]
    second = [item for batch in decoder.generate(prompts, share=(1, 2)) for item in batch]
    assert [(item.index, item.candidates) for item in rest] == [(2, expected[2])]
    assert second == rest


def test_a_model_that_writes_something_else_behind_shared_keys_copies_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wide_model("tiny-llama")
    expected = plainly(model, TOKENIZER, Template(), BEAMS, 6, PROMPTS)
    attend = shared_cache.WritingLayer.attend

    def wrong(layer: Any, query: torch.Tensor, scaling: float, bias: Any) -> torch.Tensor:
        return attend(layer, query, scaling * 1.01, bias)

    monkeypatch.setattr(shared_cache.WritingLayer, "attend", wrong)
    decoder = Decoder(model, TOKENIZER, Template(), BEAMS, 6, CPU)

    assert decoded(decoder, PROMPTS) == expected
    assert decoder.decoding.path == "copied"
    assert decoder.decoding.reason is not None
    assert "logits differ" in decoder.decoding.reason


@contextmanager
def little_memory(monkeypatch: pytest.MonkeyPatch, prompts: int) -> Iterator[None]:
    """A device on which more prompts than these do not fit."""
    read = PromptReader.read

    def limited(reader: PromptReader, batch: Any, sequences: int, room: int) -> PromptBatch:
        if len(batch) > prompts:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return read(reader, batch, sequences, room)

    with monkeypatch.context() as patch:
        patch.setattr(PromptReader, "read", limited)
        yield


def test_a_batch_that_exhausts_memory_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wide_model("tiny-llama")
    whole = decoded(Decoder(model, TOKENIZER, Template(), SAMPLES, 6, CPU), PROMPTS)

    with little_memory(monkeypatch, prompts=2):
        decoder = Decoder(model, TOKENIZER, Template(), SAMPLES, 6, CPU)
        assert decoded(decoder, PROMPTS) == whole
    assert (decoder.decoding.largest_batch, decoder.decoding.halvings) == (2, 2)
    # The probe has two prompts, and a prompt alone cannot be halved.
    with little_memory(monkeypatch, prompts=0), pytest.raises(torch.OutOfMemoryError):
        decoded(Decoder(model, TOKENIZER, Template(), SAMPLES, 6, CPU), PROMPTS)


@pytest.mark.parametrize(
    ("prompts", "common"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1], [1, 2]], 0),
        ([(5, 6, 7, 8), (5, 9, 7, 8), (5, 6, 7, 9)], 1),
        ([[1, 2, 3]], 0),
    ],
)
def test_tokens_in_common_leave_each_prompt_a_token(prompts: list[list[int]], common: int) -> None:
    assert common_tokens(prompts) == common


@pytest.mark.parametrize(
    ("count", "gone", "order"),
    [(4, [1], [0, 3, 2]), (4, [3], [0, 1, 2]), (4, [0, 1], [2, 3]), (3, [0, 1, 2], []), (5, [0, 4], [3, 1, 2])],
)
def test_the_last_prompts_move_into_the_places_of_those_that_left(
    count: int, gone: list[int], order: list[int]
) -> None:
    assert fill_holes(count, gone) == order


@pytest.mark.parametrize("search", ["beams", "draws", "early"])
@pytest.mark.parametrize("name", ["tiny-llama", "tiny-codegen"])
def test_steps_in_blocks_write_the_same(name: str, search: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The memory in which a GPU replays steps, without the replay: slots are read in blocks of steps, and finished
    # prompts leave when a quarter of the batch is finished.
    monkeypatch.setattr("peft_study.generation.decode.is_recordable", lambda _model: True)
    monkeypatch.setattr("peft_study.generation.prompt_batch.memory_room", lambda _device: 0)
    monkeypatch.setattr("peft_study.generation.prompt_reader.BLOCK", 4)
    model, template = far_apart(name, "none"), Template(stop_at_newline=True)
    prompts = [EXAMPLES + prompt for prompt in PROMPTS]

    usual = decoded(Decoder(model, TOKENIZER, template, SEARCHES[search], 10, CPU), prompts)
    in_blocks = decoded(Decoder(model, TOKENIZER, template, SEARCHES[search], 10, CPU, cuda_graphs=True), prompts)

    assert in_blocks == usual
