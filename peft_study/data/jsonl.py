"""Reading local JSON and JSONL files. Every error names the line."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_study.errors import UserError, near_names


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the objects of a JSONL file, each with its place such as "train.jsonl, line 7". Blank lines are skipped.

    Raises:
        UserError: the file is missing or not UTF-8, or a line is not a JSON object.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            value = _parsed(line.rstrip(), where, "a line", "each line is one JSON object")
            yield where, _object(value, where, "a line")


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the objects of a JSONL file or of a JSON list, each with its place.

    Raises:
        UserError: as `read_rows`.
    """
    if not next((line for line in _lines(path) if line.strip()), "").lstrip().startswith("["):
        yield from read_rows(path)
        return
    # CodeAlpaca and the sanitized MBPP are published as one list.
    values = _parsed("".join(_lines(path)), str(path), "a file", "a file that begins with [ is one JSON list")
    for number, value in enumerate(values, start=1):
        where = f"{path}, item {number}"
        yield where, _object(value, where, "an item")


def text_field(row: dict[str, Any], field: str, where: str, setting: str | None = None) -> str | None:
    """The text of a field of a row; None if the field is null.

    Args:
        row: one object.
        field: the field's name.
        where: file and line, for the error.
        setting: the setting that names the field, for the hint; None if the name is fixed.

    Raises:
        UserError: the field is missing, or is not text.
    """
    if field not in row:
        other = f"; another field: {setting}=NAME" if setting else ""
        raise UserError(f"a line lacks the field {field!r}", where=where, hint=f"{near_names(field, row)}{other}")
    value = row[field]
    if value is not None and not isinstance(value, str):
        raise UserError(f"the field {field!r} holds a {type(value).__name__}, not text", where=where, hint="use text")
    # Tokenizers and files take UTF-8 only, and would fail in the middle of a cell.
    if value is not None and not has_utf8_form(value):
        what = f"the field {field!r} holds half of a surrogate pair"
        raise UserError(what, where=where, hint="remove the lone surrogate escape")
    return value


def text_list_field(row: dict[str, Any], field: str, where: str) -> list[str]:
    """The list of texts in a field of a row.

    Args:
        row: one object.
        field: the field's name.
        where: file and line, for the error.

    Raises:
        UserError: the field is missing, or is not a list of texts.
    """
    value = row.get(field)
    if not isinstance(value, list):
        what = f"the field {field!r} must be a list of texts, got {type(value).__name__}"
        raise UserError(what, where=where, hint=near_names(field, row))
    return [text_field({field: item}, field, where) or "" for item in value]


def has_utf8_form(text: str) -> bool:
    """Whether a text can be encoded as UTF-8. Half of a surrogate pair, which JSON may escape, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parsed(text: str, where: str, subject: str, hint: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text else ""
        reason, place = error.msg, f"{where}{line}, column {error.colno}"
        cause: Exception = error
    except RecursionError as error:
        reason, place, cause = "nested too deeply", where, error
    except ValueError as error:  # an integer of more than 4,300 digits
        reason, place, cause = str(error).partition(";")[0], where, error
    raise UserError(f"{subject} is not JSON ({reason})", where=place, hint=hint) from cause


def _object(value: Any, where: str, subject: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(
            f"{subject} holds a {type(value).__name__}, not an object",
            where=where,
            hint='each is one JSON object, such as {"nl": "...", "cmd": "..."}',
        )
    return value


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, read one by one: the file may be larger than the memory."""
    try:
        with path.open("rb") as file:
            # Bytes are split at line feeds only: text would also be split at U+2028 inside a JSON string.
            for number, line in enumerate(file, start=1):
                # Windows editors begin a file with a byte-order mark, which JSON refuses.
                yield _decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, f"{path}, line {number}")
    except FileNotFoundError as error:
        raise UserError("a data file is missing", where=str(path), hint="dataset.path=FOLDER with this file") from error
    except OSError as error:
        what = f"a data file cannot be read: {error.strerror}"
        raise UserError(what, where=str(path), hint="check the path") from error


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        what = f"a data file is not UTF-8 (byte {error.start})"
        raise UserError(what, where=where, hint="save it as UTF-8") from error
