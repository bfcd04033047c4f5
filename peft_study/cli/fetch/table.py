"""The output about downloads from the hub: the table of repositories, and readable errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from rich.table import Table
from rich.text import Text

from peft_study.console.formats import MISSING
from peft_study.console.messages import plain_console, printable
from peft_study.console.redaction import redact_message
from peft_study.errors import UserError

MODEL, DATASET = "model", "dataset"
_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


@dataclass(frozen=True)
class Need:
    """Files of one repository of the hub.

    Attributes:
        repository: its id.
        kind: "model" or "dataset".
        revision: branch, tag or commit; None is the default branch.
        patterns: the files to download if they exist; `*` stays within a folder, `**/` matches any number of folders.
        essential: patterns of which at least one must match a file; empty if no file is required.
        uses: the names of the models and data sets that need the files.
    """

    repository: str
    kind: str
    revision: str | None
    patterns: tuple[str, ...]
    essential: tuple[str, ...]
    uses: tuple[str, ...]

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


@dataclass
class Repository:
    """A need, and its state so far.

    Attributes:
        need: the wanted files.
        commit: the commit of the revision; None before the hub said it.
        sizes: bytes by wanted file.
        missing: wanted files that the cache lacks.
        problem: the error that makes it unavailable.
    """

    need: Need
    commit: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problem: UserError | None = None

    @property
    def total_bytes(self) -> int:
        """The size of all wanted files."""
        return sum(self.sizes.values())

    @property
    def missing_bytes(self) -> int:
        """The size of the files that the cache lacks."""
        return sum(self.sizes[name] for name in self.missing)

    def record(self) -> dict[str, Any]:
        """The same for programs, ready for JSON."""
        return {
            "repository": self.need.repository,
            "kind": self.need.kind,
            "revision": self.need.revision,
            "commit": self.commit,
            "uses": list(self.need.uses),
            "files": sorted(self.sizes),
            "total_bytes": self.total_bytes,
            "missing_bytes": self.missing_bytes,
            "problem": None if self.problem is None else str(self.problem),
        }


def print_repositories(repositories: Sequence[Repository], folder: Path, free_bytes: int) -> None:
    """Print for each repository the size of its files, in total, in the cache and to download.

    Args:
        repositories: in any order.
        folder: the folder of the cache.
        free_bytes: free space on its disk.
    """
    console = plain_console()
    total = sum(repository.total_bytes for repository in repositories)
    missing = sum(repository.missing_bytes for repository in repositories)
    files = sum(len(repository.sizes) for repository in repositories)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_footer=True)
    table.add_column("repository", "total", overflow="fold")
    table.add_column("for", overflow="fold")
    table.add_column("files", str(files), justify="right", no_wrap=True)
    for title, footer in (("size", total), ("cached", total - missing), ("to download", missing)):
        table.add_column(title, as_size(footer), justify="right", no_wrap=True)
    for repository in repositories:
        cached = repository.total_bytes - repository.missing_bytes
        sizes = (repository.total_bytes, cached, repository.missing_bytes)
        figures = [MISSING] * 4 if repository.problem else [str(len(repository.sizes)), *map(as_size, sizes)]
        row = (str(repository.need), ", ".join(repository.need.uses), *figures)
        table.add_row(*(Text(printable(text, console)) for text in row))
    console.print(table)
    console.print(Text(printable(f"cache: {folder}, {as_size(free_bytes)} free", console)), soft_wrap=True)


def as_size(number_of_bytes: float) -> str:
    """Format a number of bytes in decimal units."""
    for unit, size in _UNITS.items():
        if number_of_bytes >= size:
            return f"{number_of_bytes / size:.1f} {unit}"
    return f"{number_of_bytes:.0f} B"


def problem_with(need: Need, error: Exception) -> UserError:
    """Turn an error of the hub into one that says what it means and what to try.

    Args:
        need: the files that were wanted.
        error: a UserError, or any error of the hub's libraries.
    """
    page = f"{constants.ENDPOINT}/{'datasets/' if need.kind == DATASET else ''}{need.repository}"
    # huggingface_hub wraps a failed connection in it.
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    what, hint = f"{need}: {summary(error)}", "the same command resumes"
    if isinstance(error, UserError):
        what, hint = error.what, error.hint or hint
    # GatedRepoError is a kind of this error.
    elif isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
        what = f"{need.repository} does not exist, or is private"
        hint = f"check its name; hf auth login if {page} is private"
    elif isinstance(error, RevisionNotFoundError):
        what, hint = f"{need.repository} has no revision {need.revision!r}", f"one of {page}/tree/main"
    elif status in {401, 403}:
        what, hint = f"{need.repository} is gated: its owner grants access", f"ask on {page}, then hf auth login"
    return UserError(redact_message(what), where=f"{need.kind} {', '.join(need.uses)}", hint=redact_message(hint))


def summary(error: BaseException) -> str:
    """The type of an error and its first line, without secrets."""
    lines = redact_message(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
