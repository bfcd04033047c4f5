"""W&B's service process, which uploads runs, and its key."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from peft_study.config.schema.tracking import WANDB_PROJECT, WANDB_PROJECT_NAMES
from peft_study.console.redaction import redact
from peft_study.errors import UserError, first_line

SECONDS_TO_FREE = 2.0
logger = logging.getLogger(__name__)


def load_wandb() -> Any:
    """Import W&B, which takes a second, and keep its messages and prompts off the terminal."""
    # If the server cannot be reached, W&B's usage reports print errors and delay the exit by 10 s.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))
    return wandb


def check_project(project: str) -> None:
    """Refuse the name of a project on the command line that W&B does not accept.

    Raises:
        UserError: it does not suit.
    """
    if WANDB_PROJECT.fullmatch(project) is None:
        what = f"--project must be {WANDB_PROJECT_NAMES}, got {project!r}"
        raise UserError(what, where="--project", hint="--project my-project")


def within(seconds: float | None, call: Callable[[], None]) -> None:
    """Call a function that may wait for the server.

    Args:
        seconds: how long it may take; None for no limit.
        call: the function. After a timeout it continues in its thread, until `stop_service` ends what it waits for.

    Raises:
        TimeoutError: it has not returned in time.
        Exception: what it raised.
    """
    if seconds is None:
        call()
        return
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    # A daemon, so that it cannot keep the process from ending.
    thread = threading.Thread(target=run, name="wandb-store", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if errors:
        raise errors[0]


def stop_service() -> None:
    """End the service of this process at once. What it has not sent is dropped, and the next run starts another one."""
    import wandb

    # Otherwise W&B's thread that frees objects in the service would print a traceback of its broken connection.
    with contextlib.suppress(AttributeError, TimeoutError):
        within(SECONDS_TO_FREE, _connection(wandb)._finalizer.close)
    # Asked to end, it would first send what it holds, for as long as the server does not answer.
    with contextlib.suppress(AttributeError, OSError):
        process = _connection(wandb)._proc._process
        process.kill()
        process.wait()
    try:
        wandb.teardown()
    # Its exit code becomes SystemExit, and its broken connection any error.
    except (Exception, SystemExit) as error:
        logger.debug("W&B's service was stopped: %s", error)


def _connection(wandb: Any) -> Any:
    """Return the connection to the service that this process started."""
    # wandb 0.31 has no public name for it, nor for the process.
    return wandb.sdk.wandb_setup.singleton()._connection


def error_reason(error: BaseException) -> str:
    """Return the first line of an error of W&B, without secrets."""
    return str(redact(first_line(error)))


def has_key(settings: Any) -> bool:
    """Return whether a key is configured for the server of W&B's settings."""
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    hosts = {urlsplit(settings.base_url).netloc}
    if settings.base_url == type(settings).model_fields["base_url"].default:
        hosts.add("api.wandb.ai")  # keys stored under the earlier default host still work
    try:
        stored = netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, NetrcParseError, RuntimeError):  # the last one without a home folder
        return False
    return any(stored.authenticators(host) for host in hosts)
