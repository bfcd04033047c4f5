"""Whether a cell runs again, and with how much less memory. The samples of an optimizer step stay the same."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from peft_study.config.schema import CellConfig, Retry, TrainingConfig
from peft_study.results.attempts import Attempt, Restriction
from peft_study.results.schema import FAILURES, RunResult, Status

RETRIED = {
    Retry.all: FAILURES,
    Retry.failed: frozenset({Status.failed}),
    Retry.oom: frozenset({Status.oom}),
    Retry.none: frozenset[Status](),
}
"""The statuses of an earlier result with which a cell runs again, by the setting `retry`."""


def keeps_result(cell: CellConfig, earlier: RunResult) -> bool:
    """Return whether a cell keeps its earlier result and does not run.

    Args:
        cell: the typed config. `rerun=true` has priority over `retry`.
        earlier: the result in the cell's folder.
    """
    # A sweep that was interrupted between two attempts continues with the next one, which uses less memory.
    if cell.rerun or retry_follows(cell, earlier):
        return False
    # Interrupted cells always resume. A refusal is checked again, because another command may have lifted it.
    return earlier.status is Status.ok or earlier.status in FAILURES - RETRIED[cell.retry]


def restriction_now(cell: CellConfig, attempts: Sequence[Attempt]) -> Restriction | None:
    """Return what the next attempt of a cell may use at most.

    Args:
        cell: the typed config.
        attempts: the earlier attempts, the last one at the end.

    Returns:
        None if the last attempt ran out of memory and nothing smaller is left.
    """
    if not attempts:
        return Restriction()
    last = attempts[-1]
    # An interrupted cell resumes as it was. Before the first phase nothing can be smaller, but more memory may be free.
    if last.status != Status.oom or last.phase in (None, "load"):
        return last.restriction
    return _next_restriction(cell, last)


def retry_follows(cell: CellConfig, result: RunResult) -> bool:
    """Whether a fresh process should run a cell again, because it ran out of memory and can use less."""
    ran_out = list(takewhile(lambda attempt: attempt.status == Status.oom, reversed(result.attempts)))
    if result.status is not Status.oom or not ran_out or len(ran_out) > cell.hardware.oom_retries:
        return False
    return _next_restriction(cell, ran_out[0]) is not None


def restricted(training: TrainingConfig, restriction: Restriction) -> TrainingConfig:
    """Return the settings of training within a restriction."""
    size = min(training.micro_batch_size, restriction.micro_batch_size or training.micro_batch_size)
    recompute = training.gradient_checkpointing or restriction.gradient_checkpointing
    return replace(training, micro_batch_size=size, gradient_checkpointing=recompute)


def _next_restriction(cell: CellConfig, attempt: Attempt) -> Restriction | None:
    """Return the next smaller use of memory, in the phase that ran out of it; None if nothing smaller is left."""
    if attempt.phase == "train":
        return _smaller_training(cell, attempt)
    prompts = attempt.prompts_at_once
    if attempt.phase == "generate" and prompts is not None and prompts > 1:
        # Generation halves a batch by itself, down to a single prompt, unless the kernel ends the process.
        return replace(attempt.restriction, prompts_at_once=prompts // 2 if attempt.killed else 1)
    return None  # the weights have one size


def _smaller_training(cell: CellConfig, attempt: Attempt) -> Restriction | None:
    # A user who sets the division, or compares memory by it, wants that division or none.
    if cell.training.division_is_fixed or attempt.micro_batch_size is None:
        return None
    size = attempt.micro_batch_size
    if size > 1:
        smaller = max(part for part in range(1, size // 2 + 1) if cell.training.batch_size % part == 0)
        return replace(attempt.restriction, micro_batch_size=smaller)
    if attempt.gradient_checkpointing or not cell.method.can_recompute:
        return None
    return replace(attempt.restriction, micro_batch_size=1, gradient_checkpointing=True)
