"""The costs of every configuration: speed, use of the GPU, memory by kind, energy, and bytes on disk."""

from collections.abc import Mapping
from typing import NamedTuple

from peft_study.report.caveats import caveats
from peft_study.report.study import Study
from peft_study.report.tables.scores import CONFIGURATION, configuration_cells, cost_cell
from peft_study.report.tables.table import Table


class _Cost(NamedTuple):
    column: str
    unit: float
    digits: int


_COSTS: Mapping[str, _Cost] = {
    "Train tokens/s": _Cost("train_tokens_per_second", 1.0, 0),
    "Generate tokens/s": _Cost("generate_tokens_per_second", 1.0, 0),
    "MFU %": _Cost("train_flop_utilization", 0.01, 1),
    "Train reserved GB": _Cost("train_reserved_bytes", 1e9, 2),
    "Generate reserved GB": _Cost("generate_reserved_bytes", 1e9, 2),
    "Train NVML GB": _Cost("train_process_bytes", 1e9, 2),
    "Generate NVML GB": _Cost("generate_process_bytes", 1e9, 2),
    "Train card Wh": _Cost("train_energy_wh", 1.0, 2),
    "Generate card Wh": _Cost("generate_energy_wh", 1.0, 2),
    "On disk MB": _Cost("saved_bytes", 1e6, 2),
}
_NOTE = (
    "Medians over seeds. Tokens are real tokens of training steps, and tokens of the candidates. MFU: model FLOPs a "
    "second as a share of the card's peak. Energy is of the whole card. The overview has seconds and allocated memory."
)


def costs(study: Study, other: Study | None = None) -> Table:
    """Return the costs of every configuration that recorded one, with a column for each cost that is known.

    Args:
        study: rows of `rows.load`; older results lack these costs.
        other: unused; `comparison.compare` compares all configurations.
    """
    groups = [group for group in study.groups if any(group.values(cost.column) for cost in _COSTS.values())]
    known = {title: cost for title, cost in _COSTS.items() if any(group.values(cost.column) for group in groups)}
    rows = tuple(
        (
            *configuration_cells(group),
            *(cost_cell(group, cost.column, cost.unit, cost.digits) for cost in known.values()),
        )
        for group in groups
    )
    notes = (_NOTE, *caveats(groups)) if rows else ("No finished cell recorded these costs.",)
    return Table("costs", "Costs of every configuration", (*CONFIGURATION, *known), rows, notes)
