"""One line of the file of verdicts: a candidate's judgement as JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from peft_study.judging.compare import Comparator
from peft_study.judging.judge import Judgement, Verdict
from peft_study.sandbox.jobs import Level

Value = TypeVar("Value")
_FIELDS = frozenset({"problem_id", "candidate", "verdicts", "passed", "seconds", "comparator", "other", "level", "key"})
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What `judgement_of` may raise."""
_BEGINNING, _NEXT = '{"problem_id": ', ', "candidate": '


def line_of(judgement: Judgement, comparator: Comparator, level: Level, key: str) -> bytes:
    """Write a judgement.

    Args:
        judgement: of one candidate.
        comparator: the comparator of "verdicts". Those of the other comparator are under "other".
        level: level of the sandbox.
        key: the identity of the verdicts, see `records.key_of`.
    """
    other = Comparator.apps if comparator is Comparator.strict else Comparator.strict
    row: dict[str, Any] = {
        "problem_id": judgement.problem_id,
        "candidate": judgement.index,
        "verdicts": judgement.verdicts[comparator],
        "passed": judgement.passed(comparator),
        "seconds": round(judgement.seconds, 6),
        "comparator": comparator,
        "other": {"comparator": other, "verdicts": judgement.verdicts[other], "passed": judgement.passed(other)},
        "level": level,
        "key": key,
    }
    if judgement.trouble:
        row["trouble"] = judgement.trouble
    if judgement.reasons:
        row["reasons"] = judgement.reasons
    # NaN is not JSON, and readers other than Python refuse it.
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def row_of(line: str | bytes) -> dict[str, Any]:
    """Read a line as JSON. Its values may be malformed.

    Raises:
        ValueError: it is not a line of verdicts.
    """
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(row, dict) or not row.keys() >= _FIELDS:
        raise ValueError("not the fields of a line of verdicts")
    return row


def judgement_of(row: Mapping[str, Any]) -> Judgement:
    """Return the judgement of a line as `row_of` returns it.

    Raises:
        MALFORMED: a value is malformed.
    """
    verdicts = {
        Comparator(part["comparator"]): tuple(Verdict(verdict) for verdict in _exactly(list, part["verdicts"]))
        for part in (row, row["other"])
    }
    if set(verdicts) != set(Comparator) or type(row["problem_id"]) not in (int, str):
        raise ValueError("a comparator or a problem is missing")
    seconds = row["seconds"] if type(row["seconds"]) is int else _exactly(float, row["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be finite and not negative, got {seconds}")
    return Judgement(
        problem_id=row["problem_id"],
        index=_exactly(int, row["candidate"]),
        verdicts=verdicts,
        seconds=float(seconds),
        trouble=_exactly(str, row.get("trouble", "")),
        reasons=tuple(_exactly(str, reason) for reason in _exactly(list, row.get("reasons", []))),
    )


def is_torn(text: str) -> bool:
    """Return whether a text is the beginning of a line of verdicts, which a killed process left."""
    if not text.startswith(_BEGINNING):
        return _BEGINNING.startswith(text)
    try:
        problem_id, end = json.JSONDecoder().raw_decode(text, len(_BEGINNING))
    except (ValueError, RecursionError):
        return text[len(_BEGINNING) :] in ("", "-") or text.startswith('"', len(_BEGINNING))
    if type(problem_id) not in (int, str) or not (text.startswith(_NEXT, end) or _NEXT.startswith(text[end:])):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return True
    return isinstance(value, dict) and value.keys() >= _FIELDS


def _exactly(kind: type[Value], value: Any) -> Value:
    if type(value) is not kind:
        raise TypeError(f"must be a {kind.__name__}, got {type(value).__name__}")
    return value
