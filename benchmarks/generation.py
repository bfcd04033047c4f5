"""Compare decoding with shared keys and values with `generate` and with copies for each candidate.

    python -m benchmarks.generation
    python -m benchmarks.generation --model tiny-llama --rows common-1024 --prompts 8
    python -m benchmarks.generation --model smollm2-135m --source WEIGHTS --data FOLDER --rows conala-4

Beam search with 10 beams on a Llama of hidden size 256 with 4 layers and a vocabulary of 32,016, random weights, so
that every candidate reaches its limit. The arms take turns on the same prompts in the same process:

- one_at_a_time: transformers' `generate`, a prompt at a time;
- copied-N: the project's decoder with copies, N prompts at a time;
- shared: the project's decoder at the batch that it chooses.

The benchmark compares the candidates of all arms. Row conala-4 has the prompts of a cell with four random examples of
the CoNaLa in FOLDER, and the others have random tokens.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import record
from benchmarks.arms import search_alone
from benchmarks.training import SIZES
from peft_study.cell.encoding import CellEncoder, template_of
from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig
from peft_study.data.prompts import Template
from peft_study.generation.batches import token_bytes
from peft_study.generation.copied import CopyingDecoder
from peft_study.generation.decode import Decoder
from peft_study.generation.stopping import newline_tokens, token_texts
from peft_study.models.loading import Model, load_model, load_tokenizer
from peft_study.models.precision import choose

ROWS = {"zero-shot": (0, 28), "common-256": (256, 28), "common-1024": (1024, 28), "own-1024": (0, 1024)}
"""Tokens that all prompts begin with, and tokens of each prompt behind them; 28 is CoNaLa's mean."""
CONALA_ROW = "conala-4"
NEW_TOKENS = 64
COPIED_BATCHES = (1, 4, 16)
_EXAMPLES = ("method=icl", "method.num_examples=4", "dataset=conala")
Texts = list[list[list[int]]]
Arm = Callable[[], Texts]


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a model of the groups; default: the Llama described above")
    parser.add_argument("--source", default=None, help="folder of the model's weights; default: random weights")
    parser.add_argument("--rows", choices=[*sorted(ROWS), CONALA_ROW], nargs="*", default=sorted(ROWS))
    parser.add_argument("--data", default=None, help=f"folder of CoNaLa's JSON lines, for row {CONALA_ROW}")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[1, 2, 3], help=f"seeds of the examples of {CONALA_ROW}"
    )
    parser.add_argument("--generation", choices=("paper", "early"), default="paper", help="when a beam search ends")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if CONALA_ROW in options.rows and options.data is None:
        parser.error(f"--data must name a folder for row {CONALA_ROW}, got nothing")
    common = [*_overrides(options.model, options.source), f"generation={options.generation}"]
    rows = {}
    for name in options.rows:
        if name != CONALA_ROW:
            rows[name] = _measure(compose_cell([*common, "method=zero-shot"]), ROWS[name], options)
            continue
        for seed in options.seeds:
            cell = compose_cell([*common, *_EXAMPLES, f"dataset.path={options.data}", f"seed={seed}"])
            rows[f"{name}-seed-{seed}"] = _measure(cell, None, options)
    figures = {
        "beams": compose_cell(common).generation.num_beams,
        "new_tokens": NEW_TOKENS,
        "prompts": options.prompts,
        "rows": rows,
    }
    ending = "" if options.generation == "paper" else f"-{options.generation}"
    record.write(f"generation-{options.model or 'hidden-256'}{ending}", figures)


def _overrides(model: str | None, source: str | None) -> list[str]:
    common = ["hardware.device=cpu"]
    if model is None:
        architecture = [f"++model.architecture.{name}={value}" for name, value in SIZES["hidden-256"].items()]
        return [*common, "model=tiny-llama", "model.weights=random", *architecture]
    weights = [f"model.source={source}"] if source else ["model.weights=random"]
    return [*common, f"model={model}", *weights]


def _measure(cell: CellConfig, lengths: tuple[int, int] | None, options: argparse.Namespace) -> dict[str, Any]:
    number, repeats = options.prompts, options.repeats
    compute = choose(cell.hardware.device, cell.training.precision)
    tokenizer = load_tokenizer(cell.model)
    model = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    model.eval()
    template = Template()
    ends, pad = [int(tokenizer.eos_token_id)], int(tokenizer.pad_token_id)
    if lengths is None:
        # A candidate for CoNaLa ends at the line break.
        template = template_of(cell)
        ends += newline_tokens(token_texts(tokenizer))
        prompts = CellEncoder(cell, template, tokenizer, None, compute.device).prepare()[0].prompts[:number]
    else:
        prompts = _random_prompts(*lengths, number, int(model.config.vocab_size))
    decoder = Decoder(model, tokenizer, template, cell.generation, NEW_TOKENS, compute)
    copying = CopyingDecoder(model, cell.generation, NEW_TOKENS, ends, pad)
    arms: dict[str, Arm] = {"one_at_a_time": partial(_plain, model, ends, pad, cell, prompts)}
    arms |= {
        f"copied-{size}": partial(_copied, copying, pad, prompts, size) for size in COPIED_BATCHES if size <= number
    }
    arms["shared"] = partial(_shared, decoder, pad, prompts)
    return _times(arms, repeats) | _bytes(cell, decoder, token_bytes(model.config, compute.dtype.itemsize), prompts)


def _random_prompts(common: int, longest: int, number: int, vocabulary: int) -> list[list[int]]:
    draw = random.Random(common)
    shared = [draw.randrange(10, vocabulary) for _ in range(common)]
    # Prompts of a cell differ in length.
    lengths = [longest - draw.randrange(longest // 4) for _ in range(number)]
    return [shared + [draw.randrange(10, vocabulary) for _ in range(length)] for length in lengths]


def _times(arms: dict[str, Arm], repeats: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    texts: dict[str, Texts] = {}
    for _ in range(repeats):
        for name, arm in arms.items():
            started = time.perf_counter()
            texts[name] = arm()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    alone = texts["one_at_a_time"]
    return {
        "median_seconds": {name: round(value, 3) for name, value in medians.items()},
        "speed_ratio_to_one_at_a_time": {
            name: round(medians["one_at_a_time"] / value, 2) for name, value in medians.items()
        },
        "equal_prompts": {
            name: sum(mine == theirs for mine, theirs in zip(rows, alone, strict=True)) for name, rows in texts.items()
        },
    }


def _bytes(cell: CellConfig, decoder: Decoder, each: int, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    decoding = decoder.decoding
    longest = sorted(map(len, prompts))[-decoding.largest_batch :]
    width = max(longest) + NEW_TOKENS
    return {
        "common_tokens": decoding.common_tokens,
        "mean_tokens": round(statistics.mean(map(len, prompts)), 1),
        "path": decoding.path,
        "prompts_at_once": decoding.largest_batch,
        "cache_mb": round(decoding.cache_bytes / 1e6, 2),
        "copies_would_take_mb": round(each * cell.generation.num_beams * len(longest) * width / 1e6, 2),
    }


def _plain(model: Model, ends: Sequence[int], pad: int, cell: CellConfig, prompts: Sequence[Sequence[int]]) -> Texts:
    rows = (search_alone(model, ends, pad, cell.generation, NEW_TOKENS, prompt) for prompt in prompts)
    return [_without_padding(candidates, pad) for candidates in rows]


def _copied(decoder: CopyingDecoder, pad: int, prompts: Sequence[Sequence[int]], size: int) -> Texts:
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    texts: dict[int, list[list[int]]] = {}
    with torch.inference_mode():
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            rows = decoder.run([prompts[index] for index in indices], None)
            texts.update({index: _without_padding(row, pad) for index, row in zip(indices, rows, strict=True)})
    return [texts[index] for index in range(len(prompts))]


def _shared(decoder: Decoder, pad: int, prompts: Sequence[Sequence[int]]) -> Texts:
    texts = dict(entry for rows in decoder.tokens(prompts) for entry in rows)
    return [_without_padding(texts[index], pad) for index in range(len(prompts))]


def _without_padding(rows: Sequence[Sequence[int]], pad: int) -> list[list[int]]:
    """The tokens up to the padding, which is as long as the longest candidate of a batch."""
    return [
        list(row[: len(row) - next((n for n, token in enumerate(reversed(row)) if token != pad), 0)]) for row in rows
    ]


if __name__ == "__main__":
    main()
