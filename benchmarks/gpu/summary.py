"""A row's result as a line for the terminal."""

from typing import Any

from peft_study.results.schema import MemoryKind

GB = 1e9
LINE = 200


def row_line(result: dict[str, Any]) -> str:
    """The row's name, status and main figures.

    Args:
        result: as in gpu.json.
    """
    parts = [_phase(name, phase, result) for name, phase in result.get("phases", {}).items()]
    parts += [f"{key}: {result[key]}" for key in ("speed_ratios", "floor_shares") if key in result]
    if not parts and result.get("output_end", "").strip():
        parts.append(result["output_end"].strip().splitlines()[-1][:LINE])
    head = f"[{result['status']}] {result['name']} ({result.get('wall_seconds', 0)} s)"
    return "\n    ".join([head, *parts])


def predicted_bytes(result: dict[str, Any], phase: str) -> int | None:
    """The predicted peak of a phase, in bytes. Returns None if the phase has no prediction.

    Args:
        result: of a memory row.
        phase: `train ARM` or `generate`.
    """
    kind, _, arm = phase.partition(" ")
    predictions = result.get("predictions") or {}
    entry = predictions.get(arm) if kind == "train" else next(iter(predictions.values()), None)
    estimate = (entry or {}).get("estimate") or {}
    return estimate.get(f"{kind}_peak_bytes")


def add_predictions(result: dict[str, Any]) -> None:
    """Put the prediction beside each measured peak; their ratio only where both are bytes that torch allocated.

    Args:
        result: of a memory row; changed in place.
    """
    for name, phase in result.get("phases", {}).items():
        predicted, measured = predicted_bytes(result, name), phase.get("peak_bytes")
        if predicted is None or not measured:
            continue
        phase["predicted_bytes"] = predicted
        if phase["memory_kind"] == MemoryKind.cuda_allocated:
            phase["predicted_to_measured"] = round(predicted / measured, 4)


def _phase(name: str, phase: dict[str, Any], result: dict[str, Any]) -> str:
    figures = [f"{name}: {phase['status']}"]
    if phase.get("peak_bytes"):
        figures.append(f"{phase['peak_bytes'] / GB:.2f} GB")
    if "predicted_bytes" in phase:
        figures.append(f"(predicted {phase['predicted_bytes'] / GB:.2f})")
    for key in ("median_step_seconds", "median_prompt_seconds", "floor_seconds", "seconds"):
        if key in phase:
            figures.append(f"{phase[key]:.4g} s")
            break
    if "outcomes" in phase:
        figures.append(str(phase["outcomes"]))
    if "error" in phase:
        figures.append(phase["error"].strip().splitlines()[-1][:LINE])
    return " ".join(figures)
