"""Detect within seconds, not after minutes of retries, that the Hugging Face hub cannot be reached."""

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


def use_cache_if_unreachable() -> None:
    """Switch the hub's libraries to their cache if no connection to the hub can be opened.

    Nothing is tried if `HF_HUB_OFFLINE` is set, or with a proxy, because a direct connection says nothing then.
    """
    # `getproxies` also lists NO_PROXY, as "no".
    if OFFLINE in os.environ or getproxies().keys() - {"no"}:
        return
    host = address = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    try:
        endpoint = urlsplit(address)
        host = endpoint.hostname or address
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        socket.create_connection((endpoint.hostname or "", port), TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError: the address has a port or a host that cannot exist
        os.environ[OFFLINE] = "1"
        # The libraries read the environment at their import, and an earlier cell of this process may have imported
        # them. Checked with huggingface-hub 2.4 and datasets 5.2; without it, each missing file waits for minutes.
        for module in ("huggingface_hub.constants", "datasets.config"):
            if module in sys.modules:
                setattr(sys.modules[module], OFFLINE, True)
        logger.warning("%s cannot be reached (%s): only cached files are used", host, error)
