"""Prepares the machine and the model of a cell."""

import os
from dataclasses import replace
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase, set_seed

from peft_study.config.schema import CellConfig
from peft_study.cost.cards import peak_flops
from peft_study.cost.memory import apply_budget, device_bytes
from peft_study.models.adapter import adapter_config, attach, recompute_activations
from peft_study.models.families import FAMILIES
from peft_study.models.fit import check_fit
from peft_study.models.loading import Model, fit_vocabulary, load_model
from peft_study.models.precision import Compute
from peft_study.results import provenance
from peft_study.sandbox.cores import available_cores


def set_up_machine(cell: CellConfig, device: torch.device) -> None:
    """Set threads, memory budget and seed of this process."""
    hardware = cell.hardware
    if hardware.threads is not None:
        torch.set_num_threads(hardware.threads)
    elif not os.environ.get("OMP_NUM_THREADS"):
        # torch counts the cores of the machine, and a scheduler may give the job fewer.
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    apply_budget(device, hardware.budget_bytes)
    set_seed(cell.seed)


def machine_record(cell: CellConfig, compute: Compute, earlier_device: str | None) -> dict[str, Any]:
    """Return the "provenance" of a cell's result.

    Args:
        cell: the typed config.
        compute: device and number format.
        earlier_device: name of the device that took the steps of the interrupted run; None without such steps.
    """
    device, hardware = compute.device, cell.hardware
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    # Steps on two kinds of devices have no common peak.
    has_peak = earlier_device in (None, name)
    record = provenance.collect() | {
        "device": name,
        "peak_flops": peak_flops(name, compute.precision, hardware.peak_tflops) if has_peak else None,
        "device_bytes": device_bytes(device, hardware.budget_bytes),
        "precision": str(compute.precision),
        "threads": torch.get_num_threads(),
        "seed": cell.seed,
    }
    return record | ({"processes": hardware.gpus_per_cell} if hardware.gpus_per_cell > 1 else {})


def load_cell_model(
    cell: CellConfig,
    compute: Compute,
    tokenizer: PreTrainedTokenizerBase,
    declared: PretrainedConfig | None,
    steps: int,
) -> Model:
    """Load the base of a cell, and attach the adapter of its method.

    Args:
        cell: the typed config.
        compute: device and number format.
        tokenizer: the model's tokenizer; its padding token may change.
        declared: the config of the model's weights; None if it cannot be read.
        steps: optimizer steps of the training; 0 if nothing is trained.

    Raises:
        UserError: the model does not fit the memory, or the weights or the adapter's settings cannot be used.
    """
    hardware, kind = cell.hardware, cell.method.kind
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path, steps)
    gpus = hardware.gpus_per_cell if hardware.shard_weights else 1
    check_fit(cell.model, declared, cell.quantization, kind, compute, hardware.budget_bytes, gpus)
    # No GPU may hold the whole model before its weights are divided.
    place = replace(compute, device=torch.device("cpu")) if hardware.shard_weights else compute
    base = load_model(cell.model, cell.quantization, kind, place, tokenizer)
    embeddings: Any = base.get_input_embeddings()
    fit_vocabulary(tokenizer, int(embeddings.num_embeddings))
    model = attach(base, kind, adapter, cell.seed)
    if cell.training.gradient_checkpointing and cell.method.trains:
        recompute_activations(model)
    return model
