"""What the stand-in has stored. It outlives the server, as a database does."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HISTORY, EVENTS, SUMMARY, OUTPUT = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"


@dataclass
class Run:
    """One run.

    Attributes:
        entity, project, name: its path; `name` is what users call the id.
        attributes: what `UpsertBucket` said last of each variable that is not null.
        lines: of each streamed file, the lines by number.
        repeats: how many lines arrived again with the same content.
        conflicts: lines that arrived again with another content, or behind a gap.
        files: uploaded files.
        exit_code: from the end of the run; None while it runs.
        creations: how often a mutation inserted it.
    """

    entity: str
    project: str
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    repeats: int = 0
    conflicts: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    creations: int = 0

    def texts(self, file: str) -> list[str]:
        """The lines of a streamed file, in order."""
        return [text for _, text in sorted(self.lines.get(file, {}).items())]

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts(HISTORY)]

    @property
    def summary(self) -> dict[str, Any]:
        texts = self.texts(SUMMARY)
        return json.loads(texts[-1]) if texts else {}

    @property
    def config(self) -> dict[str, Any]:
        entries = json.loads(self.attributes.get("config") or "{}")
        return {name: entry["value"] for name, entry in entries.items()}

    @property
    def state(self) -> str:
        if self.exit_code is None:
            return "running"
        return "finished" if self.exit_code == 0 else "failed"

    def stream(self, body: Mapping[str, Any]) -> None:
        """Take one request of the file stream."""
        for name, chunk in body.get("files", {}).items():
            lines = self.lines.setdefault(name, {})
            for number, text in enumerate(chunk["content"], start=chunk["offset"]):
                # A summary and a console line are replaced in place. Lines of history are written once.
                if name in {HISTORY, EVENTS}:
                    self._check_line(name, lines, number, text)
                lines[number] = text
        if body.get("complete"):
            self.exit_code = body.get("exitcode")
        elif body.get("files"):
            self.exit_code = None

    def _check_line(self, name: str, lines: Mapping[int, str], number: int, text: str) -> None:
        if number in lines:
            self.repeats += 1
            if lines[number] != text:
                self.conflicts.append(f"{name}, line {number}: {lines[number]} became {text}")
        elif number > len(lines):
            self.conflicts.append(f"{name}, line {number} arrived when {len(lines)} were there")


class Store:
    """The runs by project and name, in the order of their creation."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._runs: dict[tuple[str, str, str], Run] = {}
        self.views: list[Any] = []
        self.artifacts: list[Any] = []
        self.created_projects: list[tuple[str, str]] = []

    def projects_of(self, entity: str) -> list[str]:
        """The names of an entity's projects. A run creates its project."""
        pairs = [*self.created_projects, *((run.entity, run.project) for run in self.runs)]
        return list(dict.fromkeys(project for owner, project in pairs if owner == entity))

    @property
    def runs(self) -> Sequence[Run]:
        return list(self._runs.values())

    def find(self, entity: str, project: str, name: str) -> Run | None:
        return self._runs.get((entity, project, name))

    def upsert(self, entity: str, project: str, name: str, attributes: Mapping[str, Any]) -> tuple[Run, bool]:
        """Create or change a run. Return it, and whether it is new."""
        key = (entity, project, name)
        inserted = key not in self._runs
        run = self._runs.setdefault(key, Run(entity, project, name))
        run.creations += inserted
        run.attributes |= {variable: value for variable, value in attributes.items() if value is not None}
        return run, inserted
