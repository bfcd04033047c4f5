"""Retries of actions that a network may have failed."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from peft_study.cli.fetch.table import summary
from peft_study.console.messages import print_line
from peft_study.errors import UserError

PAUSES_SECONDS = (1.0, 5.0, 20.0)
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_TRANSIENT_STATUSES = {408, 429}  # a timeout, and too many requests

T = TypeVar("T")


def with_retries(action: Callable[[], T]) -> T:
    """Run an action; after an error that may be temporary, retry it after a pause."""
    for pause in PAUSES_SECONDS:
        try:
            return action()
        except Exception as error:  # the hub's libraries raise those of several HTTP clients
            if _is_final(error):
                raise
            print_line(f"{summary(error)}; retrying in {pause:.0f} s")
            time.sleep(pause)
    return action()


def _is_final(error: BaseException) -> bool:
    """Whether a retry cannot help."""
    if isinstance(error, UserError | LocalEntryNotFoundError):
        # Both also wrap a failed connection.
        return error.__cause__ is None or _is_final(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return 400 <= status < 500 and status not in _TRANSIENT_STATUSES
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return True
    # Errors of a program, or of a name that does not exist.
    return isinstance(error, ValueError | TypeError | LookupError | AttributeError | FileNotFoundError)
