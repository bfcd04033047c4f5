"""The file of verdicts: one line a candidate, whole lines only, and what of an earlier run still stands."""

import fcntl
import hashlib
import itertools
import json
import math
import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self, TypeVar

from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.judging.judge import JUDGE_VERSION, Judgement, Verdict
from peft_study.judging.package_rules import PACKAGE_RULES_VERSION
from peft_study.judging.problems import Problem, ProblemId
from peft_study.results.store import sync_folder
from peft_study.sandbox.inside.prelude import APPS_PRELUDE
from peft_study.sandbox.jobs import Level, Limits
from peft_study.sandbox.packages import PACKAGES_VERSION

Value = TypeVar("Value")
Place = tuple[ProblemId, int]
"""A problem's id and a candidate's index."""
_FIELDS = frozenset({"problem_id", "candidate", "verdicts", "passed", "seconds", "comparator", "other", "level", "key"})
_BEGINNING, _NEXT = '{"problem_id": ', ', "candidate": '
_OLD = ".old"


@dataclass(frozen=True)
class Resumed:
    """What was found in a file of an earlier run.

    Attributes:
        judged: candidates whose verdicts stand.
        dropped: lines of other candidates, problems, limits or a weaker sandbox, and of tests that could not be run.
        torn: the last line was cut off, by a process that was killed while it wrote.
        old: the copy of the file as it was, made because verdicts were dropped; None where none were.
    """

    judged: Mapping[Place, Judgement]
    dropped: int
    torn: bool
    old: Path | None = None


def fingerprint(
    problem: Problem, limits: Limits, give_up_after_timeouts: int | None, packages: Sequence[str] = ()
) -> str:
    """What decides verdicts beside the candidate's source: the problem, the limits, this interpreter and this judge.

    Args:
        problem: with its rules.
        limits: of each test.
        give_up_after_timeouts: see `judge`.
        packages: what candidates may import beside the standard library; with their versions.
    """
    decisive = (JUDGE_VERSION, sys.version_info[:2], APPS_PRELUDE, problem, asdict(limits), give_up_after_timeouts)
    by_package = (PACKAGE_RULES_VERSION,) if problem.package_rules else ()
    return _digest(repr(decisive + by_package + ((tuple(packages), PACKAGES_VERSION) if packages else ())))


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
        tests: how many each problem has.

    Raises:
        UserError: on entry: the file cannot be written, is no plain file, or another process writes it.
    """

    def __init__(
        self, path: Path, comparator: Comparator, keys: Mapping[Place, str], tests: Mapping[ProblemId, int]
    ) -> None:
        # A file that takes another's place would take a link's, so that the other stayed as it is.
        self._path = Path(os.path.realpath(path))
        self._comparator, self._keys, self._tests = comparator, keys, tests
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

    def keep(self, level: Level) -> Resumed:
        """Read what an earlier run left, and drop from the file what does not stand.

        Args:
            level: of the sandbox at hand; verdicts from a weaker one do not stand.

        Raises:
            UserError: the file holds something else than verdicts.
        """
        content = self._path.read_bytes()
        *whole, rest = content.split(b"\n")
        judged: dict[Place, Judgement] = {}
        filled = lost = 0
        for number, line in enumerate(whole, start=1):
            if line.strip():
                filled += 1
                row = self._row(line, number)
                one = self._standing(row, level)
                if one is not None:
                    place = (one.problem_id, one.index)
                    judged[place] = one
                    self._lines[place] = self._line(one, Level(row["level"]))
                lost += one is None and "trouble" not in row
        if rest and not _is_torn(rest):
            raise self._something_else(len(whole) + 1)
        old = self._copy(content) if lost else None
        if b"".join(self._lines.values()) != content:
            self._rewrite(self._lines.values())
        return Resumed(judged, filled - len(judged), bool(rest), old)

    def _standing(self, row: Mapping[str, Any], level: Level) -> Judgement | None:
        """What a line says, where it is in order and still true."""
        try:
            one, made_at = _judged(row), Level(row["level"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        number = {len(verdicts) for verdicts in one.verdicts.values()} | ({len(one.reasons)} if one.reasons else set())
        place = (one.problem_id, one.index)
        known = place in self._keys and row["key"] == self._keys[place] and number == {self._tests[one.problem_id]}
        return one if known and made_at <= level and not one.is_broken else None

    def _copy(self, content: bytes) -> Path:
        """Keep the file as it was, under a name that is free."""
        for number in itertools.count(1):
            old = self._path.with_name(f"{self._path.name}{_OLD}{number if number > 1 else ''}")
            try:
                with old.open("xb", buffering=0) as file:
                    _write(file, content)
                    os.fsync(file.fileno())
            except FileExistsError:
                continue
            except OSError as error:
                raise self._unwritable(error) from error
            sync_folder(old.parent)
            return old
        raise AssertionError("numbers do not end")

    def add(self, judged: Judgement, level: Level) -> None:
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

    def _line(self, judged: Judgement, level: Level) -> bytes:
        other = Comparator.apps if self._comparator is Comparator.strict else Comparator.strict
        row: dict[str, Any] = {
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
        if judged.reasons:
            row["reasons"] = judged.reasons
        return json.dumps(row, allow_nan=False).encode() + b"\n"

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._something_else(number) from error
        if not isinstance(row, dict) or not row.keys() >= _FIELDS:
            raise self._something_else(number)
        return row

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


def _is_torn(rest: bytes) -> bool:
    """Whether the end of a file is a beginning of a line of verdicts, or all of one but its end."""
    text = rest.decode("utf-8", "replace")
    if not text.startswith(_BEGINNING):
        return _BEGINNING.startswith(text)
    try:
        identity, end = json.JSONDecoder().raw_decode(text, len(_BEGINNING))
    except (ValueError, RecursionError):
        return text[len(_BEGINNING) :] in ("", "-") or text.startswith('"', len(_BEGINNING))
    if type(identity) not in (int, str) or not (text.startswith(_NEXT, end) or _NEXT.startswith(text[end:])):
        return False
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return True
    return isinstance(row, dict) and row.keys() >= _FIELDS


def _judged(row: Mapping[str, Any]) -> Judgement:
    """What a line says; raises whatever a line that is not in order makes it raise."""
    verdicts = {
        Comparator(of["comparator"]): tuple(Verdict(verdict) for verdict in _exactly(list, of["verdicts"]))
        for of in (row, row["other"])
    }
    if set(verdicts) != set(Comparator) or type(row["problem_id"]) not in (int, str):
        raise ValueError("a comparator or a problem is missing")
    seconds = row["seconds"] if type(row["seconds"]) is int else _exactly(float, row["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError("no number of seconds")
    return Judgement(
        row["problem_id"],
        _exactly(int, row["candidate"]),
        verdicts,
        float(seconds),
        _exactly(str, row.get("trouble", "")),
        tuple(_exactly(str, reason) for reason in _exactly(list, row.get("reasons", []))),
    )


def _exactly(kind: type[Value], value: Any) -> Value:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _write(file: FileIO, content: bytes) -> None:
    """Write all; the system takes a line at once, except where the disk is full, which the next call then says."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
