"""The plan of the last sweep over a study's folder: which cells wait is in no other file."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from peft_study.config import identity
from peft_study.config.schema import CellConfig
from peft_study.results.store import write_atomically

SWEEP = "sweep.json"


@dataclass(frozen=True)
class SweepCell:
    """A cell of a sweep.

    Attributes:
        cell_id: name of its folder.
        settings: `identity.settings_key`: cells with the same key are replicates.
        hardware: config name of the hardware option.
    """

    cell_id: str
    settings: str | None
    hardware: str | None


@dataclass(frozen=True)
class SweepRecord:
    """The record in sweep.json.

    Attributes:
        launcher: config name of the launcher.
        started_at: start of the sweep, UTC, ISO 8601.
        cells: every cell that can run, in the order of the sweep, finished ones included.
    """

    launcher: str
    started_at: str
    cells: tuple[SweepCell, ...]

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read a record. Unknown fields are ignored.

        Raises:
            ValueError: the record is not a plan of a sweep.
        """
        names = [spec.name for spec in fields(SweepCell)]
        try:
            rows = [SweepCell(**{name: row[name] for name in names}) for row in record["cells"]]
            texts = [text for row in rows for text in (row.cell_id, row.settings or "", row.hardware or "")]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("the values of a cell must be strings")
            return cls(str(record["launcher"]), str(record["started_at"]), tuple(rows))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a plan of a sweep: {error!r}") from error


def write_sweep(cells: Iterable[tuple[CellConfig, Path]], launcher: str) -> None:
    """Write sweep.json into the folder of each study of a sweep. The plan of an earlier sweep is replaced.

    Args:
        cells: the typed config and the folder of each cell.
        launcher: config name of the launcher.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    studies: dict[Path, list[SweepCell]] = {}
    for cell, folder in cells:
        settings = identity.settings_key(identity.plain(cell))
        studies.setdefault(folder.parent, []).append(SweepCell(folder.name, settings, cell.hardware.name))
    for study, rows in studies.items():
        record = asdict(SweepRecord(launcher, started_at, tuple(rows)))
        # A folder that cannot be written is reported by its cells.
        with contextlib.suppress(OSError):
            study.mkdir(parents=True, exist_ok=True)
            write_atomically(study / SWEEP, json.dumps(record, indent=1) + "\n")


def read_sweep(study: Path) -> SweepRecord | None:
    """Read the plan of the last sweep.

    Args:
        study: the folder of the study.

    Returns:
        None if the file does not exist.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a plan of a sweep.
    """
    file = study / SWEEP
    return SweepRecord.from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
