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
    # Neither inside of a word, such as "mask-generation", nor a name, such as "hf_hub_download".
    r"(?<![A-Za-z0-9])(?:(?:hf_|ghp_|gho_)[A-Za-z0-9]{16,}|(?:sk-|glpat-|github_pat_|wandb_v\d+_)[A-Za-z0-9_-]{16,})"
    # user:password@ or token@ of an address, of which a path has a single slash
    r"|(?P<scheme>:/{1,2})[^/\s@]+(?=@)"
    r"|(?<=[?&])(?P<parameter>[\w.-]*(?i:key|token|secret|passw|credential|signature)[\w.-]*=)[^&#\s'\"]+"
)


def redact(value: Any, name: str = "") -> Any:
    """Copy plain containers, and replace possible secrets by "[redacted]".

    These are replaced:

    - values whose name contains key, token, secret, passw or credential. Numbers under "key" or "token" stay, because
      they are settings such as max_new_tokens, and so do containers of numbers alone, such as token_lengths.
    - texts that look like a W&B, Hugging Face, OpenAI, GitHub or GitLab key
    - the user and password of an address, and its parameters with such names
    - the values of environment variables with such names

    Args:
        value: a mapping, a sequence, or a plain value.
        name: the key of the value.

    Returns:
        the copy, with texts for all values that are not plain.
    """
    return _redact(value, name, _environment_secrets())


def redact_message(text: str) -> str:
    """Replace possible secrets in a sentence. 40 hexadecimal digits stay, because in a sentence they are a commit."""
    return str(redact(text, "commit"))


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
    return not (_has_only_numbers(value) and _NUMBER_NAME.search(name))


def _has_only_numbers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_has_only_numbers, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_has_only_numbers, value))
    return isinstance(value, bool | int | float)


def _redact_text(text: str, name: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _SECRET_VALUE.sub(lambda match: f"{match['scheme'] or match['parameter'] or ''}{REDACTED}", text)
    return text if _COMMIT_NAME.search(name) else _FORTY_HEX.sub(REDACTED, text)
