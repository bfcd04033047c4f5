"""Names of metrics on dashboards: where values come from, and that a summary gives its result's row."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from peft_study.metrics.registry import METRICS
from peft_study.report.read.cells import row_of
from peft_study.results.schema import PhaseCost, RunResult, Status
from peft_study.tracking import names
from tests.report_cells import result

ROOT = Path(__file__).resolve().parents[2]
COSTS = {
    "load": PhaseCost(1.25, 512_345_678, None),
    "train": PhaseCost(100.0, 80_123_456_789, 81_000_000_001, 82_000_000_003, 12.5, 4096, 64.0, 1e15),
    "generate": PhaseCost(20.0, 1_000_000_007, None, None, 1.5, 512, 16.0),
}


def record(status: Status = Status.ok) -> RunResult:
    made = result(
        status=status,
        metrics={"em@1": 0.25, "pass@1": None, "introductory/pass@1": 0.5},
        intervals={"em@1": [0.1, 0.4]},
    )
    made.provenance |= {"peak_flops": 3e14, "dirty": False}
    made.data["token_lengths"] = {"train": {"p50": 12}}
    return replace(made, phases=COSTS, predicted={"peak_bytes": 81_234_567_891})


@pytest.mark.parametrize("status", list(Status))
def test_a_summary_gives_the_row_of_the_folder(status: Status) -> None:
    made = record(status)
    summary = json.loads(json.dumps(names.summary_values(made)))

    again = names.result_of(made.config, summary)

    assert row_of(again, None, "x") == row_of(made, None, "x")
    assert again.phases == made.phases


def test_a_results_file_of_this_repository_gives_its_row() -> None:
    for file in sorted((ROOT / "docs" / "demo_results").rglob("result.json"))[:5]:
        made = RunResult.from_json(json.loads(file.read_text()))
        summary = json.loads(json.dumps(names.summary_values(made)))

        assert row_of(names.result_of(made.config, summary), None, "x") == row_of(made, None, "x")


@pytest.mark.parametrize("metric", [metric.name for metric in METRICS])
def test_every_metric_of_the_registry_has_a_name(metric: str) -> None:
    summary = names.summary_values(result(metrics={metric: 0.5}))

    assert summary[f"metrics/{metric}"] == 0.5
    assert names.result_of({}, summary).metrics == {metric: 0.5}


def test_lines_of_the_files_are_named() -> None:
    assert names.step_values({"step": 3, "loss": 1.5, "validation_loss": None, "later": 2.0}) == {
        "train/step": 3,
        "train/loss": 1.5,
        "train/later": 2.0,
    }
    usage = {"phase": "generate", "prompts": 8, "seconds": 2.5, "peak_bytes": 10**9, "reserved_bytes": None}
    assert names.usage_values(usage | {"tokens_per_second": 7.0}) == {
        "cost/seconds": 2.5,
        "generate/prompts": 8,
        "memory/generate_peak_gb": 1.0,
        "throughput/tokens_per_second": 7.0,
    }


def test_a_run_without_a_summary_was_killed() -> None:
    assert names.result_of({}, {}).status is Status.running
