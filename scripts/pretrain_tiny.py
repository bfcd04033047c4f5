"""Pretrain one of the embedded models from scratch: `python scripts/pretrain_tiny.py tiny-llama`.

Writes config.json, model.safetensors (16-bit floats), loss_curve.json and MODEL_CARD.md to the package's folder of tiny
models. A model takes under half an hour on two cores. tiny-codegen2 is converted from tiny-codegen in seconds.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from tiny_architectures import BUILDERS, speed_up
from tiny_cards import write_card
from tiny_codegen2 import write_codegen2
from tiny_corpus.batches import IGNORE, Batch, Encoder, decoder_batch, seq2seq_batch
from tiny_corpus.heldout import HeldOut
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from peft_study.models.tiny import FOLDER, load_tokenizer

LEARNING_RATE = 4e-3
T5_SCALES = {"matrices": 3.0, "queries": 0.5, "tables": 10.0}
"""Factors of the learning rate for T5, which starts from larger matrices and from embeddings of unit size.

Queries need a smaller factor: T5 does not divide attention scores by the root of the head size, so that fast queries
saturate them. With a factor of 3 the loss stayed at 2.2 from step 250 to 600; with 0.5 it was 0.9 at step 350.
"""
WARMUP_STEPS = 100
FINAL_SHARE = 0.02
"""Share of the peak learning rate at the last step."""
STEPS = {"tiny-llama": 2_000, "tiny-codegen": 1_200, "tiny-t5": 1_500}
FIRST_LOSSES = 30
LOG_EVERY = 50


@dataclass
class Log:
    """Figures of a run, for its card and for the test of the first losses."""

    first_losses: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Recent:
    """Losses of the steps since the last average."""

    def __init__(self) -> None:
        self._losses: dict[str, list[float]] = {}

    def add(self, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._losses.setdefault(key, []).append(value)

    def means(self) -> dict[str, float]:
        """Average the losses, and start over."""
        means = {key: round(sum(values) / len(values), 4) for key, values in self._losses.items()}
        self._losses = {}
        return means


def optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Train matrices with Muon, and embeddings, norms and biases with AdamW."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    tables |= {id(head.weight)} if head is not None else set()
    groups: dict[str, list[torch.nn.Parameter]] = {"matrices": [], "queries": [], "tables": [], "vectors": []}
    for name, value in model.named_parameters():
        kind = "vectors" if value.ndim != 2 else "tables" if id(value) in tables else "matrices"
        groups["queries" if kind == "matrices" and name.endswith(".q.weight") else kind].append(value)
    scales = T5_SCALES if model.config.model_type == "t5" else {}
    chosen = {kind: {"params": values, "scale": scales.get(kind, 1.0)} for kind, values in groups.items() if values}
    vectors = {"vectors", "tables"}
    return [
        torch.optim.Muon(
            [group for kind, group in chosen.items() if kind not in vectors],
            lr=LEARNING_RATE,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [group for kind, group in chosen.items() if kind in vectors],
            lr=LEARNING_RATE,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        ),
    ]


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up, then a cosine decay."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def losses(model: PreTrainedModel, batch: Batch, pad: int) -> Tensor:
    """Compute the unweighted loss of every position; 0 for positions without a label."""
    extra = {}
    if batch.targets is not None:
        extra = {"decoder_input_ids": batch.targets, "attention_mask": (batch.inputs != pad).long()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch.inputs, use_cache=False, **extra).logits
    flat = cross_entropy(logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE, reduction="none")
    return flat.view_as(batch.labels)


def by_pair(values: Tensor, batch: Batch) -> dict[str, float]:
    """Average the loss of answers in the first pairs of documents, and in the fifth and later pairs."""
    answers = (batch.labels != IGNORE) & (batch.weights == 1)
    early, late = answers & (batch.pair == 0), answers & (batch.pair >= 4)
    return {
        name: values[chosen].mean().item() for name, chosen in (("first", early), ("later", late)) if bool(chosen.any())
    }


def train(name: str, seed: int, most_steps: int | None = None) -> tuple[PreTrainedModel, Log]:
    """Train a model from scratch.

    Args:
        name: one of the architectures.
        seed: decides the initial weights and the corpus.
        most_steps: stop after this many steps; None trains to the end.
    """
    torch.manual_seed(seed)
    model, log, rng = BUILDERS[name](), Log(), Random(seed)
    model.train()
    speed_up(model)
    encoder, held_out = Encoder(load_tokenizer()), HeldOut()
    draw = seq2seq_batch if name == "tiny-t5" else decoder_batch
    chosen, recent = optimizers(model), Recent()
    start = time.monotonic()
    for step in range(most_steps or STEPS[name]):
        batch = draw(encoder, rng, held_out)
        values = losses(model, batch, encoder.pad)
        weights = batch.weights * (batch.labels != IGNORE)
        loss = (values * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * group["scale"] * schedule(step, STEPS[name])
            optimizer.step()
            optimizer.zero_grad()
        log.tokens += batch.inputs.numel() + (batch.labels.numel() if batch.targets is not None else 0)
        log.steps = step + 1
        if log.steps <= FIRST_LOSSES:
            log.first_losses.append(round(loss.item(), 4))
        recent.add({"loss": loss.item()} | by_pair(values.detach(), batch))
        if log.steps % LOG_EVERY == 0:
            log.seconds = round(time.monotonic() - start, 1)
            log.curve.append({"step": log.steps, "tokens": log.tokens, **recent.means()})
            print(f"{name} {log.curve[-1]} {log.seconds} s", flush=True)
    return model, log


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write the weights as 16-bit floats, which halves the size of the package."""
    model.to(torch.float16).save_pretrained(folder)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*BUILDERS, "tiny-codegen2"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="parent of the models' folders")
    options = parser.parse_args()
    folder = options.folder / options.name
    if options.name == "tiny-codegen2":
        write_codegen2(options.folder / "tiny-codegen", folder)
        return
    model, log = train(options.name, options.seed)
    save(model, folder)
    written = {
        "seed": options.seed,
        "steps": log.steps,
        "tokens": log.tokens,
        "seconds": log.seconds,
    }
    curve = json.dumps({**written, "first_losses": log.first_losses, "curve": log.curve}, indent=1)
    (folder / "loss_curve.json").write_text(curve + "\n", encoding="utf-8")
    write_card(folder)


if __name__ == "__main__":
    main()
