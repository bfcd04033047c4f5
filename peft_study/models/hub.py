"""Finding out within seconds that the Hugging Face hub is out of reach, instead of after minutes of retries."""

import logging
import os
import socket
import sys
from urllib.parse import urlsplit
from urllib.request import getproxies

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
OFFLINE = "HF_HUB_OFFLINE"
TIMEOUT_SECONDS = 5.0


def use_cache_if_unreachable(timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Switch the hub's libraries to their cache where no connection to the hub can be opened.

    Nothing is tried where the switch is set already, or where a proxy stands between.

    Args:
        timeout_seconds: how long to wait for the connection.
    """
    if OFFLINE in os.environ or getproxies():
        return
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT)
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout_seconds).close()
    except OSError as error:
        os.environ[OFFLINE] = "1"
        _switch_loaded_libraries()
        logger.warning("%s is not reachable (%s): only what is cached can be used", endpoint.hostname, error)


def _switch_loaded_libraries() -> None:
    # They read the environment when they are first imported, which an earlier cell of this process may have caused.
    for module, name in (("huggingface_hub.constants", OFFLINE), ("datasets.config", OFFLINE)):
        if module in sys.modules:
            setattr(sys.modules[module], name, True)
