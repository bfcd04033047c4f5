"""Seconds a prompt behind a prefix that all prompts share: the project's decoder against plain `generate`."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.arms import search_alone
from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import Row
from peft_study.cost.memory import Meter
from peft_study.data.prompts import Template
from peft_study.generation.decode import Decoder

PROJECT, WITHOUT_GRAPHS = "project", "project without graphs"
PREFIXES = (0, 256, 1024)
"""Tokens of the shared prefix."""
PROMPT_TOKENS = 28
"""The mean of CoNaLa's training samples with the embedded tokenizer."""
PROMPTS = 32
ARM_SHARE = 0.08
"""Share of the row's seconds after which an arm ends, once it has its least number of repeats."""
LEAST_REPEATS = 3
"""Measurements of an arm at least. The first chooses kernels for its shapes, and does not count."""
WARM_UP_TOKENS = 4


def run(row: Row, results: record.RowRecord) -> None:
    """Measure the row.

    Args:
        row: gives the cell.
        results: receives the phase `load`, and a phase for each prefix and arm.
    """
    loaded = cells.load(row.overrides, results)
    if loaded is None:
        return
    loaded.model.eval()
    with results.phase("warm-up"):
        prompt = cells.random_tokens(random.Random(0), PROMPT_TOKENS)
        _generate_plainly(loaded, prompt, WARM_UP_TOKENS)
        for graphs in (False, True):
            list(_decoder(loaded, WARM_UP_TOKENS, graphs).generate([prompt, prompt]))
    for prefix in PREFIXES:
        generator = random.Random(prefix)
        shared = cells.random_tokens(generator, prefix)
        prompts = [(*shared, *cells.random_tokens(generator, PROMPT_TOKENS)) for _ in range(PROMPTS)]
        with results.phase(f"one at a time, prefix {prefix}") as entry:
            entry |= _one_at_a_time(loaded, prompts, ARM_SHARE * row.seconds)
        for arm, graphs in ((WITHOUT_GRAPHS, False), (PROJECT, True)):
            with results.phase(f"{arm}, prefix {prefix}") as entry:
                entry |= _project(loaded, prompts, ARM_SHARE * row.seconds, graphs=graphs)
    _add_ratios(results)


def _one_at_a_time(loaded: cells.Loaded, prompts: Sequence[Sequence[int]], enough: float) -> dict[str, Any]:
    meter = Meter(loaded.compute.device)
    seconds: list[float] = []
    with meter.phase("generate"):
        for prompt in prompts:
            started = time.perf_counter()
            _generate_plainly(loaded, prompt, loaded.cell.dataset.max_new_tokens)
            cells.synchronize(loaded.compute.device)
            seconds.append(time.perf_counter() - started)
            if _is_enough(seconds, enough):
                break
        driver_bytes = record.process_bytes()
    return {
        "prompts_at_once": 1,
        "prompt_seconds": cells.rounded(seconds),
        "median_prompt_seconds": _median_behind_first(seconds),
        **cells.costs(meter, "generate", driver_bytes),
    }


def _decoder(loaded: cells.Loaded, new_tokens: int, graphs: bool) -> Decoder:
    settings = loaded.cell.generation
    return Decoder(loaded.model, loaded.tokenizer, Template(), settings, new_tokens, loaded.compute, cuda_graphs=graphs)


def _project(loaded: cells.Loaded, prompts: Sequence[Sequence[int]], enough: float, *, graphs: bool) -> dict[str, Any]:
    decoder = _decoder(loaded, loaded.cell.dataset.max_new_tokens, graphs)
    meter = Meter(loaded.compute.device)
    seconds: list[float] = []
    sizes: list[int] = []
    with meter.phase("generate"):
        started = time.perf_counter()
        for batch in decoder.generate(prompts):
            cells.synchronize(loaded.compute.device)
            seconds.append(time.perf_counter() - started)
            sizes.append(len(batch))
            if _is_enough(seconds, enough):
                break
            started = time.perf_counter()
        driver_bytes = record.process_bytes()
    prompt_seconds = [value / size for value, size in zip(seconds, sizes, strict=True)]
    return {
        "prompts_at_once": sizes[0],
        "prompt_seconds": cells.rounded(prompt_seconds),
        "median_prompt_seconds": _median_behind_first(prompt_seconds),
        **asdict(decoder.decoding),
        **cells.costs(meter, "generate", driver_bytes),
    }


def _generate_plainly(loaded: cells.Loaded, prompt: Sequence[int], new_tokens: int) -> None:
    """Run the beam search of transformers on a single prompt."""
    end, pad = int(loaded.tokenizer.eos_token_id), int(loaded.tokenizer.pad_token_id)
    with loaded.compute.autocast():
        search_alone(loaded.model, [end], pad, loaded.cell.generation, new_tokens, prompt)


def _median_behind_first(seconds: Sequence[float]) -> float:
    return round(statistics.median(seconds[1:] or seconds), 5)


def _is_enough(seconds: Sequence[float], enough: float) -> bool:
    return len(seconds) >= LEAST_REPEATS and sum(seconds) >= enough


def _add_ratios(results: record.RowRecord) -> None:
    phases = results.values["phases"]
    for arm in (PROJECT, WITHOUT_GRAPHS):
        results.values["speed_ratios" if arm == PROJECT else "speed_ratios_without_graphs"] = {
            str(prefix): round(plain["median_prompt_seconds"] / project["median_prompt_seconds"], 2)
            for prefix in PREFIXES
            if (plain := phases[f"one at a time, prefix {prefix}"])["status"] == "ok"
            and (project := phases[f"{arm}, prefix {prefix}"])["status"] == "ok"
        }
