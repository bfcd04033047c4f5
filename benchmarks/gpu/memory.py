"""Peak memory and step time of a row of figure 1: load, train in each arm, generate."""

from dataclasses import asdict, replace
from typing import Any

from benchmarks.gpu import cells, record
from benchmarks.gpu.rows import PAPER, Row, memory_arms
from peft_study.cost.memory import Meter
from peft_study.data.prompts import Template
from peft_study.generation.batches import Needs
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import recompute_activations

GENERATE = "generate"
STEPS = cells.WARM_UP_STEPS + 2


def run(row: Row, results: record.RowRecord) -> None:
    """Measure the row with samples and prompts that fill the data set's limits.

    Args:
        row: gives the cell.
        results: receives the phases `load`, `train ARM` for each arm, and `generate`.
    """
    loaded = cells.load(row.overrides, results)
    if loaded is None:
        return
    dataset = loaded.cell.dataset
    batch = loaded.cell.training.batch_size
    samples = cells.random_samples([(dataset.max_prompt_tokens, dataset.max_target_tokens)] * batch * STEPS)
    for arm, overrides in memory_arms().items():
        cell = cells.compose([*row.overrides, *overrides])
        with results.phase(f"train {arm}") as entry:
            if cell.training.gradient_checkpointing:
                recompute_activations(loaded.model)
            collator = cells.padded_collator(loaded) if arm == PAPER else cells.packer(loaded)
            entry |= cells.timed_training(loaded, cell, samples, collator)
    with results.phase(GENERATE) as entry:
        entry |= _generate(loaded)


def _generate(loaded: cells.Loaded) -> dict[str, Any]:
    """Generate the candidates of a batch, with as many prompts as the project puts into a batch."""
    dataset, settings = loaded.cell.dataset, loaded.cell.limited_generation
    needs = Needs.of(loaded.model.config, settings, dataset.max_new_tokens, loaded.compute.dtype.itemsize)
    size = settings.batch_size or needs.fitting(dataset.max_prompt_tokens, settings.cache_gb * 1e9)
    prompts = [sample.prompt for sample in cells.random_samples([(dataset.max_prompt_tokens, 1)] * size)]
    decoder = Decoder(
        loaded.model,
        loaded.tokenizer,
        Template(),
        replace(settings, batch_size=size),
        dataset.max_new_tokens,
        loaded.compute,
        cuda_graphs=True,
    )
    meter = Meter(loaded.compute.device)
    with meter.phase(GENERATE):
        next(decoder.generate(prompts))
        driver_bytes = record.process_bytes()
    return {
        **asdict(decoder.decoding),
        "prompts": size,
        "beams": settings.num_beams,
        "prompt_tokens": dataset.max_prompt_tokens,
        "max_new_tokens": dataset.max_new_tokens,
        **cells.costs(meter, GENERATE, driver_bytes),
    }
