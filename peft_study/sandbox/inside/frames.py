"""Messages between the pool and a worker: a length, then JSON, with open files attached."""

import array
import json
import socket
from collections.abc import Sequence
from typing import Any

_LENGTH_BYTES = 8
_MOST_FILES = 8


def send(connection: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send one message.

    Args:
        connection: a Unix stream socket.
        message: a JSON object.
        files: descriptors to copy to the receiver, at most eight.

    Raises:
        OSError: the other end is closed.
    """
    # A program may hold lone surrogates. UTF-8 cannot encode them, JSON's escapes can.
    body = json.dumps(message).encode("ascii")
    head = len(body).to_bytes(_LENGTH_BYTES, "big")
    attached = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    sent = connection.sendmsg([head, body], attached)
    # A socket takes megabytes in parts. The descriptors travel with the first part.
    if sent < len(head) + len(body):
        connection.sendall((head + body)[sent:])


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one message.

    Returns:
        The message and the attached descriptors, or None if the other end is closed.
    """
    files: list[int] = []
    head = _exactly(connection, _LENGTH_BYTES, files)
    if head is None:
        return None
    body = _exactly(connection, int.from_bytes(head, "big"), files)
    return None if body is None else (json.loads(body), files)


def _exactly(connection: socket.socket, size: int, files: list[int]) -> bytes | None:
    parts: list[bytes] = []
    while size:
        try:
            part, more, _, _ = socket.recv_fds(connection, min(size, 1 << 20), _MOST_FILES)
        except ConnectionError:
            return None
        files.extend(more)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
