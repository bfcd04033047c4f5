"""The file of verdicts: one line per candidate. Verdicts of an earlier run are reused if they are still valid."""

import fcntl
import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from peft_study.errors import UserError
from peft_study.judging.compare import Comparator
from peft_study.judging.judge import JUDGE_VERSION, Judgement, Place
from peft_study.judging.package_rules import PACKAGE_RULES_VERSION
from peft_study.judging.problems import Problem, ProblemId
from peft_study.judging.verdict_lines import MALFORMED, is_torn, judgement_of, line_of, row_of
from peft_study.results.store import sync_folder
from peft_study.sandbox.inside.prelude import APPS_PRELUDE
from peft_study.sandbox.jobs import Level, Limits
from peft_study.sandbox.packages import PACKAGES_VERSION

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
    decisive: tuple[object, ...] = (
        JUDGE_VERSION,
        sys.version_info[:2],
        APPS_PRELUDE,
        problem,
        asdict(limits),
        give_up_after_timeouts,
    )
    # These are added only if set, so that stored verdicts without them keep their keys.
    if problem.package_rules:
        decisive += (PACKAGE_RULES_VERSION,)
    if packages:
        decisive += (tuple(packages), PACKAGES_VERSION)
    return _digest(repr(decisive))


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
        try:
            with self._writing():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._locked(self._path)
        except BaseException:
            self._open.close()
            raise
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
        *lines, unfinished = content.split(b"\n")
        judged: dict[Place, Judgement] = {}
        num_rows = num_lost = 0
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = row_of(line)
            except ValueError as error:
                raise self._not_verdicts(number) from error
            num_rows += 1
            judgement = self._valid_judgement(row, level)
            if judgement is not None:
                judged[judgement.place] = judgement
                self._lines[judgement.place] = self._line(judgement, Level(row["level"]))
            # A sandbox error is not worth a copy of the file.
            elif "trouble" not in row:
                num_lost += 1
        if unfinished and not is_torn(unfinished.decode("utf-8", "replace")):
            raise self._not_verdicts(len(lines) + 1)
        old = self._copy(content) if num_lost else None
        if b"".join(self._lines.values()) != content:
            self._rewrite(self._lines.values())
        return Resumed(judged, num_rows - len(judged), bool(unfinished), old)

    def _valid_judgement(self, row: Mapping[str, Any], level: Level) -> Judgement | None:
        """The judgement of a line, None if the line is malformed or no longer valid."""
        try:
            judgement, made_at = judgement_of(row), Level(row["level"])
        except MALFORMED:
            return None
        # The key changes with everything that decides a verdict: source, problem, limits, judge, version of Python.
        if judgement.place not in self._keys or row["key"] != self._keys[judgement.place]:
            return None
        lengths = {len(verdicts) for verdicts in judgement.verdicts.values()}
        if judgement.reasons:
            lengths.add(len(judgement.reasons))
        is_complete = lengths == {self._tests[judgement.problem_id]}
        # Levels sort from A, the strongest.
        return judgement if is_complete and made_at <= level and not judgement.is_broken else None

    def _copy(self, content: bytes) -> Path:
        """Copy the previous content to an unused name."""
        for number in itertools.count(1):
            old = self._path.with_name(f"{self._path.name}{_OLD}{number if number > 1 else ''}")
            # "x" fails if the name is taken, so that a copy is never replaced.
            with self._writing(), suppress(FileExistsError):
                with old.open("xb", buffering=0) as file:
                    _write(file, content)
                    os.fsync(file.fileno())
                sync_folder(old.parent)
                return old
        raise AssertionError("numbers do not end")

    def add(self, judgement: Judgement, level: Level) -> None:
        """Append a candidate's line in a single call, so that a killed process leaves at most a torn last line."""
        line = self._lines[judgement.place] = self._line(judgement, level)
        with self._writing():
            _write(self._file, line)

    def finish(self) -> None:
        """Sort the lines by candidate and wait until they are on disk."""
        self._rewrite([self._lines[place] for place in self._keys if place in self._lines])

    def _line(self, judgement: Judgement, level: Level) -> bytes:
        return line_of(judgement, self._comparator, level, self._keys[judgement.place])

    def _locked(self, path: Path) -> FileIO:
        # For appending, so that the file is not emptied before the lock is held.
        file = self._open.enter_context(path.open("ab", buffering=0))
        # The rename would replace a device such as /dev/null.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError("--out must be a regular file", where=str(path), hint="use another --out FILE")
        try:
            # The kernel releases this lock when the process ends, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except BlockingIOError:
            is_locked = False
        # Between `open` and `flock`, another process may have replaced the file and ended.
        if not is_locked or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise UserError(
                "another process writes these verdicts", where=str(path), hint="wait for it, or use another --out FILE"
            )
        return file

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace the file. The new file is locked before the rename, and the old one stays locked."""
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with self._writing():
            partial.unlink(missing_ok=True)  # left by a killed process with the same number
            file = self._locked(partial)
            _write(file, b"".join(lines))
            os.fsync(file.fileno())  # before the rename, so that a power cut leaves either content
            partial.replace(self._path)
            sync_folder(self._path.parent)
        self._file = file

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"the verdicts cannot be written: {error.strerror}"
            raise UserError(what, where=str(self._path), hint="use another --out FILE") from error

    def _not_verdicts(self, number: int) -> UserError:
        return UserError(
            "the file does not hold verdicts", where=f"{self._path}, line {number}", hint="use another --out FILE"
        )


def _write(file: FileIO, content: bytes) -> None:
    """Write all bytes. A call writes a whole line unless the disk is full, and then the next call raises."""
    rest = memoryview(content)  # slices without copies
    while rest:
        rest = rest[file.write(rest) :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
