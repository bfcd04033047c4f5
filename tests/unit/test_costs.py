"""Rates, FLOPs, peaks of cards, and how costs of an interrupted cell add up."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from peft_study.config.compose import compose_cell
from peft_study.config.schema import Precision
from peft_study.cost.cards import peak_flops
from peft_study.cost.flops import TrainingFlops
from peft_study.cost.memory import Meter
from peft_study.cost.nvml import Card
from peft_study.data.tokens import Encoded
from peft_study.models.adapter import adapter_config, attach
from peft_study.models.families import FAMILIES
from peft_study.models.loading import load_model, load_tokenizer
from peft_study.models.precision import choose
from peft_study.report.read.cells import COLUMNS, row_of
from peft_study.report.read.rows import load
from peft_study.report.read.wandb_runs import Run, row_of_run
from peft_study.results.schema import PhaseCost, RunResult, Status, Work
from peft_study.tracking.names import summary_values
from peft_study.training.loss import training_loss
from peft_study.training.packing import Packer
from peft_study.training.work import work_of
from tests.report_cells import drawing_of, result, study, table_of

LAYERS = {
    "tiny-llama": ["num_hidden_layers"],
    "tiny-codegen": ["n_layer"],
    "tiny-t5": ["num_layers", "num_decoder_layers"],
}
SAMPLES = [Encoded(tuple(range(300, 340)), tuple(range(400, 420)), 0, 0)]
"""Torch counts attention between the samples of a row, which the mask removes, so a row has a single sample."""


@pytest.mark.parametrize(
    ("model", "method", "tolerance"),
    [
        ("tiny-llama", "full", 0.0),
        ("tiny-codegen", "full", 0.0),
        ("tiny-t5", "full", 0.0),
        ("tiny-llama", "prompt", 0.0),
        ("tiny-codegen", "prompt", 0.0),
        # Of eight layers, autograd leaves out gradients of the first one's inputs.
        ("tiny-llama", "lora", 0.02),
        ("tiny-codegen", "lora", 0.06),
        ("tiny-t5", "lora", 0.02),
        ("tiny-llama", "ia3", 0.02),
        ("tiny-t5", "prompt", 0.01),
        ("tiny-llama", "prefix", 0.02),
        ("tiny-t5", "prefix", 0.03),
    ],
)
def test_model_flops_are_those_that_torch_counts(model: str, method: str, tolerance: float) -> None:
    deep = [f"++model.architecture.{name}=8" for name in LAYERS[model]]
    cell = compose_cell([f"model={model}", f"method={method}", "model.weights=random", "hardware=cpu", *deep])
    tokenizer, compute = load_tokenizer(cell.model), choose(cell.hardware.device, cell.training.precision)
    base = load_model(cell.model, cell.quantization, cell.method.kind, compute, tokenizer)
    # Torch does not count the fused attention of a CPU.
    base.set_attn_implementation("eager")
    adapter = adapter_config(cell.method, FAMILIES[cell.model.family], tokenizer.name_or_path)
    trained = attach(base, cell.method.kind, adapter, cell.seed)
    trained.train()
    batch = Packer.of(trained, int(tokenizer.pad_token_id))(SAMPLES)
    with FlopCounterMode(display=False) as counter:
        training_loss(trained, batch, len(SAMPLES[0].target)).backward()

    stated = work_of(SAMPLES, TrainingFlops.of(trained)).flops
    relative = stated / counter.get_total_flops() - 1

    assert 0 <= relative <= tolerance, f"{relative:.4f}"


@pytest.mark.parametrize(
    ("name", "precision", "stated", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", Precision.bf16, None, 312e12),
        ("A100-PCIE-40GB", Precision.fp16, None, 312e12),
        ("NVIDIA H100 80GB HBM3", Precision.bf16, None, 989.4e12),
        ("NVIDIA GeForce RTX 4090", Precision.bf16, None, 165.2e12),
        ("NVIDIA RTX A5000", Precision.bf16, None, 111.1e12),
        ("Tesla T4", Precision.fp16, None, 65e12),
        ("Tesla T4", Precision.bf16, None, None),
        ("NVIDIA RTX A5000", Precision.fp32, None, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", Precision.bf16, None, None),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", Precision.bf16, None, None),
        ("cpu", Precision.fp32, None, None),
        ("cpu", Precision.fp32, 0.5, 0.5e12),
        ("NVIDIA RTX A5000", Precision.bf16, 100, 100e12),
    ],
)
def test_the_peak_of_a_card_is_known_stated_or_unknown(
    name: str, precision: Precision, stated: float | None, peak: float | None
) -> None:
    assert peak_flops(name, precision, stated) == peak


FIRST = PhaseCost(10.0, 5, 8, process_bytes=9, energy_wh=1.5, tokens=100, token_seconds=4.0, flops=1e9)
SECOND = PhaseCost(6.0, 7, 7, process_bytes=8, energy_wh=0.5, tokens=50, token_seconds=2.0, flops=5e8)


@pytest.mark.parametrize(
    ("earlier", "later", "total"),
    [
        (FIRST, SECOND, PhaseCost(16.0, 7, 8, 9, 2.0, 150, 6.0, 1.5e9)),
        (PhaseCost(1.0, 5, None), PhaseCost(1.0, 4, None), PhaseCost(2.0, 5, None)),
        # A result of an earlier version has no tokens, so their sum is unknown.
        (PhaseCost(10.0, 5, 8), SECOND, PhaseCost(16.0, 7, 8, 8)),
    ],
)
def test_costs_of_a_resumed_phase_add_up(earlier: PhaseCost, later: PhaseCost, total: PhaseCost) -> None:
    assert later.after(earlier) == total


def test_a_meter_keeps_tokens_with_their_seconds() -> None:
    meter = Meter(torch.device("cpu"), {"train": FIRST})
    with meter.phase("load"):
        meter.add_work(Work(tokens=1, seconds=1.0))
    with meter.phase("train", has_tokens=True):
        meter.add_work(Work(tokens=30, seconds=1.0, flops=1e9))
        meter.add_work(Work(tokens=20, seconds=0.5, flops=1e9))
    with meter.phase("generate", has_tokens=True):
        meter.add_work(Work(tokens=7, seconds=3.5))

    train, generate = meter.phases["train"], meter.phases["generate"]
    assert meter.phases["load"].tokens is None
    assert (train.tokens, train.token_seconds, train.flops) == (150, 5.5, 3e9)
    assert (generate.tokens, generate.tokens_per_second, generate.flops) == (7, 2.0, None)
    # Energy and NVML's memory are of a GPU.
    assert (generate.energy_wh, generate.process_bytes, Card.of(torch.device("cpu"))) == (None, None, None)


def of_phases(peak: float | None = None, **phases: PhaseCost) -> RunResult:
    return RunResult("cell", "study", Status.ok, phases=phases, provenance={"peak_flops": peak})


@pytest.mark.parametrize(
    ("record", "rates"),
    [
        (of_phases(1e9, train=FIRST, generate=SECOND), (25.0, 25.0, 0.25)),
        (of_phases(None, train=FIRST), (25.0, None, None)),
        (of_phases(1e9, train=PhaseCost(10.0, 5, 8)), (None, None, None)),
        (of_phases(1e9, train=PhaseCost(0.1, 5, 8, tokens=0, token_seconds=0.0, flops=0.0)), (None, None, None)),
    ],
)
def test_rates_follow_from_the_record(record: RunResult, rates: tuple[float | None, ...]) -> None:
    assert tuple(record.rates().values()) == rates
    assert record.to_json()["rates"] == record.rates()
    assert RunResult.from_json(record.to_json()) == record


def test_a_record_of_an_earlier_or_a_later_version_is_read() -> None:
    record = of_phases(train=FIRST).to_json()
    old = {name: record["phases"]["train"][name] for name in ("seconds", "peak_bytes", "reserved_bytes")}

    assert RunResult.from_json(record | {"phases": {"train": old}}).phases == {"train": PhaseCost(10.0, 5, 8)}
    later = record | {"phases": {"train": asdict(FIRST) | {"carbon_grams": 3.0}}}
    assert RunResult.from_json(later).phases == {"train": FIRST}


def measured(method: str, seed: int, tokens: int, energy_wh: float) -> RunResult:
    """A cell of a report with every cost."""
    record = result(method=method, seed=seed)
    train = PhaseCost(50.0, 2_000_000_000, 3_000_000_000, 4_000_000_000, energy_wh, tokens, 10.0, 1e15)
    record.phases = {"train": train, "generate": PhaseCost(20.0, 1, 2, 3, 1.0, 600, 20.0)}
    record.training["saved_bytes"] = 250_000
    record.provenance["peak_flops"] = 312e12
    return record


def test_a_report_shows_medians_of_the_costs_that_are_known(tmp_path: Path) -> None:
    cells = [measured("lora", seed, tokens, 2.0) for seed, tokens in ((1, 1000), (2, 4000), (3, 2000))]
    study(tmp_path, *cells, result(method="ia3"))
    frame = load([tmp_path]).frame

    table = table_of("costs", frame)

    (row,) = table.cells
    shown = {name: cell.text for name, cell in zip(table.columns, row, strict=True)}
    assert shown.pop("Method") == "LoRA"
    assert {name: shown[name] for name in list(shown)[3:]} == {
        "Train tokens/s": "200",
        "Generate tokens/s": "30",
        "MFU %": "32.1",
        "Train reserved GB": "3.00",
        "Generate reserved GB": "0.00",
        "Train NVML GB": "4.00",
        "Generate NVML GB": "0.00",
        "Train card Wh": "2.00",
        "Generate card Wh": "1.00",
        "On disk MB": "0.25",
    }
    (series,) = (series for series in drawing_of("quality-energy", frame).panels[0].series if series.label == "LoRA")
    assert series.x == (3.0,)


def test_a_cost_of_0_is_known(tmp_path: Path) -> None:
    record = result()
    record.training["saved_bytes"] = 0
    study(tmp_path, record)

    table = table_of("costs", load([tmp_path]).frame)

    assert table.columns[-1] == "On disk MB"
    assert [row[-1].text for row in table.cells] == ["0.00"]


def test_a_report_of_older_results_has_no_costs(tmp_path: Path) -> None:
    study(tmp_path, result())

    assert table_of("costs", load([tmp_path]).frame).cells == ()


def test_costs_that_were_sent_to_wandb_are_columns_and_not_scores() -> None:
    record = measured("lora", 1, 1000, 2.0)
    run = Run(record.cell_id, "study", "finished", None, record.config, summary_values(record), "wandb://me/project/1")

    row, local = row_of_run(run, "wandb://me/project"), row_of(record, None, "folder")

    costs = [name for name in COLUMNS if name.endswith(("_wh", "_per_second", "_utilization", "_bytes", "_seconds"))]
    assert {name: row[name] for name in costs} == {name: local[name] for name in costs}
    assert row["train_tokens_per_second"] == 100.0
    assert not [name for name in row if name not in COLUMNS and not name.startswith("em@")]
