"""Models and arms that several benchmarks share."""

from collections.abc import Sequence

import torch
from transformers import GenerationConfig as TransformersGenerationConfig
from transformers import PreTrainedTokenizerBase

from peft_study.config.schema import CellConfig, GenerationConfig
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.precision import choose


def trainable(cell: CellConfig) -> tuple[Model, PreTrainedTokenizerBase]:
    """Load a cell's model with its adapter, in training mode."""
    tokenizer = load_tokenizer(cell.model)
    compute = choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
    model = attach(base, cell.method.kind, adapter, cell.seed)
    model.train()
    return model, tokenizer


def perturb(model: Model) -> None:
    """Move the trained weights. peft starts one of LoRA's matrices at zero, and with it half of the gradients."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.02)


def search_alone(
    model: Model,
    ends: Sequence[int],
    pad: int,
    settings: GenerationConfig,
    new_tokens: int,
    prompt: Sequence[int],
) -> list[list[int]]:
    """Run the beam search of transformers' `generate` on a single prompt.

    Args:
        model: a decoder.
        ends: ids of the tokens at which a candidate ends.
        pad: id of the padding token.
        settings: the beam search.
        new_tokens: length limit of a candidate.
        prompt: token ids.

    Returns:
        the new tokens of each candidate.
    """
    ids = torch.tensor([list(prompt)], device=model.device)
    config = TransformersGenerationConfig(
        num_beams=settings.num_beams,
        num_return_sequences=settings.num_candidates,
        max_new_tokens=new_tokens,
        do_sample=False,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
        eos_token_id=list(ends),
        pad_token_id=pad,
    )
    with torch.no_grad():
        written: torch.Tensor = model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
    rows: list[list[int]] = written[:, len(prompt) :].tolist()
    return rows
