"""The replay of a cell's memory against torch's own profiler, which watches the same step on real tensors."""

import gc

import pytest
import torch
from bitsandbytes import functional as bitsandbytes_functional
from bitsandbytes import optim as bitsandbytes_optim
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from peft_study.config.compose import compose_cell
from peft_study.config.schema import CellConfig, Optimizer, Precision
from peft_study.cost.replay import training
from peft_study.cost.replay.live_bytes import LiveBytes
from peft_study.cost.replay.model import fake_tensors, load
from peft_study.models.adapter import adapter_config, attach, recompute_activations
from peft_study.models.families import FAMILIES
from peft_study.models.loading import Model, load_model
from peft_study.models.precision import Compute
from peft_study.models.random_weights import on_meta_device, random_architecture
from peft_study.models.tiny import load_tokenizer

CPU = Compute(torch.device("cpu"), Precision.fp32)
SMALL = ("training.micro_batch_size=1", "training.gradient_checkpointing=true")


def cell_of(*overrides: str) -> CellConfig:
    # A wide model, beside whose tensors the profiler's own few bytes vanish.
    return compose_cell(["model.weights=random", "dataset.max_prompt_tokens=96", *overrides])


def skeleton(cell: CellConfig) -> PreTrainedModel:
    return on_meta_device(cell.model, random_architecture(cell.model, load_tokenizer()))


def ready(cell: CellConfig, base: Model) -> Model:
    model = attach(base, cell.method.kind, adapter_config(cell.method, FAMILIES[cell.model.family], ""), seed=0)
    if cell.training.gradient_checkpointing:
        recompute_activations(model)
    return model


def allocated_bytes(profiler: profile) -> int:
    """The most bytes that the profiler saw allocated at once, beyond those from before it began."""
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=tiny-llama", "method=lora"),
        ("model=tiny-llama", "method=lora", *SMALL),
        ("model=tiny-codegen", "method=full"),
        ("model=tiny-t5", "method=ia3", "training.micro_batch_size=2"),
        ("model=tiny-codegen", "method=prefix"),
    ],
    ids=" ".join,
)
def test_a_step_takes_what_torchs_profiler_sees_of_real_tensors(overrides: tuple[str, ...]) -> None:
    cell = cell_of(*overrides)
    with fake_tensors(like_cuda=False) as counter:
        model = ready(cell, load(cell, skeleton(cell), CPU))
        before = counter.live
        counter.peaks.clear()
        training.take_step(model, cell.training, cell.dataset, CPU, counter.begin)
        predicted = max(counter.peaks.values()) - before
    real = ready(cell, load_model(cell.model, cell.quantization, cell.method.kind, CPU, load_tokenizer()))
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        training.take_step(real, cell.training, cell.dataset, CPU, lambda _: None)

    assert predicted == pytest.approx(allocated_bytes(profiler), rel=0.05)


def test_a_mask_with_gaps_is_attended_by_plain_products() -> None:
    def attend() -> torch.Tensor:
        query, key, value = (torch.zeros(2, 4, 64, 64, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        bias = torch.zeros(64, 64, 4, requires_grad=True).permute(2, 0, 1).unsqueeze(0)
        with torch.autocast("cpu", torch.bfloat16):
            return scaled_dot_product_attention(query, key, value, attn_mask=bias)

    with fake_tensors() as counter:
        kept = attend()
        predicted = counter.live
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, sdpa_kernel(SDPBackend.MATH):
        kept = attend()
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]

    # What the forward pass leaves for the backward pass.
    assert kept.requires_grad
    assert predicted == pytest.approx(sum(event.nbytes() for event in events), rel=0.05)


@pytest.mark.parametrize(
    ("kind", "real_class"),
    [(Optimizer.adamw, torch.optim.AdamW), (Optimizer.adamw_8bit, bitsandbytes_optim.AdamW8bit)],
)
def test_an_optimizers_state_is_as_large_as_the_real_one(
    kind: Optimizer, real_class: type[torch.optim.Optimizer]
) -> None:
    parameters = [torch.nn.Parameter(torch.randn(size)) for size in (10, 4_096, 70_000, 250_000)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizers = [training.optimizer_of(parameters, kind), real_class(parameters)]

    sizes = []
    for optimizer in optimizers:
        optimizer.step()
        values = [value for state in optimizer.state.values() for value in state.values()]
        tensors = [tensor for value in values for tensor in (value if isinstance(value, list) else [value])]
        # bitsandbytes shares its two tables of 256 values among all tensors.
        tensors = [tensor for tensor in tensors if isinstance(tensor, torch.Tensor) and tensor.shape != (256,)]
        sizes.append(sum(tensor.nbytes for tensor in tensors if tensor.numel() > 1))

    assert sizes[0] == sizes[1]


def test_paged_moments_are_not_counted() -> None:
    large, small = (torch.nn.Parameter(torch.zeros(size)) for size in (100_000, 99_999))
    optimizer = training.optimizer_of([large, small], Optimizer.paged_adamw)

    optimizer.step()

    assert optimizer.state[large]["moments"] == []
    assert [tensor.nbytes for tensor in optimizer.state[small]["moments"]] == [4 * 99_999] * 2


def test_what_is_freed_counts_no_more() -> None:
    with LiveBytes(unit=512) as counter:
        first = torch.zeros(256)
        second = first.view(16, 16)[3:]
        third = torch.zeros(1)
        assert counter.live == 1024 + 512
        del first
        assert counter.live == 1024 + 512
        del second, third
    assert (counter.live, counter.peaks) == (0, {"": 1024 + 512})


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantised_base_works_on_real_tensors_after_a_replay(quantization: str) -> None:
    cell = cell_of("model=tiny-llama", f"quantization={quantization}")
    with fake_tensors() as counter:
        model = ready(cell, load(cell, skeleton(cell), CPU))
        training.take_step(model, cell.training, cell.dataset, CPU, counter.begin)
    real = ready(cell, load_model(cell.model, cell.quantization, cell.method.kind, CPU, load_tokenizer()))
    ids = torch.arange(3, 13)[None]

    assert torch.isfinite(real(input_ids=ids, labels=ids).loss)
    assert all(type(table) is torch.Tensor for table in bitsandbytes_functional.name2qmap.values())
