"""The file of verdicts: one line per candidate. Verdicts of an earlier run are reused if they are still valid."""

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
"""The id of a problem and the index of a candidate."""
_FIELDS = frozenset({"problem_id", "candidate", "verdicts", "passed", "seconds", "comparator", "other", "level", "key"})
_BEGINNING, _NEXT = '{"problem_id": ', ', "candidate": '
_OLD = ".old"


@dataclass(frozen=True)
class Resumed:
    """The content of a file from an earlier run.

    Attributes:
        judged: judgements that are still valid.
        dropped: number of lines of other candidates, problems, limits or a weaker sandbox, and of sandbox errors.
        torn: the last line was incomplete, because a process was killed while it wrote.
        old: path of a copy of the previous file, made if verdicts were dropped. None otherwise.
    """

    judged: Mapping[Place, Judgement]
    dropped: int
    torn: bool
    old: Path | None = None


def fingerprint(
    problem: Problem, limits: Limits, give_up_after_timeouts: int | None, packages: Sequence[str] = ()
) -> str:
    """Return a digest of everything except the source that decides the verdicts of a candidate.

    Args:
        problem: the problem with its rules.
        limits: limits of each test.
        give_up_after_timeouts: see `judge`.
        packages: packages that candidates may import, with their versions.
    """
    decisive = (JUDGE_VERSION, sys.version_info[:2], APPS_PRELUDE, problem, asdict(limits), give_up_after_timeouts)
    # Added only if set, so that stored verdicts without the rules keep their keys.
    by_package = (PACKAGE_RULES_VERSION,) if problem.package_rules else ()
    return _digest(repr(decisive + by_package + ((tuple(packages), PACKAGES_VERSION) if packages else ())))


def key_of(of_problem: str, source: str) -> str:
    """Return the identity of a candidate's verdicts.

    Args:
        of_problem: the `fingerprint` of the problem.
        source: source of the candidate.
    """
    return _digest(of_problem + source)


class VerdictFile:
    """A file of verdicts. A context manager, which locks the file against other processes.

    Args:
        path: the file. It and its folder are made if they are missing.
        comparator: the comparator of "verdicts". Those of the other comparator are under "other".
        keys: by candidate, the identity of its verdicts, in the final order of the file.
        tests: by problem, the number of tests.

    Raises:
        UserError: on entry, if the file cannot be written, is not a regular file, or another process writes it.
    """

    def __init__(
        self, path: Path, comparator: Comparator, keys: Mapping[Place, str], tests: Mapping[ProblemId, int]
    ) -> None:
        # The file is replaced by rename. Through a link, that would replace the link and not its target.
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
        """Read the file of an earlier run, and drop verdicts that are not valid.

        Args:
            level: level of the sandbox in use. Verdicts from a weaker one are not valid.

        Returns:
            the valid judgements, and what was dropped.

        Raises:
            UserError: the file does not hold verdicts.
        """
        content = self._path.read_bytes()
        *whole, rest = content.split(b"\n")
        judged: dict[Place, Judgement] = {}
        filled = lost = 0
        for number, line in enumerate(whole, start=1):
            if line.strip():
                filled += 1
                row = self._row(line, number)
                judgement = self._standing(row, level)
                if judgement is not None:
                    place = (judgement.problem_id, judgement.index)
                    judged[place] = judgement
                    self._lines[place] = self._line(judgement, Level(row["level"]))
                # A sandbox error is not worth a copy of the file.
                lost += judgement is None and "trouble" not in row
        if rest and not _is_torn(rest):
            raise self._not_verdicts(len(whole) + 1)
        old = self._copy(content) if lost else None
        if b"".join(self._lines.values()) != content:
            self._rewrite(self._lines.values())
        return Resumed(judged, filled - len(judged), bool(rest), old)

    def _standing(self, row: Mapping[str, Any], level: Level) -> Judgement | None:
        """The judgement of a line, None if the line is malformed or no longer valid."""
        try:
            judgement, made_at = _judged(row), Level(row["level"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        # The key changes with everything that decides a verdict: source, problem, limits, judge, version of Python.
        place = (judgement.problem_id, judgement.index)
        if place not in self._keys or row["key"] != self._keys[place]:
            return None
        lengths = {len(verdicts) for verdicts in judgement.verdicts.values()}
        if judgement.reasons:
            lengths.add(len(judgement.reasons))
        complete = lengths == {self._tests[judgement.problem_id]}
        # Levels sort from A, the strongest.
        return judgement if complete and made_at <= level and not judgement.is_broken else None

    def _copy(self, content: bytes) -> Path:
        """Copy the previous content to an unused name."""
        for number in itertools.count(1):
            old = self._path.with_name(f"{self._path.name}{_OLD}{number if number > 1 else ''}")
            try:
                # "x" fails if the name is taken, so that a copy is never replaced.
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
        """Append a candidate's line in a single call, so that a killed process leaves at most a torn last line."""
        line = self._lines[judged.problem_id, judged.index] = self._line(judged, level)
        try:
            _write(self._file, line)
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Sort the lines by candidate and wait until they are on disk."""
        self._rewrite([self._lines[place] for place in self._keys if place in self._lines])

    def _locked(self, path: Path) -> FileIO:
        # For appending, so that the file is not emptied before the lock is held.
        file = self._open.enter_context(path.open("ab", buffering=0))
        # The rename would replace a device such as /dev/null.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError("--out must be a regular file", where=str(path), hint="use another --out FILE")
        try:
            # The kernel releases this lock when the process ends, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                "another process writes these verdicts", where=str(path), hint="wait for it, or use another --out FILE"
            ) from error
        return file

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace the file. The new file is locked before the rename, and the old one stays locked."""
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            partial.unlink(missing_ok=True)  # left by a killed process with the same number
            file = self._locked(partial)
            _write(file, b"".join(lines))
            os.fsync(file.fileno())  # before the rename, so that a power cut leaves either content
            partial.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
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
        # NaN is not JSON, and readers other than Python refuse it.
        return json.dumps(row, allow_nan=False).encode() + b"\n"

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._not_verdicts(number) from error
        if not isinstance(row, dict) or not row.keys() >= _FIELDS:
            raise self._not_verdicts(number)
        return row

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"the verdicts cannot be written: {error.strerror}", where=str(self._path), hint="use another --out FILE"
        )

    def _not_verdicts(self, number: int) -> UserError:
        return UserError(
            "the file does not hold verdicts", where=f"{self._path}, line {number}", hint="use another --out FILE"
        )


def _is_torn(rest: bytes) -> bool:
    """Whether the last bytes of a file are the start of a line of verdicts."""
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
    """Parse a line. Raises various exceptions if it is malformed."""
    verdicts = {
        Comparator(of["comparator"]): tuple(Verdict(verdict) for verdict in _exactly(list, of["verdicts"]))
        for of in (row, row["other"])
    }
    if set(verdicts) != set(Comparator) or type(row["problem_id"]) not in (int, str):
        raise ValueError("a comparator or a problem is missing")
    seconds = row["seconds"] if type(row["seconds"]) is int else _exactly(float, row["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be finite and not negative, got {seconds}")
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
        raise TypeError(f"must be a {kind.__name__}, got {type(value).__name__}")
    return value


def _write(file: FileIO, content: bytes) -> None:
    """Write all bytes. A call writes a whole line unless the disk is full, and then the next call raises."""
    rest = memoryview(content)  # slices without copies
    while rest:
        rest = rest[file.write(rest) :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
