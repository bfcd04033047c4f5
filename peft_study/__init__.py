"""A Hydra-driven sweep framework for the study of arXiv 2308.10462: which way of adapting a code LLM is worth it.

The stable Python API:

    cell = peft_study.compose_cell("model=tiny-llama", "method=lora")
    result = peft_study.run_cell(cell)
    frame = peft_study.load_results("multirun")
"""

from pathlib import Path
from typing import TYPE_CHECKING

# Imports stand inside the functions: what runs beside untrusted programs imports this package, too.
if TYPE_CHECKING:
    import pandas as pd

    from peft_study.config.schema import CellConfig
    from peft_study.results.schema import RunResult

__all__ = ["__version__", "compose_cell", "load_results", "run_cell"]
__version__ = "0.1.0"


def compose_cell(*overrides: str) -> "CellConfig":
    """Compose the configuration of one cell.

    Args:
        overrides: as on the command line, such as "model=tiny-llama" and "training.epochs=1".

    Raises:
        peft_study.errors.UserError: the overrides do not compose, or settings contradict each other.
    """
    from peft_study.config.compose import compose_cell

    return compose_cell(overrides)


def run_cell(cell: "CellConfig") -> "RunResult":
    """Run one cell in this process. An interrupted cell resumes, and a finished one is skipped.

    Args:
        cell: of `compose_cell`.

    Returns:
        the record of the cell, as in its result.json.

    Raises:
        peft_study.errors.UserError: the cell did not succeed; the message is its reason.
    """
    from peft_study.cell.attempt import run_cell
    from peft_study.cell.process import RunOptions
    from peft_study.config.naming import folder_of
    from peft_study.errors import UserError
    from peft_study.results.schema import Status
    from peft_study.results.store import RESULT, read_result

    outcome = run_cell(cell, folder_of(cell), RunOptions(sweep=False))
    if outcome.status is not Status.ok or outcome.folder is None:
        raise UserError(f"the cell ended with status {outcome.status}: {outcome.reason}", where=str(outcome.folder))
    result = read_result(outcome.folder / RESULT)
    assert result is not None, "a cell that succeeded has a result"
    return result


def load_results(*sources: str | Path) -> "pd.DataFrame":
    """Load finished and unfinished cells as one row each.

    Args:
        sources: folders of cells, studies or sweeps, or "wandb://entity/project".

    Returns:
        settings, status, metrics (from 0 to 1), seconds and peak memory in bytes: `report.read.cells.COLUMNS`.

    Raises:
        peft_study.errors.UserError: a source does not exist or cannot be read.
    """
    from peft_study.report.read.rows import load

    return load(sources).frame
