"""Compare predicted memory with the peaks measured on a GPU. Needs no GPU.

    python -m benchmarks.prediction

Reads the last measurement of each row of figure 1 from results/gpu-h100.json and predicts it anew.
"""

import json
import statistics
from typing import Any

from benchmarks import record
from benchmarks.gpu.rows import FIGURE1, cell_overrides, memory_arms
from peft_study.config.compose import compose_cell
from peft_study.cost.predict import estimate

MEASURED = "gpu-h100"


def main() -> None:
    """Run the benchmark and write its result."""
    measured = _measured()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for model, method, quantization, _ in FIGURE1:
        name = f"{model} {method} {quantization}"
        overrides = cell_overrides(model, method, quantization, "cuda", tiny=False)
        phases = measured.get(f"memory {name}", {})
        rows[name] = {}
        for arm, settings in memory_arms().items():
            predicted = estimate(compose_cell([*overrides, *settings]))
            if predicted is None:
                continue
            for phase, value in (
                (f"train {arm}", predicted.train_peak_bytes),
                ("generate", predicted.generate_peak_bytes),
            ):
                peak = phases.get(phase, {}).get("peak_bytes")
                if peak:
                    rows[name][phase] = {
                        "measured_gb": round(peak / 1e9, 2),
                        "predicted_gb": round(value / 1e9, 2),
                        "ratio": round(value / peak, 3),
                    }
    errors = {
        phase: [abs(row[phase]["ratio"] - 1) for row in rows.values() if phase in row]
        for phase in (*(f"train {arm}" for arm in memory_arms()), "generate")
    }
    record.write(
        "prediction",
        {
            "measured_on": "results/gpu-h100.json",
            "rows": rows,
            "median_absolute_error": {phase: round(statistics.median(values), 3) for phase, values in errors.items()},
            "largest_absolute_error": {phase: round(max(values), 3) for phase, values in errors.items()},
        },
        packages=("torch", "transformers", "peft", "bitsandbytes"),
    )


def _measured() -> dict[str, dict[str, Any]]:
    """The phases of each memory row, each from the last run that measured it."""
    runs = json.loads((record.RESULTS / f"{MEASURED}.json").read_text(encoding="utf-8"))["runs"]
    phases: dict[str, dict[str, Any]] = {}
    for run in runs:
        for row in run["rows"]:
            if row["kind"] == "memory":
                measured = {name: phase for name, phase in row.get("phases", {}).items() if "peak_bytes" in phase}
                # Earlier runs copied keys and values for each candidate.
                if not any("cuda_graphs" in phase for phase in measured.values()):
                    measured.pop("generate", None)
                phases.setdefault(row["name"], {}).update(measured)
    return phases


if __name__ == "__main__":
    main()
