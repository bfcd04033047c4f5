"""Which run of W&B is that of a cell."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from peft_study.results.store import write_atomically
from peft_study.tracking.base import CellStart

FOLDER = "wandb"
"""What W&B leaves in a cell's folder: a folder with the files of the run."""
AGENT_RUN = "agent_run.json"
"""In this folder: `AgentRun`."""
RUN_ID_CHARACTERS = 16


@dataclass(frozen=True)
class AgentRun:
    """The run of a cell that an agent of a W&B sweep started. W&B chose its place, which the cell's folder records.

    Attributes:
        entity: of the sweep; None for the default of the account.
        project: of the sweep.
        run: the id of the run.
    """

    entity: str | None
    project: str
    run: str

    @classmethod
    def read(cls, folder: Path) -> "AgentRun | None":
        """Read the run from a cell's folder; None if no agent started the cell, or the file is damaged."""
        try:
            fields = json.loads((folder / FOLDER / AGENT_RUN).read_text(encoding="utf-8"))
            return cls(fields["entity"], str(fields["project"]), str(fields["run"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the run into a cell's folder."""
        file = folder / FOLDER / AGENT_RUN
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(self)) + "\n")


def run_id(cell: CellStart) -> str:
    """Return the id of a cell's run. It is the same whenever the cell runs, so that a resumed cell resumes its run."""
    if (agent_run := AgentRun.read(cell.folder)) is not None:
        return agent_run.run
    return hashlib.sha256(f"{cell.study}/{cell.cell_id}".encode()).hexdigest()[:RUN_ID_CHARACTERS]
