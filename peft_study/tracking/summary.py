"""The final numbers of a cell as one flat mapping."""

from peft_study.metrics.registry import HEADLINES
from peft_study.results.schema import RunResult

Summary = dict[str, float | int | str | None]


def summary_of(result: RunResult) -> Summary:
    """Return the numbers that a dashboard and the closing table show.

    Args:
        result: the record of a cell, finished or not.

    Returns:
        status, metrics with the ends of the headline metrics' intervals, parameters, numbers of the training, seconds
        and peak memory of every phase, and what is known of rates, NVML's memory, energy and tokens.
    """
    flat: Summary = {"status": str(result.status), **result.metrics}
    for name in HEADLINES.keys() & result.intervals.keys():
        flat[f"{name}_low"], flat[f"{name}_high"] = result.intervals[name]
    if result.execution:
        flat["sandbox_errors"] = result.execution.get("sandbox_errors")
    flat |= {f"{name}_parameters": size for name, size in result.parameters.items()}
    flat |= result.training
    flat["test_samples"] = (result.data.get("sizes") or {}).get("test")
    for name, cost in result.phases.items():
        flat[f"{name}_seconds"] = cost.seconds
        flat[f"{name}_peak_bytes"] = cost.peak_bytes
        # Unknown on most machines, so that None would only lengthen a dashboard.
        for measure in ("reserved_bytes", "process_bytes", "energy_wh", "tokens"):
            if (value := getattr(cost, measure)) is not None:
                flat[f"{name}_{measure}"] = value
    flat |= {name: rate for name, rate in result.rates().items() if rate is not None}
    if result.memory_kind is not None:
        flat["memory_kind"] = str(result.memory_kind)
    return flat
