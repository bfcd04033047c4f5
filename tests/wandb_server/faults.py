"""What goes wrong with a request to the stand-in."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a request fails."""

    status = "status"
    hang = "hang"
    late = "late"
    dropped = "dropped"
    lost_answer = "lost answer"


@dataclass(frozen=True)
class Fault:
    """A failure of one request.

    Attributes:
        kind: a status instead of an answer, no answer while the server lives, an answer after `seconds`, or a closed
            connection: `dropped` before the request is stored, `lost_answer` after it.
        status: the HTTP status.
        seconds: how late the answer is.
    """

    kind: Kind
    status: int = 500
    seconds: float = 0.0


Faults = Callable[[str, int], Fault | None]
"""The fault of a request by its name ("UpsertBucket", "file_stream", "PUT") and its number from 0."""


def always(fault: Fault | None, *names: str) -> Faults:
    """Let every request fail that has one of the names; without names, every request."""
    return lambda name, _number: fault if not names or name in names else None


def nth(fault: Fault, name: str, *numbers: int) -> Faults:
    """Let some requests of one name fail, counted among those of this name from 0."""
    counted = iter(range(1_000_000))
    return lambda request, _number: fault if request == name and next(counted) in numbers else None
