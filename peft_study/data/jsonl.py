"""Reading local JSONL files, with the line in every complaint."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_study.errors import UserError, near_names


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every object of a JSONL file with its line number, counted from 1. Blank lines are passed over.

    Raises:
        UserError: the file is missing or not UTF-8, or a line is not a JSON object.
    """
    # Split at line feeds only: str.splitlines would also split at U+2028 inside a JSON string.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            column = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = error.msg if isinstance(error, json.JSONDecodeError) else _reason(error)
            raise UserError(
                f"a line is not JSON ({reason})",
                where=f"{path}, line {number}{column}",
                hint="each line is one JSON object",
            ) from error
        if not isinstance(row, dict):
            raise UserError(
                f"a line holds a {type(row).__name__}, not an object",
                where=f"{path}, line {number}",
                hint='each line is one JSON object, such as {"nl": "...", "cmd": "..."}',
            )
        yield number, row


def text_field(row: dict[str, Any], field: str, where: str, setting: str) -> str | None:
    """The text of a row's field; None where the field is null.

    Args:
        row: one object.
        field: the field's name.
        where: file and line, for the complaint.
        setting: the setting that names the field, for the hint.

    Raises:
        UserError: the field is absent or holds something else than text.
    """
    if field not in row:
        raise UserError(
            f"a line lacks the field {field!r}",
            where=where,
            hint=f"{near_names(field, row)}; another field: {setting}=NAME",
        )
    value = row[field]
    if value is not None and not isinstance(value, str):
        raise UserError(f"the field {field!r} holds a {type(value).__name__}, not text", where=where, hint="use text")
    if value is not None and not _has_utf8_form(value):
        raise UserError(
            f"the field {field!r} holds half of a surrogate pair", where=where, hint="remove the lone surrogate escape"
        )
    return value


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]


def _has_utf8_form(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError("a data file is missing", where=str(path), hint="dataset.path=FOLDER with this file") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"a data file is not UTF-8 (byte {error.start})", where=str(path), hint="save it as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(
            f"a data file cannot be read: {error.strerror}", where=str(path), hint="check the path"
        ) from error
