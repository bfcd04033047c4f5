"""Compare beam search that reads each prompt once with `generate`, which reads it once for each beam.

    python -m benchmarks.prefill
    python -m benchmarks.prefill --model tiny-codegen --prompts 16 --repeats 5

The prompts are those of eight-shot in-context learning on minipy. The arms take turns in the same process, and the
benchmark compares their candidates.
"""

import argparse
import statistics
import time

import torch
from transformers import Cache

from benchmarks import record
from peft_study.cell.examples import ExampleChooser
from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig
from peft_study.data import loading, tokens
from peft_study.data.prompts import Template
from peft_study.generation.decode import Decoder
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.precision import choose as choose_compute


class ReadsOnceABeam(Decoder):
    """The other arm: `generate` reads the prompts."""

    def _read_once(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Cache]:
        return {}


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llama")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cell = compose_cell([f"model={options.model}", "method=icl", f"dataset.test_limit={options.prompts}"])
    arms, prompts = _prepare(cell)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    candidates = {name: _run(decoder, prompts)[1] for name, decoder in arms.items()}  # also warms up
    for _ in range(options.repeats):
        for name, decoder in arms.items():
            seconds[name].append(_run(decoder, prompts)[0])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    record.write(
        f"prefill-{options.model}",
        {
            "prompts": len(prompts),
            "prompt_tokens_median": statistics.median(len(prompt) for prompt in prompts),
            "beams": cell.generation.num_beams,
            "max_new_tokens": cell.dataset.max_new_tokens,
            "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
            "median_seconds": {name: round(value, 3) for name, value in medians.items()},
            "ratio": round(medians["once_a_beam"] / medians["once"], 2),
            "equal_candidates": candidates["once"] == candidates["once_a_beam"],
        },
    )


def _prepare(cell: CellConfig) -> tuple[dict[str, Decoder], list[list[int]]]:
    compute = choose_compute(cell.hardware.device, cell.training.precision)
    tokenizer = load_tokenizer(cell.model)
    model = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    dataset = cell.dataset
    splits = loading.load(dataset)
    template = Template(dataset.prompt_form, cell.model.prompt_prefix, dataset.stop_at_newline, cell.method.preamble)
    chooser = ExampleChooser(cell, splits.train, compute.device)
    chosen = map(chooser.samples, chooser.for_prompts(splits.test))
    family = FAMILIES[cell.model.family]
    positions = family.positions(model.config)
    room = None if positions is None else positions - dataset.max_new_tokens
    prompts = [
        list(
            tokens.encode(
                sample,
                template,
                tokenizer,
                tokens.Limits(None, dataset.max_target_tokens, prompt_positions=room),
                for_encoder=family.encoder_decoder,
                examples=shown,
            ).prompt
        )
        for sample, shown in zip(splits.test, chosen, strict=True)
    ]
    arguments = (model, tokenizer, template, cell.generation, dataset.max_new_tokens, compute)
    return {"once": Decoder(*arguments), "once_a_beam": ReadsOnceABeam(*arguments)}, prompts


def _run(decoder: Decoder, prompts: list[list[int]]) -> tuple[float, list[object]]:
    started = time.perf_counter()
    candidates: list[object] = list(decoder.generate(prompts))
    return time.perf_counter() - started, candidates


if __name__ == "__main__":
    main()
