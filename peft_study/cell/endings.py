"""How a cell ended: its status, its reason, and after exhausted memory what was used and what would fit."""

import logging
import signal
from dataclasses import replace

from peft_study.cell.retries import retry_follows
from peft_study.config.schema import CellConfig, MemoryPolicy, TrainingConfig
from peft_study.console.interrupts import TerminatedError
from peft_study.errors import UserError
from peft_study.results.attempts import Attempt
from peft_study.results.schema import MemoryKind, RunResult, Status

GB = 1e9
_BITS_OF_THE_SMALLEST = 4
logger = logging.getLogger(__name__)


def classify(error: BaseException) -> tuple[Status, str]:
    """Classify the error that ended a cell.

    Returns:
        the status, and the reason with what to try, for the user.
    """
    from peft_study.models.out_of_memory import is_out_of_memory
    from peft_study.training.loop import DivergedError

    text = str(error) or type(error).__name__
    # `termination_raises` turns the signals that schedulers send before a kill into this error.
    if isinstance(error, TerminatedError):
        return Status.preempted, f"a signal ({signal.Signals(error.number).name}) ended the process"
    if isinstance(error, KeyboardInterrupt):
        return Status.preempted, "a signal ended the process"
    # Before the question for a UserError, which may be raised from exhausted memory.
    if is_out_of_memory(error):
        return Status.oom, f"out of memory: {text.splitlines()[0]}"
    if isinstance(error, UserError):
        return Status.failed, text
    if isinstance(error, DivergedError):
        return Status.diverged, f"{text}; try a lower method.learning_rate, or training.precision=bf16 or fp32"
    return Status.failed, f"{type(error).__name__}: {text}"


def end_attempt(cell: CellConfig, result: RunResult, *, killed: bool = False) -> None:
    """Record the end of an attempt, from the end of the cell. The last one that ran out of memory says what would fit.

    Args:
        cell: the typed config.
        result: has the status, the reason and the costs of the phases.
        killed: whether another process records the end, which then predicts nothing.
    """
    if not result.attempts:  # the process ended before it wrote its record
        result.attempts.append(Attempt())
    attempt = result.attempts[-1]
    attempt.killed = killed
    attempt.status, attempt.reason, attempt.finished_at = str(result.status), result.reason, result.finished_at
    peaks = [cost.peak_bytes for cost in result.phases.values() if cost.peak_bytes is not None]
    if peaks:
        attempt.memory["peak_bytes"] = max(peaks)
    if (limit := _memory_limit(result)) is not None:
        attempt.memory["limit_bytes"] = limit
    if result.status is Status.oom and not retry_follows(cell, result):
        result.reason = f"{attempt.reason}; {_memory_use(result)}; {what_fits(cell, result, predicts=not killed)}"


def what_fits(cell: CellConfig, result: RunResult, *, predicts: bool = True) -> str:
    """Return a change of settings that fits the memory, by the prediction where there is one."""
    fixed = cell.training.division_is_fixed and result.attempts[-1].phase == "train"
    on_gpu = result.memory_kind is MemoryKind.cuda_allocated
    if not on_gpu or not predicts:
        # Memory of the host that a cell on a GPU exhausts does not depend on how a batch is divided.
        smaller = "training.memory=small, " if fixed and not on_gpu else ""
        return f"{smaller}hardware.cells_at_once=1, a smaller model or more memory would fit"
    defaults = TrainingConfig()  # other values would override `memory`
    small = replace(
        cell.training,
        memory=MemoryPolicy.small,
        micro_batch_size=defaults.micro_batch_size,
        gradient_checkpointing=defaults.gradient_checkpointing,
    )
    if fixed and (needed := _predicted_bytes(replace(cell, training=small))) is not None:
        return f"training.memory=small needs {needed / GB:.1f} GB by the prediction"
    if cell.quantization.bits == _BITS_OF_THE_SMALLEST:
        return "a smaller model or another card would fit"
    nf4 = replace(cell.quantization, name="nf4", bits=_BITS_OF_THE_SMALLEST)
    needed = _predicted_bytes(replace(cell, training=small, quantization=nf4))
    return "quantization=nf4" + (" needs less" if needed is None else f" needs {needed / GB:.1f} GB by the prediction")


def _memory_limit(result: RunResult) -> int | None:
    """Return the bytes that a cell could use: of the GPU, or of its process and control group; None if unknown."""
    from peft_study.results.limits import host_limit_bytes

    if result.memory_kind is MemoryKind.cuda_allocated:
        limit = result.provenance.get("device_bytes")
        return limit if isinstance(limit, int) else None
    return host_limit_bytes()


def _memory_use(result: RunResult) -> str:
    """Return what the attempts used, such as "train ran out with micro-batch 8, peak 20.10 of 24.00 GB"."""
    last = result.attempts[-1]
    text = f"{last.phase or 'the start'} ran out"
    ran_out = [attempt for attempt in result.attempts if attempt.status == Status.oom]
    if divisions := dict.fromkeys(attempt.division for attempt in ran_out if attempt.division):
        text += f" with {'; '.join(divisions)}"
    peak, limit = last.memory.get("peak_bytes"), last.memory.get("limit_bytes")
    if peak is not None:
        text += f", peak {peak / GB:.2f}" + (f" of {limit / GB:.2f}" if limit is not None else "") + " GB"
    return text


def _predicted_bytes(cell: CellConfig) -> int | None:
    from peft_study.cost.policy import choose_memory

    # The prediction builds models, and may fail where memory just ran out.
    try:
        predicted = choose_memory(cell, None).predicted
    except Exception as error:
        logger.info("no prediction of what would fit: %s", error)
        return None
    return None if predicted is None else predicted.peak_bytes + predicted.overhead_bytes
