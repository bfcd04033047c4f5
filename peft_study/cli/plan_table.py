"""The table of a plan: one row for each configuration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from peft_study.console.formats import MISSING, duration
from peft_study.console.messages import plain_console, printable
from peft_study.cost.forecast import Forecast


def print_plan(cells: Sequence[Forecast], totals: Mapping[str, Any], needed: str | None) -> None:
    """Print a plan.

    Args:
        cells: the estimates of the cells, in the order in which they run.
        totals: "cells", "states", "over_budget", "seconds_left" (None if unknown) and "cells_of_unknown_time".
        needed: how many seeds and samples a difference needs; None prints no line.
    """
    console = plain_console()
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("model", "method", "data"):
        table.add_column(title, no_wrap=True)
    for title in ("cells", "trained", "peak GB", "batch", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    # Counted, because a rule refuses hundreds of cells of a study for the same reason.
    grouped = _group_replicates(cells)
    reasons = Counter(cell.reason.splitlines()[0] for group in grouped for cell in group if cell.reason)
    advice: dict[str, None] = {}
    for replicates in grouped:
        row = _row(replicates)
        table.add_row(*(Text(printable(value, console)) for value in row))
        if replicates[0].advice:
            advice[f"! {' '.join(row[:3])}: {replicates[0].advice}"] = None
    console.print(table)
    for reason, number in reasons.items():
        console.print(Text(printable(f"{number} x {reason}", console)), soft_wrap=True)
    for line in advice:
        console.print(Text(printable(line, console)), soft_wrap=True)
    console.print(Text(_summary(totals)), soft_wrap=True)
    if needed:
        console.print(Text(printable(needed, console)), soft_wrap=True)


def _group_replicates(cells: Sequence[Forecast]) -> list[list[Forecast]]:
    grouped: dict[tuple[object, ...], list[Forecast]] = {}
    for cell in cells:
        # The peak is part of the key, because hardware.memory_budget_gb changes it but not the configuration.
        grouped.setdefault((cell.settings, cell.predicted_peak_bytes), []).append(cell)
    return list(grouped.values())


def _row(replicates: Sequence[Forecast]) -> list[str]:
    first = replicates[0]
    examples = f" {first.num_examples}" if first.num_examples else ""
    bits = "" if first.quantization == "none" else f" {first.quantization}"
    states = Counter(cell.state for cell in replicates)
    state = first.state if len(states) == 1 else ", ".join(f"{number} {state}" for state, number in states.items())
    peak = MISSING if first.predicted_peak_bytes is None else f"{first.predicted_peak_bytes / 1e9:.1f}"
    return [
        first.model,
        f"{first.method}{examples}{bits}",
        first.dataset,
        str(len(replicates)),
        MISSING if first.trainable_parameters is None else f"{first.trainable_parameters:,}",
        f"{peak}!" if first.over_budget else peak,
        first.division or MISSING,
        MISSING if first.predicted_seconds is None else duration(first.predicted_seconds * len(replicates)),
        state,
    ]


def _summary(totals: Mapping[str, Any]) -> str:
    states = ", ".join(f"{number} {state}" for state, number in totals["states"].items())
    parts = [f"{totals['cells']} cells: {states}"]
    if totals["over_budget"]:
        parts.append(f"{totals['over_budget']} above hardware.memory_budget_gb by the prediction (marked !)")
    if totals["seconds_left"] is not None:
        parts.append(f"{duration(totals['seconds_left'])} of work left, one at a time")
    if totals["cells_of_unknown_time"]:
        parts.append(
            f"time unknown for {totals['cells_of_unknown_time']}: no replicate has run under output_dir on this "
            "hardware option"
        )
    return "; ".join(parts)
