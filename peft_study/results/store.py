"""The files of a cell's folder. Each is written atomically; only steps and candidates grow line by line."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from peft_study.errors import UserError
from peft_study.results.holding import HeldLease, LeaseHeldError, LeaseLostError, held
from peft_study.results.lease import LEASE, read_lease
from peft_study.results.lock import LOCK, lock_file
from peft_study.results.predictions import Prediction, read_predictions
from peft_study.results.schema import RunResult, Status, finite

RESULT = "result.json"
PREDICTIONS = "predictions.jsonl"
METRICS = "metrics.jsonl"
USAGE = "usage.jsonl"
CONFIG = "config.yaml"
LOG = "log.txt"
OUTPUT = "output.txt"
"""Gets what the process of a sweep's cell prints."""
# libyaml takes a tenth of the time.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
PARTIAL_PREDICTIONS = "predictions.jsonl.partial"
# Written before the work starts. A cell that is refused then leaves nothing behind, and an earlier result stays until a
# rerun has loaded its data and its model.
_LIGHT = frozenset({RESULT, CONFIG, LOG, OUTPUT, LOCK, LEASE})


class CellBusyError(UserError):
    """Another process runs this cell, or took it over from this process."""


class CellFolder:
    """One cell's folder.

    Args:
        path: the folder. It is created if it does not exist.
        tracker_files: names of files and folders that trackers leave in it. They do not count as work.
    """

    def __init__(self, path: Path, tracker_files: Iterable[str] = ()) -> None:
        self.path = path
        self._light_files = _LIGHT.union(tracker_files)
        self._lease: HeldLease | None = None
        path.mkdir(parents=True, exist_ok=True)

    def write_result(self, result: RunResult) -> None:
        """Write result.json.

        Raises:
            CellBusyError: another process took the cell over. All methods that write raise it.
        """
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n"
        self._write(RESULT, text, durable=result.status is not Status.running)

    def read_result(self) -> RunResult | None:
        """Read result.json, see the function of this name."""
        return read_result(self.path / RESULT)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the composed config."""
        self._write(CONFIG, yaml.dump(dict(config), Dumper=_DUMPER, sort_keys=False, allow_unicode=True), durable=False)

    def write_predictions(self, predictions: Iterable[Prediction]) -> None:
        """Write predictions.jsonl and remove the partial record."""
        lines = (json.dumps(asdict(prediction), ensure_ascii=False) + "\n" for prediction in predictions)
        self._write(PREDICTIONS, "".join(lines))
        (self.path / PARTIAL_PREDICTIONS).unlink(missing_ok=True)

    def read_predictions(self) -> list[Prediction]:
        """Read predictions.jsonl, see the function of this name."""
        return read_predictions(self.path / PREDICTIONS)

    def append_candidates(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append generated candidates to the partial record. They are on disk when this returns."""
        self._append(PARTIAL_PREDICTIONS, rows)

    def read_candidates(self, prompts: int, candidates: int) -> dict[int, list[str]]:
        """Read the partial record of an interrupted generation. Invalid rows are skipped.

        Args:
            prompts: number of prompts in the test split.
            candidates: number of candidates for each prompt.

        Returns:
            the candidates by index of the prompt.
        """
        texts_by_index: dict[int, list[str]] = {}
        # What is skipped is generated again. A seed by batch gives it the same candidates.
        for row in _rows(self.path / PARTIAL_PREDICTIONS):
            index, texts = row.get("index"), row.get("candidates")
            if not isinstance(index, int) or not 0 <= index < prompts or not isinstance(texts, list):
                continue
            if len(texts) == candidates and all(isinstance(text, str) for text in texts):
                texts_by_index[index] = texts
        return texts_by_index

    def forget_candidates(self) -> None:
        """Remove the partial record and what it cost, because its candidates come from other weights."""
        (self.path / PARTIAL_PREDICTIONS).unlink(missing_ok=True)
        self._keep_lines(USAGE, lambda row: "step" in row)

    def append_step(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl. With a validation loss, it and all lines before are on disk on return."""
        # A resumed run repeats the steps after its last checkpoint, so a crash of the machine may lose their lines.
        self._append(METRICS, [{"step": step, **values}], durable="validation_loss" in values)

    def append_usage(self, usage: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append a line to usage.jsonl: what the cell uses at a step, or behind a batch of candidates.

        Args:
            usage: the line.
            durable: wait until all lines are on disk.
        """
        self._append(USAGE, [usage], durable=durable)

    def forget_steps_after(self, step: int) -> None:
        """Remove the steps after the last checkpoint of an interrupted run, because they will be repeated."""
        self._keep_lines(METRICS, lambda row: isinstance(row.get("step"), int) and row["step"] <= step)
        self._keep_lines(USAGE, lambda row: "step" not in row or row["step"] <= step)

    def _keep_lines(self, name: str, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        if (self.path / name).exists():
            rows = filter(keep, _rows(self.path / name))
            self._write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def read_usage(self) -> list[dict[str, Any]]:
        """Read usage.jsonl. Invalid lines are skipped."""
        return list(_rows(self.path / USAGE))

    def read_steps(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl. Invalid lines are skipped."""
        return list(_rows(self.path / METRICS))

    def remove_work(self) -> None:
        """Remove the work of an earlier run: weights, predictions, steps, checkpoints."""
        self._check_lease()
        for entry in self._work():
            _remove(entry)

    def holds_work(self) -> bool:
        """Return whether the folder holds files that took time to make."""
        return bool(self._work())

    def remove_light_files(self) -> None:
        """Remove the files that a run writes before its work starts."""
        for name in self._light_files:
            _remove(self.path / name)

    def _work(self) -> list[Path]:
        return [entry for entry in self.path.iterdir() if entry.name not in self._light_files]

    def _write(self, name: str, text: str, *, durable: bool = True) -> None:
        self._check_lease()
        write_atomically(self.path / name, text, durable=durable)

    def _append(self, name: str, rows: Iterable[Mapping[str, Any]], *, durable: bool = True) -> None:
        self._check_lease()
        append_lines(self.path / name, rows, durable=durable)

    def _check_lease(self) -> None:
        # A process that slept, or lost its server, for minutes must not write into the work of its successor.
        try:
            if self._lease is not None:
                self._lease.check()
        except LeaseLostError as error:
            raise CellBusyError(str(error), where=str(self.path), hint="this process ends") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running the same cell. The lock ends with the process.

        Raises:
            CellBusyError: another process runs the cell.
        """
        with (self.path / LOCK).open("w") as file, contextlib.ExitStack() as stack:
            try:
                self._lease = stack.enter_context(held(self.path, locked_by_kernel=lock_file(file)))
            except (BlockingIOError, LeaseHeldError) as error:
                raise self._busy() from error
            try:
                yield
            finally:
                self._lease = None

    def _busy(self) -> CellBusyError:
        lease = read_lease(self.path)
        what = "another process runs this cell" + (f": {lease.holder}" if lease is not None else "")
        return CellBusyError(what, where=str(self.path), hint="wait for it, or change a setting or the seed")


def read_result(file: Path) -> RunResult | None:
    """Read a result.json.

    Returns:
        None if the file does not exist.

    Raises:
        ValueError: the file is not a result, or was written by a later version.
    """
    return RunResult.from_json(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def most_telling_file(folder: Path) -> Path:
    """Return the file of a cell that says most about how the cell ended."""
    # If the process died before its log was opened, the other file has what it printed.
    return next((folder / name for name in (LOG, OUTPUT) if (folder / name).exists()), folder / RESULT)


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file so that readers see either the old or the new content, also after a crash of the machine.

    Args:
        path: the file.
        text: its content.
        durable: wait until a crash of the machine can no longer bring the old content back.
    """
    # In the same folder, because a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            # A lone surrogate, which JSON can hold as an escape, cannot be encoded in UTF-8.
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def _remove(entry: Path) -> None:
    # `rmtree` refuses a link to a folder, and what it points to belongs to the user.
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on disk, including renames."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]], *, durable: bool = True) -> None:
    """Append JSON lines to a file. A process that ends early loses only the line that it is writing.

    Args:
        path: the file.
        rows: what each line holds.
        durable: wait until the lines are on disk, so that a crash of the machine does not lose them.
    """
    text = "".join(json.dumps(finite(dict(row))) + "\n" for row in rows)
    with path.open("a+b") as file:
        # After a full disk the file may end in a part of a line, which must not become a part of the next one.
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            text = text if file.read() == b"\n" else f"\n{text}"
        file.write(text.encode())
        file.flush()
        if durable:
            os.fsync(file.fileno())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    # Replacing bytes that are not UTF-8 limits the damage to their line.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # a process was killed while it wrote its last line
        if isinstance(row, dict):
            yield row
