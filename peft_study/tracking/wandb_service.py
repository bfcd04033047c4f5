"""W&B's service process, which uploads runs."""

import contextlib
import logging
from typing import Any

logger = logging.getLogger(__name__)


def stop_service() -> None:
    """End W&B's service process of this process at once. What it has not sent is dropped."""
    import wandb

    # Asked to end, it would first send what it holds, for as long as the server does not answer.
    with contextlib.suppress(AttributeError, OSError):
        _process(wandb).kill()
    try:
        wandb.teardown()
    # Its exit code becomes SystemExit, and its broken connection any error.
    except (Exception, SystemExit) as error:
        logger.debug("W&B's service was stopped: %s", error)


def _process(wandb: Any) -> Any:
    """Return the `Popen` of the service that this process started."""
    # wandb 0.31 has no public name for it.
    return wandb.sdk.wandb_setup.singleton()._connection._proc._process
