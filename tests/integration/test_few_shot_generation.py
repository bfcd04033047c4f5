"""Few-shot prompts of a pretrained model: candidates, their order and their draws are those of `generate` alone."""

from typing import Any

import pytest
import torch

from peft_study.cell.encoding import CellEncoder, template_of
from peft_study.config.compose import compose_cell
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from tests.plain_generation import CPU, decoded, plainly

PROMPTS = 48
DRAWS = ["generation.temperature=0.6", "generation.top_p=0.95", "generation.num_beams=1", "generation.num_candidates=5"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("search", [[], DRAWS], ids=["beams", "draws"])
@pytest.mark.parametrize("examples", [0, 4, 16])
@pytest.mark.parametrize("change", ["none", "lora", "ia3", "nf4"])
@pytest.mark.parametrize("model", ["tiny-llama", "tiny-codegen", "tiny-t5"])
def test_candidates_of_a_pretrained_model(model: str, change: str, examples: int, search: list[str]) -> None:
    method = [f"method={'icl' if examples else 'zero-shot'}", f"method.num_examples={examples}"]
    quantization = f"quantization={'nf4' if change == 'nf4' else 'none'}"
    limits = [f"dataset.test_limit={PROMPTS}", "dataset.max_new_tokens=24", "hardware=cpu"]
    cell = compose_cell([f"model={model}", *method, quantization, *limits, *search])
    tokenizer, template = load_tokenizer(cell.model), template_of(cell)
    prepared, _ = CellEncoder(cell, template, tokenizer, None, CPU.device).prepare()
    network: Any = load_model(cell.model, cell.quantization, cell.method.kind, CPU, tokenizer)
    if change in ("lora", "ia3"):
        network = with_adapter(network, model, change, tokenizer.name_or_path)
    decoder = Decoder(network, tokenizer, template, cell.generation, cell.dataset.max_new_tokens, CPU)

    candidates = decoded(decoder, prepared.prompts)

    alone = plainly(network, tokenizer, template, cell.generation, cell.dataset.max_new_tokens, prepared.prompts)
    assert candidates == alone
    assert decoder.decoding.path == "shared"
    assert len(candidates) == PROMPTS


def with_adapter(base: Any, model: str, method: str, name: str) -> Any:
    """The base with an adapter that changes what it writes."""
    cell = compose_cell([f"model={model}", f"method={method}"])
    adapted = attach(base, cell.method.kind, adapter_config(cell.method, FAMILIES[cell.model.family], name), seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.02
    return adapted
