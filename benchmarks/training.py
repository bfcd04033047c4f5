"""Compare training steps without padding with padded training steps.

    python -m benchmarks.training
    python -m benchmarks.training --data codealpacapy --steps 20

LoRA on a Llama of hidden size 256 with 4 layers and a vocabulary of 32,016, random weights, samples as long as real
samples. The arms take turns on the same batches of eight in the same process.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks import record
from benchmarks.lengths import CODEALPACAPY, CONALA
from peft_study.config.compose import compose_cell
from peft_study.data.tokens import Encoded
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import Packer

LENGTHS = {"conala": (128, CONALA), "codealpacapy": (192, CODEALPACAPY)}
"""The length to which the study's authors pad, and the lengths of samples, by data set."""
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": 32_016,
    "max_position_embeddings": 2048,
}
BATCH = 8


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(LENGTHS), default="conala")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    model, pad = _model()
    length, lengths = LENGTHS[arguments.data]
    batches = _batches(lengths, arguments.steps)
    builders: dict[str, Callable[[Sequence[Encoded]], dict[str, torch.Tensor]]] = {
        "padded_to_limits": Collator(pad, encoder_decoder=False, input_width=length),
        "padded_to_longest": Collator(pad, encoder_decoder=False),
        "packed": Packer.of(model, pad),
    }
    seconds: dict[str, list[float]] = {name: [] for name in builders}
    losses: dict[str, list[float]] = {name: [] for name in builders}
    optimizer = torch.optim.Adafactor([weights for weights in model.parameters() if weights.requires_grad], lr=3e-4)
    for batch in [batches[0], *batches]:
        for name, build in builders.items():
            started = time.perf_counter()
            count = sum(len(sample.target) for sample in batch)
            loss = training_loss(model, build(batch), count)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds[name].append(time.perf_counter() - started)
            losses[name].append(float(loss.detach()))
    _write(arguments.data, batches, {name: values[1:] for name, values in seconds.items()}, losses)


def _model() -> tuple[Model, int]:
    architecture = [f"++model.architecture.{name}={value}" for name, value in SIZES.items()]
    cell = compose_cell(["model=tiny-llama", "model.weights=random", "hardware.device=cpu", *architecture])
    tokenizer = load_tokenizer(cell.model)
    compute = choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
    model = attach(base, cell.method.kind, adapter, cell.seed)
    model.train()
    return model, int(tokenizer.pad_token_id)


def _batches(lengths: Sequence[tuple[int, int]], steps: int) -> list[list[Encoded]]:
    """Batches in which all lengths occur equally often, in random order."""
    draw = random.Random(0)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < steps * BATCH:
        chosen += draw.sample(lengths, len(lengths))
    samples = [_sample(prompt, target, draw) for prompt, target in chosen]
    return [samples[start : start + BATCH] for start in range(0, steps * BATCH, BATCH)]


def _sample(prompt: int, target: int, draw: random.Random) -> Encoded:
    ids = [draw.randrange(10, SIZES["vocab_size"]) for _ in range(prompt + target)]
    return Encoded(tuple(ids[:prompt]), tuple(ids[prompt:]), 0, 0)


def _write(
    data: str,
    batches: Sequence[Sequence[Encoded]],
    seconds: Mapping[str, Sequence[float]],
    losses: Mapping[str, Sequence[float]],
) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    samples = [sample for batch in batches for sample in batch]
    figures: dict[str, Any] = {
        "data": data,
        "steps": len(batches),
        "tokens_a_sample": round(statistics.mean(len(each.prompt) + len(each.target) for each in samples), 1),
        "labels_a_sample": round(statistics.mean(len(each.target) for each in samples), 1),
        "median_step_seconds": {name: round(value, 4) for name, value in medians.items()},
        "speed_ratio_to_padded_to_limits": {
            name: round(medians["padded_to_limits"] / value, 2) for name, value in medians.items()
        },
        "first_loss": {name: round(values[0], 6) for name, values in losses.items()},
    }
    record.write(f"training-{data}", figures, packages=("torch", "transformers", "peft"))


if __name__ == "__main__":
    main()
