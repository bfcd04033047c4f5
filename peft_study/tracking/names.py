"""Names of metrics on dashboards, in groups, and where their values come from.

A cell's folder is the record, and a dashboard is a view of it. Three files hold everything that a run shows, so that a
run can be built from them again:

- `metrics.jsonl`, a line a logged step of the training. The x-axis of its values is `train/step`.
- `usage.jsonl`, a line for each line of metrics.jsonl, with its `step`, and a line a batch of candidates, with the
  number of `prompts` so far: memory, speed and energy. The x-axis is `cost/seconds`, the seconds of training and
  generation so far, which both phases share. Measured values stand in a file apart, because metrics.jsonl is equal
  byte for byte when a cell is run again.
- `result.json`: `summary_values` names what a run's summary holds, and `result_of` turns a summary back into a result.

| metrics.jsonl | name | usage.jsonl | name |
|---|---|---|---|
| `step` | `train/step` | `seconds` | `cost/seconds` |
| `loss` | `train/loss` | `energy_wh` | `cost/energy_wh` |
| `validation_loss` | `validation/loss` | `peak_bytes` | `memory/PHASE_peak_gb` |
| `learning_rate`, `gradient_norm`, `epoch` | `train/...` | `reserved_bytes` | `memory/reserved_gb` |
| | | `process_bytes` | `memory/process_gb` |
| | | `tokens_per_second` | `throughput/tokens_per_second` |
| | | `prompts` (generation) | `generate/prompts` |

| result.json | name |
|---|---|
| `metrics`, `intervals` | `metrics/em@10` as in the metric registry, `metrics/em@10_low`, `metrics/em@10_high` |
| `phases`: bytes | `memory/train_peak_gb`, `memory/train_reserved_gb`, `memory/train_process_gb`, in each phase |
| `phases`: others | `cost/train_seconds`, `cost/train_energy_wh`, `cost/train_tokens`, ... |
| `rates()` | `throughput/train_tokens_per_second`, `throughput/train_flop_utilization`, ... |
| sums of train and generate | `cost/seconds`, `cost/energy_wh`; the larger peak: `memory/peak_gb` |
| `training` | `train/steps`, `train/best_step`, `validation/best_loss`, `validation/initial_loss`, ... |
| `predicted`, `provenance`: bytes | `memory/predicted_peak_gb`, `memory/device_gb` |
| `parameters`, `data` | `parameters/trainable`, `data/test_samples`, `data/fingerprint`, `data/leakage_share`, ... |
| `provenance` and others | `provenance/device`, `provenance/precision`, `provenance/commit`, ... |
| `status`, `reason` | `status`, `reason` |

`history` joins the two files of lines. Row N of a run's history is line N of metrics.jsonl with the values of its line
of usage.jsonl, and the lines of generation follow. The order does not depend on interrupts, so that a resumed run
continues behind the rows that a dashboard has.

A gigabyte is 1e9 bytes, and `result_of` rounds to whole bytes. A value that is None is left out, except a score.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peft_study.config.identity import settings_key
from peft_study.results.schema import PHASES, MemoryKind, PhaseCost, RunResult, Status

BYTES_PER_GIGABYTE = 1e9
TRAIN_STEP = "train/step"
SECONDS = "cost/seconds"
PROMPTS = "generate/prompts"
METRICS_PREFIX = "metrics/"
"""Prefix of a score: `metrics/em@10`."""
SETTINGS = "provenance/settings"
"""The hash of `identity.settings_key`. A run's config has no paths, so a reader cannot compute it."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """A metric that is logged while a cell runs.

    Attributes:
        name: as on a dashboard.
        key: of a line in metrics.jsonl or usage.jsonl.
        step_metric: the metric of its x-axis.
        summaries: what a dashboard keeps of the series: "min", "max", "last"; empty if `summary_values` says its end.
        axis: label of an axis.
    """

    name: str
    key: str
    step_metric: str
    summaries: tuple[str, ...]
    axis: str


STEP_SERIES = (
    Series("train/loss", "loss", TRAIN_STEP, ("min", "last"), "training loss, nats a token"),
    Series("validation/loss", "validation_loss", TRAIN_STEP, ("min", "last"), "validation loss, nats a token"),
    Series("train/learning_rate", "learning_rate", TRAIN_STEP, ("max", "last"), "learning rate"),
    Series("train/gradient_norm", "gradient_norm", TRAIN_STEP, ("max", "last"), "gradient norm"),
    Series("train/epoch", "epoch", TRAIN_STEP, ("last",), "epoch"),
)
"""Series of metrics.jsonl."""
USAGE_SERIES = (
    Series("memory/train_peak_gb", "train peak_bytes", SECONDS, (), "peak memory of training, GB"),
    Series("memory/generate_peak_gb", "generate peak_bytes", SECONDS, (), "peak memory of generation, GB"),
    Series("memory/reserved_gb", "reserved_bytes", SECONDS, ("max", "last"), "memory reserved by torch, GB"),
    Series("memory/process_gb", "process_bytes", SECONDS, ("max", "last"), "memory of the process, GB"),
    Series("throughput/tokens_per_second", "tokens_per_second", SECONDS, ("min", "max", "last"), "tokens a second"),
    Series("cost/energy_wh", "energy_wh", SECONDS, (), "energy of the card, Wh"),
    Series(PROMPTS, "prompts", SECONDS, ("last",), "prompts with candidates"),
)
"""Series of usage.jsonl. The peak of memory has a name for each phase."""
SERIES = STEP_SERIES + USAGE_SERIES

_STEP_NAMES = {series.key: series.name for series in STEP_SERIES}
_USAGE_NAMES = {series.key: series.name for series in USAGE_SERIES}
_TRAINING_NAMES = {"best_validation_loss": "validation/best_loss", "initial_validation_loss": "validation/initial_loss"}
_PHASE_BYTES = ("peak", "reserved", "process")
_PHASE_COSTS = ("seconds", "energy_wh", "tokens", "token_seconds", "flops")
_PROVENANCE = ("device", "precision", "commit", "dirty", "peak_flops", "threads", "processes", "model_commit")


def step_values(row: Mapping[str, Any]) -> Values:
    """Name the values of a line of metrics.jsonl, with its step. A key without a series is a metric of `train/`."""
    named = {_STEP_NAMES.get(key, f"train/{key}"): value for key, value in row.items() if key != "step"}
    return {TRAIN_STEP: row["step"], **_present(named)}


def usage_values(row: Mapping[str, Any]) -> Values:
    """Name the values of a line of usage.jsonl, with `cost/seconds`; nothing for an empty mapping."""
    phase = row.get("phase")
    named: Values = {SECONDS: row.get("seconds")}
    for key, value in row.items():
        name = _USAGE_NAMES.get(f"{phase} {key}") or _USAGE_NAMES.get(key)
        if name is not None:
            named[name] = _gigabytes(value) if key.endswith("_bytes") else value
    return _present(named)


def history(steps: Iterable[Mapping[str, Any]], usages: Iterable[Mapping[str, Any]]) -> Iterator[Values]:
    """Yield the rows of a run's history, in order.

    Args:
        steps: the lines of metrics.jsonl.
        usages: the lines of usage.jsonl.
    """
    of_steps: dict[Any, list[Mapping[str, Any]]] = {}
    of_batches = []
    for usage in usages:
        if "step" in usage:
            of_steps.setdefault(usage["step"], []).append(usage)
        else:
            of_batches.append(usage)
    for row in steps:
        # A step has up to two lines in either file: its loss, and the loss of the validation.
        usage = of_steps[row["step"]].pop(0) if of_steps.get(row["step"]) else {}
        yield step_values(row) | usage_values(usage)
    yield from map(usage_values, of_batches)


def summary_values(result: RunResult) -> Values:
    """Name the values of a result.

    Args:
        result: the record of a cell, finished or not.

    Returns:
        texts, numbers, and `data/token_lengths`, a mapping. A score may be None.
    """
    scores: Values = {f"{METRICS_PREFIX}{name}": value for name, value in result.metrics.items()}
    for name, ends in result.intervals.items():
        scores[f"{METRICS_PREFIX}{name}_low"], scores[f"{METRICS_PREFIX}{name}_high"] = ends
    named: Values = {"status": str(result.status), "reason": result.reason}
    named |= {_training_name(key): value for key, value in result.training.items()}
    named |= {f"parameters/{name}": size for name, size in result.parameters.items()}
    # A score that is None is undefined, which is another thing than a score that was not computed.
    return scores | _present(named | _cost_values(result) | _data_values(result) | _provenance_values(result))


def _cost_values(result: RunResult) -> Values:
    named: Values = {}
    for phase, cost in result.phases.items():
        named |= {f"memory/{phase}_{kind}_gb": _gigabytes(getattr(cost, f"{kind}_bytes")) for kind in _PHASE_BYTES}
        named |= {f"cost/{phase}_{measure}": getattr(cost, measure) for measure in _PHASE_COSTS}
    work = [result.phases[phase] for phase in ("train", "generate") if phase in result.phases]
    if work:
        named[SECONDS] = sum(cost.seconds for cost in work)
        energies = [cost.energy_wh for cost in work if cost.energy_wh is not None]
        named["cost/energy_wh"] = sum(energies) if len(energies) == len(work) else None
        named["memory/peak_gb"] = _gigabytes(
            max((cost.peak_bytes for cost in work if cost.peak_bytes is not None), default=None)
        )
    named |= {f"throughput/{name}": rate for name, rate in result.rates().items()}
    named["memory/kind"] = None if result.memory_kind is None else str(result.memory_kind)
    named["memory/predicted_peak_gb"] = _gigabytes(result.predicted.get("peak_bytes"))
    named["memory/device_gb"] = _gigabytes(result.provenance.get("device_bytes"))
    return named


def _data_values(result: RunResult) -> Values:
    data = result.data
    leakage = (data.get("leakage") or {}).get("similar_instruction") or {}
    return {
        "data/test_samples": (data.get("sizes") or {}).get("test"),
        "data/fingerprint": data.get("fingerprint"),
        "data/leakage_share": leakage.get("share"),
        "data/token_lengths": data.get("token_lengths") or None,
        "execution/level": result.execution.get("level"),
        "execution/sandbox_errors": result.execution.get("sandbox_errors"),
    }


def _provenance_values(result: RunResult) -> Values:
    return {f"provenance/{name}": result.provenance.get(name) for name in _PROVENANCE} | {
        "provenance/cell_id": result.cell_id,
        "provenance/study": result.study,
        "provenance/started_at": result.started_at,
        "provenance/finished_at": result.finished_at,
        "provenance/schema_version": result.schema_version,
        SETTINGS: settings_key(result.config),
    }


def result_of(config: Mapping[str, Any], summary: Mapping[str, Any]) -> RunResult:
    """Turn the summary of a run back into a result, as far as a summary holds it.

    Args:
        config: the run's config.
        summary: the run's summary. Names that `summary_values` does not write are ignored.

    Returns:
        the record. A run without a status has the status "running".
    """
    provenance, scores = _part(summary, "provenance/"), _part(summary, METRICS_PREFIX)
    lows = {name.removesuffix("_low"): value for name, value in scores.items() if name.endswith("_low")}
    intervals = {name: [low, scores[f"{name}_high"]] for name, low in lows.items() if f"{name}_high" in scores}
    ends = {f"{name}{end}" for name in intervals for end in ("_low", "_high")}
    status, kind = summary.get("status"), summary.get("memory/kind")
    return RunResult(
        cell_id=str(provenance.get("cell_id")),
        study=str(provenance.get("study")),
        status=Status(status) if status in set(Status) else Status.running,
        reason=summary.get("reason"),
        config=dict(config),
        metrics={name: value for name, value in scores.items() if name not in ends},
        intervals=intervals,
        execution=_part(summary, "execution/"),
        parameters=_part(summary, "parameters/"),
        training=_training_of(summary),
        predicted=_bytes_of(summary, {"peak_bytes": "memory/predicted_peak_gb"}),
        data=_data_of(summary),
        phases={phase: cost for phase in PHASES if (cost := _phase_of(summary, phase)) is not None},
        memory_kind=MemoryKind(kind) if kind in set(MemoryKind) else None,
        provenance={name: provenance[name] for name in _PROVENANCE if name in provenance}
        | _bytes_of(summary, {"device_bytes": "memory/device_gb"}),
        started_at=provenance.get("started_at"),
        finished_at=provenance.get("finished_at"),
        schema_version=int(provenance.get("schema_version", RunResult.schema_version)),
    )


def _phase_of(summary: Mapping[str, Any], phase: str) -> PhaseCost | None:
    seconds = summary.get(f"cost/{phase}_seconds")
    if seconds is None:
        return None
    sizes = _bytes_of(summary, {f"{kind}_bytes": f"memory/{phase}_{kind}_gb" for kind in _PHASE_BYTES})
    costs: Values = {measure: summary.get(f"cost/{phase}_{measure}") for measure in _PHASE_COSTS}
    return PhaseCost.from_json(dict.fromkeys(("peak_bytes", "reserved_bytes")) | sizes | costs)


def _data_of(summary: Mapping[str, Any]) -> Values:
    data: Values = {name: summary.get(f"data/{name}") for name in ("fingerprint", "token_lengths")}
    data["sizes"] = {"test": summary.get("data/test_samples")}
    data["leakage"] = {"similar_instruction": {"share": summary.get("data/leakage_share")}}
    return data


def _training_of(summary: Mapping[str, Any]) -> Values:
    # A series and a total share the prefix: what is logged at a step is not a total.
    series = {item.name for item in SERIES} | {TRAIN_STEP}
    totals = {key: summary[name] for key, name in _TRAINING_NAMES.items() if name in summary}
    totals |= {key: value for key, value in _part(summary, "train/").items() if f"train/{key}" not in series}
    return totals


def _training_name(key: str) -> str:
    return _TRAINING_NAMES.get(key, f"train/{key}")


def _part(summary: Mapping[str, Any], prefix: str) -> Values:
    return {name.removeprefix(prefix): value for name, value in summary.items() if name.startswith(prefix)}


def _bytes_of(summary: Mapping[str, Any], names: Mapping[str, str]) -> Values:
    return {
        key: round(summary[name] * BYTES_PER_GIGABYTE) for key, name in names.items() if summary.get(name) is not None
    }


def _gigabytes(size: Any) -> float | None:
    return None if size is None else size / BYTES_PER_GIGABYTE


def _present(named: Mapping[str, Any]) -> Values:
    return {name: value for name, value in named.items() if value is not None}
