"""Compare training steps without padding with padded training steps.

    python -m benchmarks.training
    python -m benchmarks.training --data codealpacapy --steps 20
    python -m benchmarks.training --trl --folder FOLDER --size tiny-llama

LoRA with random weights on a Llama of hidden size 256 with 4 layers and a vocabulary of 32,016, or of the size of
tiny-llama with its own vocabulary or with that one. Samples are random tokens as long as real samples, or those of a
folder. The arms take turns on the same batches of eight in the same process. Before, and without dropout, all arms must
have the same labels and, to 1e-5, the same losses and gradients.

`--trl` adds TRL's SFTTrainer (`pip install '.[bench]' -c constraints.txt`). These arms use TRL's
collator, loss and `training_step`. No arm includes a loop around its steps.
"""

import argparse
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from benchmarks import record
from benchmarks.arms import perturb, trainable
from benchmarks.lengths import CODEALPACAPY, CONALA
from peft_study.cell.encoding import CellEncoder, template_of
from peft_study.config.compose import compose_cell
from peft_study.data.tokens import IGNORED_LABEL, Encoded
from peft_study.models.loading import Model, load_tokenizer
from peft_study.training.collate import Collator
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder, Packer

LENGTHS = {"conala": (128, CONALA), "codealpacapy": (192, CODEALPACAPY)}
"""The length to which the study's authors pad, and the lengths of samples, by data set."""
HIDDEN_256 = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": 32_016,
    "max_position_embeddings": 2048,
}
SIZES: Mapping[str, Mapping[str, int]] = {
    "hidden-256": HIDDEN_256,
    "tiny-llama": {},
    "tiny-llama-32016": {"vocab_size": HIDDEN_256["vocab_size"]},
}
"""What differs from tiny-llama's architecture."""
BATCH = 8
CHECKED = 3
"""Batches on which all arms must agree before they are timed."""
TOLERANCE = 1e-5


class Arm(Protocol):
    """A way to build a batch and to compute its loss and gradients."""

    model: Model

    def build(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Build the inputs and labels of a batch."""

    def backward(self, samples: Sequence[Encoded]) -> torch.Tensor:
        """Build a batch, add its gradients, and return its loss in nats a token."""


class ProjectArm:
    """This project's loss with a builder of batches.

    Args:
        model: the adapter.
        builder: builds batches.
    """

    def __init__(self, model: Model, builder: BatchBuilder) -> None:
        self.model = model
        self._builder = builder

    def build(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """See `Arm.build`."""
        return self._builder(samples)

    def backward(self, samples: Sequence[Encoded]) -> torch.Tensor:
        """See `Arm.backward`."""
        loss = training_loss(self.model, self.build(samples), sum(len(sample.target) for sample in samples))
        loss.backward()
        return loss.detach()


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(LENGTHS), default="conala")
    parser.add_argument("--folder", type=Path, help="take the training samples of a local copy of the data set")
    parser.add_argument("--size", choices=sorted(SIZES), default="hidden-256")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--trl", action="store_true", help="add TRL's SFTTrainer")
    arguments = parser.parse_args()
    limit, lengths = LENGTHS[arguments.data]
    if arguments.folder is None:
        batches = _random_batches(lengths, arguments.steps)
    else:
        batches = _real_batches(arguments.data, arguments.folder, arguments.steps)
    arms = _arms(arguments.size, limit, batches[0], with_trl=arguments.trl)
    difference = _largest_difference(arms, batches[:CHECKED])
    seconds = _time(arms, batches)
    name = f"training-{arguments.data}" + ("" if arguments.size == "hidden-256" else f"-{arguments.size}")
    _write(name, arguments, batches, seconds, difference)


def _arms(size: str, limit: int, samples: Sequence[Encoded], *, with_trl: bool) -> dict[str, Arm]:
    model, tokenizer = _model(size)
    pad = int(tokenizer.pad_token_id)
    arms: dict[str, Arm] = {
        "padded_to_limits": ProjectArm(model, Collator(pad, encoder_decoder=False, input_width=limit)),
        "padded_to_longest": ProjectArm(model, Collator(pad, encoder_decoder=False)),
        "packed": ProjectArm(model, Packer.of(model, pad)),
    }
    if with_trl:
        from benchmarks.trl_arms import OPTIONS, TrlArm

        # TRL changes a model's methods, so each of its arms has another copy of the same weights.
        arms |= {name: TrlArm(name, *_model(size), BATCH, samples) for name in OPTIONS}
    return arms


def _model(size: str) -> tuple[Model, PreTrainedTokenizerBase]:
    architecture = [f"++model.architecture.{name}={value}" for name, value in SIZES[size].items()]
    cell = compose_cell(["model=tiny-llama", "model.weights=random", "hardware.device=cpu", *architecture])
    return trainable(cell)


def _random_batches(lengths: Sequence[tuple[int, int]], steps: int) -> list[list[Encoded]]:
    """Batches in which all lengths occur equally often, in random order."""
    draw = random.Random(0)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < steps * BATCH:
        chosen += draw.sample(lengths, len(lengths))
    return _divided([_sample(prompt, target, draw) for prompt, target in chosen], steps)


def _real_batches(data: str, folder: Path, steps: int) -> list[list[Encoded]]:
    """Batches of a data set's training samples, in random order."""
    cell = compose_cell(["model=tiny-llama", f"dataset={data}", f"dataset.path={folder}", "hardware.device=cpu"])
    encoder = CellEncoder(cell, template_of(cell), load_tokenizer(cell.model), None, torch.device("cpu"))
    samples = list(encoder.prepare()[0].train)
    random.Random(0).shuffle(samples)
    while len(samples) < steps * BATCH:
        samples += samples
    return _divided(samples, steps)


def _divided(samples: Sequence[Encoded], steps: int) -> list[list[Encoded]]:
    return [list(samples[start : start + BATCH]) for start in range(0, steps * BATCH, BATCH)]


def _sample(prompt: int, target: int, draw: random.Random) -> Encoded:
    # Ids of tiny-llama's vocabulary, the smaller one.
    ids = [draw.randrange(10, 1536) for _ in range(prompt + target)]
    return Encoded(tuple(ids[:prompt]), tuple(ids[prompt:]), 0, 0)


def _largest_difference(arms: Mapping[str, Arm], batches: Sequence[Sequence[Encoded]]) -> dict[str, float]:
    """Compare labels, losses and gradients of all arms without dropout.

    Returns:
        the largest relative difference of a loss and of a gradient's norm to the first arm.
    """
    dropouts = [module for arm in arms.values() for module in arm.model.modules() if isinstance(module, nn.Dropout)]
    rates = [module.p for module in dropouts]
    for module in dropouts:
        module.p = 0.0
    for arm in {id(arm.model): arm for arm in arms.values()}.values():
        perturb(arm.model)
    largest = {"loss": 0.0, "gradient": 0.0}
    for samples in batches:
        expected, *others = [(name, *_measure(arm, samples)) for name, arm in arms.items()]
        for name, labels, loss, gradient in others:
            assert labels == expected[1], f"{name} must have the labels of {expected[0]}"
            largest["loss"] = max(largest["loss"], abs(loss / expected[2] - 1))
            difference = (gradient - expected[3]).norm() / expected[3].norm()
            largest["gradient"] = max(largest["gradient"], float(difference))
            assert max(largest.values()) <= TOLERANCE, f"{name} must agree with {expected[0]}, got {largest}"
    for module, rate in zip(dropouts, rates, strict=True):
        module.p = rate
    return largest


def _measure(arm: Arm, samples: Sequence[Encoded]) -> tuple[list[int], float, torch.Tensor]:
    """Labels in ascending order, the loss, and the gradients in one vector."""
    labels = arm.build(samples)["labels"]
    loss = float(arm.backward(samples))
    gradients = [weights.grad.flatten() for weights in arm.model.parameters() if weights.grad is not None]
    vector = torch.cat(gradients)
    arm.model.zero_grad(set_to_none=True)
    return sorted(labels[labels != IGNORED_LABEL].tolist()), loss, vector


def _time(arms: Mapping[str, Arm], batches: Sequence[Sequence[Encoded]]) -> dict[str, list[float]]:
    """Seconds of the steps of each arm. The first batch is taken twice, to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    optimizers = {id(arm.model): _optimizer(arm.model) for arm in arms.values()}
    names = list(arms)
    for number, samples in enumerate([batches[0], *batches]):
        # Another arm begins each round, so that a neighbour in memory favours none of them.
        start = number % len(names)
        for name in names[start:] + names[:start]:
            optimizer = optimizers[id(arms[name].model)]
            started = time.perf_counter()
            arms[name].backward(samples)
            optimizer.step()
            optimizer.zero_grad()
            seconds[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in seconds.items()}


def _optimizer(model: Model) -> torch.optim.Optimizer:
    return torch.optim.Adafactor([weights for weights in model.parameters() if weights.requires_grad], lr=3e-4)


def _write(
    name: str,
    arguments: argparse.Namespace,
    batches: Sequence[Sequence[Encoded]],
    seconds: Mapping[str, Sequence[float]],
    difference: Mapping[str, float],
) -> None:
    medians = {arm: statistics.median(values) for arm, values in seconds.items()}
    samples = [sample for batch in batches for sample in batch]
    # The ratio of every step, because a busy machine slows whole rounds.
    packed = {
        arm: [own / ours for own, ours in zip(values, seconds["packed"], strict=True)]
        for arm, values in seconds.items()
    }
    figures: dict[str, Any] = {
        "data": arguments.data,
        "samples": "random tokens of real lengths" if arguments.folder is None else "real",
        "size": arguments.size,
        "steps": len(batches),
        "tokens_a_sample": round(statistics.mean(len(each.prompt) + len(each.target) for each in samples), 1),
        "labels_a_sample": round(statistics.mean(len(each.target) for each in samples), 1),
        "median_step_seconds": {arm: round(value, 4) for arm, value in medians.items()},
        "speed_ratio_to_padded_to_limits": {
            arm: round(medians["padded_to_limits"] / value, 2) for arm, value in medians.items()
        },
        "median_step_ratio_to_packed": {arm: round(statistics.median(values), 2) for arm, values in packed.items()},
        "largest_relative_difference_without_dropout": {
            key: float(f"{value:.1e}") for key, value in difference.items()
        },
    }
    packages = ("torch", "transformers", "peft", *(("trl",) if arguments.trl else ()))
    record.write(name, figures, packages=packages)


if __name__ == "__main__":
    main()
