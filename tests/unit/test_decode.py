"""Beam search and sampling: order, batches, stops, draws."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig, GenerationConfig, MethodKind, PromptForm
from peft_study.data.prompts import Template
from peft_study.generation.batches import Needs, batches, groups_by_beginning, token_bytes
from peft_study.generation.decode import Decoder
from peft_study.generation.stopping import newline_tokens, token_texts
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.random_weights import architecture_config
from peft_study.models.tiny import load_tokenizer as tiny_tokenizer
from tests.plain_generation import CPU, decoded

TOKENIZER = tiny_tokenizer()
PROMPTS = [
    TOKENIZER(f"### Instruction:\n{text}\n### Response:\n")["input_ids"]
    for text in ("sort `xs`", "reverse the list `items` in place", "sum", "the largest value of dict `d` by key", "x")
]


def wide_model(name: str) -> Model:
    """A model that the caller may change, of random weights far enough apart that rounding decides no beam."""
    return deepcopy(_wide_model(name))


@cache
def _wide_model(name: str) -> Model:
    cell = compose_cell([f"model={name}", "model.weights=random"])
    model = load_model(cell.model, cell.quantization, MethodKind.prompting, CPU, load_tokenizer(cell.model))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.25, generator=generator)
    return model


@cache
def _composed(name: str, method: str) -> CellConfig:
    return compose_cell([f"model={name}", f"method={method}"])


def with_adapter(base: Model, name: str, method: str) -> Model:
    """A base with a method's adapter, its weights as far apart as the base's."""
    cell = _composed(name, method)
    model = attach(
        base, cell.method.kind, adapter_config(cell.method, FAMILIES[cell.model.family], TOKENIZER.name_or_path), seed=0
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.25, generator=generator)
    return model


def candidates(model: Model, template: Template, batch_size: int, new_tokens: int = 12) -> list[tuple[str, ...]]:
    settings = GenerationConfig(batch_size=batch_size)
    return decoded(Decoder(model, TOKENIZER, template, settings, new_tokens, CPU), PROMPTS)


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-codegen", "tiny-t5"])
@pytest.mark.parametrize("stop_at_newline", [True, False])
def test_a_batch_changes_no_candidate(name: str, stop_at_newline: bool) -> None:
    model, template = wide_model(name), Template(stop_at_newline=stop_at_newline)

    alone = candidates(model, template, batch_size=1)

    assert candidates(model, template, batch_size=2) == alone
    assert candidates(model, template, batch_size=5) == alone
    assert [len(row) for row in alone] == [10] * 5
    assert len({row[0] for row in alone}) > 1


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-codegen", "tiny-t5"])
@pytest.mark.parametrize("method", ["lora", "ia3", "prompt", "prefix"])
def test_a_batch_changes_no_candidate_of_an_adapter_either(name: str, method: str) -> None:
    model = with_adapter(wide_model(name), name, method)

    alone = candidates(model, Template(), batch_size=1)

    assert candidates(model, Template(), batch_size=5) == alone
    assert len({row[0] for row in alone}) > 1


SAMPLING = GenerationConfig(num_beams=1, num_candidates=5, temperature=0.6, top_p=0.95, batch_size=2)


def drawn(model: Model, settings: GenerationConfig, seed: int = 0, done: set[int] = frozenset()) -> dict[int, Any]:  # type: ignore[assignment]
    decoder = Decoder(model, TOKENIZER, Template(), settings, 12, CPU, seed)
    return {item.index: item.candidates for batch in decoder.generate(PROMPTS, done) for item in batch}


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_a_draw_is_repeated_by_its_seed_wherever_generation_goes_on(name: str) -> None:
    model = wide_model(name)
    whole = drawn(model, SAMPLING)
    torch.rand(3)

    left = drawn(model, SAMPLING, done=set(list(whole)[:2]))

    assert left == {index: whole[index] for index in list(whole)[2:]}
    assert drawn(model, SAMPLING, seed=1) != whole
    assert all(len(row) == 5 for row in whole.values())
    assert max(len(set(row)) for row in whole.values()) > 1


@pytest.mark.parametrize("setting", [{"temperature": 1e-4}, {"top_p": 1e-6}])
def test_without_chance_every_draw_is_the_most_probable_text(setting: dict[str, float]) -> None:
    model = wide_model("tiny-llama")
    greedy = drawn(model, GenerationConfig(num_beams=1, num_candidates=1, batch_size=2))

    candidates = drawn(model, replace(SAMPLING, **setting))  # type: ignore[arg-type]

    assert candidates == {index: (text,) * 5 for index, (text,) in greedy.items()}


def test_a_temperature_evens_out_what_is_drawn() -> None:
    model = wide_model("tiny-llama")

    cold, hot = (
        len({text for row in drawn(model, replace(SAMPLING, temperature=temperature)).values() for text in row})
        for temperature in (0.2, 2.0)
    )

    assert hot > cold


def test_a_newline_ends_its_own_sample_only() -> None:
    model = wide_model("tiny-llama")
    newline = newline_tokens(token_texts(TOKENIZER))
    # A longer embedding makes a newline likely at some steps and unlikely at others.
    model.get_input_embeddings().weight.data[newline] *= 3  # type: ignore[operator]

    stopped, free = (candidates(model, Template(stop_at_newline=stop), 5, 24) for stop in (True, False))

    assert newline
    assert not any("\n" in text for row in stopped for text in row)
    lengths = {len(TOKENIZER(text)["input_ids"]) for row in stopped for text in row}
    assert len(lengths) > 1
    assert stopped != free


def test_newline_tokens_are_those_with_a_newline() -> None:
    for index in newline_tokens(token_texts(TOKENIZER)):
        assert set("\r\n") & set(TOKENIZER.decode([index]))
    for line_end in ("\n", "\r\n", "\r"):
        assert set(TOKENIZER(f"a{line_end}b")["input_ids"]) & set(newline_tokens(token_texts(TOKENIZER)))
    assert TOKENIZER.eos_token_id not in newline_tokens(token_texts(TOKENIZER))


def test_known_candidates_pass_over_whole_batches_only() -> None:
    decoder = Decoder(wide_model("tiny-llama"), TOKENIZER, Template(), GenerationConfig(batch_size=2), 2, CPU)
    batches = [[item.index for item in batch] for batch in decoder.generate(PROMPTS)]

    left = [[item.index for item in batch] for batch in decoder.generate(PROMPTS, done={*batches[0], batches[1][0]})]

    assert left == batches[1:]


def test_a_fenced_candidate_ends_at_its_fence() -> None:
    template = Template(PromptForm.fenced)
    decoder = Decoder(wide_model("tiny-llama"), TOKENIZER, template, GenerationConfig(batch_size=5), 6, CPU)

    candidates = [item.candidates for batch in decoder.generate(PROMPTS) for item in batch]

    assert all("\n```" not in text for row in candidates for text in row)
    assert [len(row) for row in candidates] == [10] * 5


@pytest.mark.parametrize(
    ("model", "tokens", "needs", "gigabytes", "prompts"),
    # CodeLlama-7B in 16 bits: 2 x 32 layers x 32 heads x 128 x 2 bytes = 0.524 MB a token. A prompt of 64 tokens and
    # ten candidates of 64: 704 tokens, 369 MB, and 10 x 100 x 16 bytes of scores.
    [
        ("codellama-7b-python", 64, {}, 2.0, 5),
        ("codellama-7b-python", 64, {"copies": True}, 2.0, 2),
        ("codellama-7b-python", 64, {}, 0.1, 1),
        ("codellama-7b-python", 1064, {"common_tokens": 1000}, 2.0, 3),
        ("codellama-7b-python", 64, {"vocabulary": 10_000_000}, 8.0, 4),
        ("tiny-llama", 64, {}, 2.0, 32),
        ("codet5p-220m", 64, {"copies": True}, 1.0, 21),
    ],
)
def test_the_batch_keeps_its_memory_in_its_budget(
    model: str, tokens: int, needs: dict[str, Any], gigabytes: float, prompts: int
) -> None:
    config = architecture_config(compose_cell([f"model={model}"]).model, {"vocab_size": 100})
    settings = {"vocabulary": 100, "sequences": 10, "new_tokens": 64} | needs

    assert Needs(token_bytes(config, 2), **settings).fitting(tokens, gigabytes * 1e9) == prompts


@pytest.mark.parametrize(
    ("lengths", "size", "equal", "groups"),
    [
        ([3, 9, 3, 5], 2, False, [[1, 3], [0, 2]]),
        ([3, 9, 3, 5], 10, False, [[1, 3, 0, 2]]),
        ([3, 9, 3, 5], 10, True, [[1], [3], [0, 2]]),
        ([4, 4, 4], 2, True, [[0, 1], [2]]),
        ([], 2, True, []),
    ],
)
def test_prompts_are_grouped_by_length(lengths: list[int], size: int, equal: bool, groups: list[list[int]]) -> None:
    assert batches(lengths, lambda longest: size, equal_lengths=equal) == groups


FIRST, SECOND = [*range(1000)], [*range(5000, 5900)]


@pytest.mark.parametrize(
    ("prompts", "groups"),
    [
        ([], []),
        ([[7]], [[0]]),
        ([[*FIRST, 1], [*FIRST, 2], [*FIRST, 3], [*FIRST, 4]], [[0, 1, 2, 3]]),
        ([[*FIRST, 1], [9], [*FIRST, 2], [*FIRST, 3], [*FIRST, 4]], [[0, 2, 3, 4], [1]]),
        # A prompt without the first example, which is longer here than the others.
        ([[*FIRST, 1], [*FIRST, 2], [*FIRST[9:], *FIRST], [*FIRST, 3], [*FIRST, 4]], [[2], [0, 1, 3, 4]]),
        ([*([*FIRST, end] for end in range(8)), *([*SECOND, end] for end in range(4))], [[*range(8)], [8, 9, 10, 11]]),
        # Equal prompts: at least a token follows what they have in common.
        ([FIRST, FIRST, FIRST, FIRST, [3]], [[0, 1, 2, 3], [4]]),
        # Retrieved examples: groups of their own would save too little.
        ([[*FIRST[start : start + 400], end] for start in range(0, 600, 100) for end in range(2)], [[*range(12)]]),
        ([[*FIRST[:100], 1], [*FIRST[:100], 2], [*FIRST[:100], 3], [9]], [[0, 1, 2, 3]]),
        # Most tokens are common to all.
        ([[*FIRST, *SECOND[:9], end] for end in range(4)] + [[*FIRST, 1]], [[0, 1, 2, 3, 4]]),
    ],
)
def test_prompts_are_grouped_by_their_beginning(prompts: list[list[int]], groups: list[list[int]]) -> None:
    assert groups_by_beginning(prompts) == groups


def test_a_long_prompt_makes_no_other_batch_small() -> None:
    lengths = [4, 100, 4, 4, 50, 4, 4]

    assert batches(lengths, lambda longest: 100 // longest) == [[1], [4, 0], [2, 3, 5, 6]]
