"""The file of verdicts: one line a candidate, whole lines only, and what of an earlier run still stands."""

import fcntl
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from peft_study.errors import UserError
from peft_study.execution.compare import Comparator
from peft_study.execution.jobs import Level, Limits
from peft_study.execution.judge import JUDGE_VERSION, Judged, Verdict
from peft_study.execution.prelude import APPS_PRELUDE
from peft_study.execution.problems import Problem, ProblemId
from peft_study.results.store import sync_folder

Place = tuple[ProblemId, int]
"""A problem's id and a candidate's index."""
_BEGINNING = b'{"problem_id"'


@dataclass(frozen=True)
class Kept:
    """What was found in a file of an earlier run.

    Attributes:
        judged: candidates whose verdicts stand.
        dropped: lines of other candidates, problems, limits or a weaker sandbox, and of tests that could not be run.
        torn: the last line was cut off, by a process that was killed while it wrote.
    """

    judged: Mapping[Place, Judged]
    dropped: int
    torn: bool


def fingerprint(problem: Problem, limits: Limits, give_up_after_timeouts: int | None) -> str:
    """What decides verdicts beside the candidate's source: the problem, the limits, this interpreter and this judge."""
    decisive = (JUDGE_VERSION, sys.version_info[:2], APPS_PRELUDE, problem, asdict(limits), give_up_after_timeouts)
    return _digest(repr(decisive))


def key_of(of_problem: str, source: str) -> str:
    """The identity of a candidate's verdicts.

    Args:
        of_problem: the problem's `fingerprint`.
        source: the candidate's.
    """
    return _digest(of_problem + source)


class VerdictFile:
    """A file of verdicts; a context manager, within which it is locked against other processes.

    Args:
        path: the file; it and its folder are made where they are missing.
        comparator: whose verdicts are "verdicts"; the other's are in the line as well.
        keys: for each candidate the identity of its verdicts, in the order that the file has in the end.

    Raises:
        UserError: on entry: the file cannot be written, is no plain file, or another process writes it.
    """

    def __init__(self, path: Path, comparator: Comparator, keys: Mapping[Place, str]) -> None:
        self._path, self._comparator, self._keys = path, comparator, keys
        self._open = ExitStack()
        self._lines: dict[Place, bytes] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self._open.close)
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._locked(self._path)
            except OSError as error:
                raise self._unwritable(error) from error
            opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def keep(self, level: Level) -> Kept:
        """Read what an earlier run left, and drop from the file what does not stand.

        Args:
            level: of the sandbox at hand; verdicts from a weaker one do not stand.

        Raises:
            UserError: the file holds something else than verdicts.
        """
        content = self._path.read_bytes()
        *whole, rest = content.split(b"\n")
        if rest[: len(_BEGINNING)] != _BEGINNING[: len(rest)]:
            raise self._something_else(len(whole) + 1)
        judged: dict[Place, Judged] = {}
        filled = 0
        for number, line in enumerate(whole, start=1):
            if line.strip():
                filled += 1
                row = self._row(line, number)
                one = _judged(row)
                place = (one.problem_id, one.index)
                if row["key"] == self._keys.get(place) and Level(row["level"]) <= level and not one.is_broken:
                    judged[place] = one
                    self._lines[place] = self._line(one, Level(row["level"]))
        if b"".join(self._lines.values()) != content:
            self._rewrite(self._lines.values())
        return Kept(judged, filled - len(judged), bool(rest))

    def add(self, judged: Judged, level: Level) -> None:
        """Append a candidate's line, all of it in one call: a killed process leaves at most a torn last line."""
        line = self._lines[judged.problem_id, judged.index] = self._line(judged, level)
        try:
            _write(self._file, line)
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Put the lines in the candidates' order and wait until they are on disk."""
        self._rewrite([self._lines[place] for place in self._keys if place in self._lines])

    def _locked(self, path: Path) -> FileIO:
        file = self._open.enter_context(path.open("ab", buffering=0))
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError("the verdicts need a file", where=str(path), hint="another --out FILE")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                "another process writes these verdicts", where=str(path), hint="wait for it, or another --out FILE"
            ) from error
        return file

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace the file; the new one is locked before it gets the name, and the old one stays locked."""
        try:
            self._replace(b"".join(lines))
        except OSError as error:
            raise self._unwritable(error) from error

    def _replace(self, content: bytes) -> None:
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        file = self._locked(partial)
        _write(file, content)
        os.fsync(file.fileno())
        partial.replace(self._path)
        sync_folder(self._path.parent)
        self._file = file

    def _line(self, judged: Judged, level: Level) -> bytes:
        other = Comparator.apps if self._comparator is Comparator.strict else Comparator.strict
        row = {
            "problem_id": judged.problem_id,
            "candidate": judged.index,
            "verdicts": judged.verdicts[self._comparator],
            "passed": judged.passed(self._comparator),
            "seconds": round(judged.seconds, 6),
            "comparator": self._comparator,
            "other": {"comparator": other, "verdicts": judged.verdicts[other], "passed": judged.passed(other)},
            "level": level,
            "key": self._keys[judged.problem_id, judged.index],
        }
        if judged.trouble:
            row["trouble"] = judged.trouble
        return json.dumps(row, allow_nan=False).encode() + b"\n"

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            _judged(row)
            Level(row["level"])
            str(row["key"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._something_else(number) from error
        return dict(row)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"the verdicts cannot be written: {error.strerror}", where=str(self._path), hint="another --out FILE"
        )

    def _something_else(self, number: int) -> UserError:
        return UserError(
            "the file holds something else than verdicts",
            where=f"{self._path}, line {number}",
            hint="another --out FILE",
        )


def _judged(row: Any) -> Judged:
    """What a line says; raises whatever a line of another kind makes it raise."""
    verdicts = {
        Comparator(of["comparator"]): tuple(Verdict(verdict) for verdict in of["verdicts"])
        for of in (row, row["other"])
    }
    if set(verdicts) != set(Comparator) or not isinstance(row["problem_id"], ProblemId):
        raise ValueError("a comparator is missing")
    return Judged(row["problem_id"], int(row["candidate"]), verdicts, float(row["seconds"]), row.get("trouble", ""))


def _write(file: FileIO, content: bytes) -> None:
    """Write all; the system takes a line at once, except where the disk is full, which the next call then says."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
