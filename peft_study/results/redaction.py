"""Keeps keys and passwords out of everything that is written."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "[redacted]"
# Shorter values of environment variables may be ordinary words, which a setting may hold as well.
ENVIRONMENT_SECRET_CHARACTERS_AT_LEAST = 16

_SECRET_NAME = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_NUMBER_NAME = re.compile(r"key|token", re.IGNORECASE)
_TOKENIZER = re.compile(r"tokeni[sz](?:ers?|ed|e|ing|ation)", re.IGNORECASE)
# 40 hexadecimal digits look like a W&B key, but under these names they are a commit of a model, data set or the code.
_COMMIT_NAME = re.compile(r"revision|commit|sha|hash", re.IGNORECASE)
_FORTY_HEX = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{40}(?![0-9A-Fa-f])")
_SECRET_VALUE = re.compile(
    r"(?:hf_|wandb_v\d+_|sk-|ghp_|github_pat_)[A-Za-z0-9_-]{8,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user:password@ of an address
)


def redact(value: Any, name: str = "") -> Any:
    """Copy plain containers, and replace possible secrets by "[redacted]".

    These are replaced:

    - values whose name contains key, token, secret, passw or credential. Numbers under "key" or "token" stay, because
      they are settings such as max_new_tokens.
    - texts that look like a W&B, Hugging Face, OpenAI or GitHub key
    - the user and password of an address
    - the values of environment variables with such names

    Args:
        value: a mapping, a sequence, or a plain value.
        name: the key of the value.

    Returns:
        the copy, with texts for all values that are not plain.
    """
    return _redact(value, name, _environment_secrets())


def _environment_secrets() -> list[str]:
    return [
        secret
        for variable, secret in os.environ.items()
        if _SECRET_NAME.search(variable) and len(secret) >= ENVIRONMENT_SECRET_CHARACTERS_AT_LEAST
    ]


def _redact(value: Any, name: str, secrets: Sequence[str]) -> Any:
    if _is_secret(name, value):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(key): _redact(item, str(key), secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redact(item, name, secrets) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redact_text(str(value), name, secrets)


def _is_secret(name: str, value: Any) -> bool:
    name = _TOKENIZER.sub("", name)
    if value is None or value == "" or not _SECRET_NAME.search(name):
        return False
    return not (isinstance(value, bool | int | float) and _NUMBER_NAME.search(name))


def _redact_text(text: str, name: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _SECRET_VALUE.sub(REDACTED, text)
    return text if _COMMIT_NAME.search(name) else _FORTY_HEX.sub(REDACTED, text)
