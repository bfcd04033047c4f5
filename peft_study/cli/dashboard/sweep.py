"""Writes a study as a W&B sweep, for those who launch cells by W&B's agents."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft_study.sweep.blocks import literal
from peft_study.sweep.plan import PlannedCell

PARAMETER = "cell"
# A study is not a product of parameters, so a run has one parameter: the overrides of its cell. An agent passes
# `cell=OVERRIDES` as one argument, which is $0 of this shell.
_SHELL = f'eval "exec python -m peft_study ${{0#{PARAMETER}=}}"'


def sweep_of(
    cells: Sequence[PlannedCell], entity: str | None, project: str, config_dir: Path | None = None
) -> dict[str, Any]:
    """Describe cells as a sweep: a grid over one parameter, whose values are the overrides of the cells.

    Args:
        cells: the cells, all of the same study. Their other trackers stay.
        entity: the user or team that owns the project; the default of the account if None.
        project: the W&B project.
        config_dir: another folder of config groups.

    Returns:
        the sweep, as `wandb sweep FILE` reads it.
    """
    arguments = [f"tracking.project={literal(project)}"]
    if entity:
        arguments.append(f"tracking.entity={literal(entity)}")
    if config_dir:
        arguments.append(f"--config-dir={config_dir}")
    return {
        "name": cells[0].cell.study.name,
        **({"entity": entity} if entity else {}),
        "project": project,
        "program": "peft_study",
        "method": "grid",
        "command": ["${env}", "sh", "-c", _SHELL, "${args_no_hyphens}"],
        "parameters": {PARAMETER: {"values": [shlex.join([*_overrides(cell), *arguments]) for cell in cells]}},
    }


def _overrides(planned: PlannedCell) -> list[str]:
    trackers = planned.cell.tracking.trackers
    if "wandb" in trackers:
        return list(planned.overrides)
    # A second `tracking=` would replace the first.
    return [*planned.overrides, "+tracking.trackers.wandb={}" if trackers else "tracking=wandb"]
