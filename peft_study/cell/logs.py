"""Where log records go while a cell runs: all to its log.txt, and this package's warnings to the terminal as well."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from peft_study.console.redaction import redact_message

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to the current sys.stderr, because a live progress display replaces it for a time."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


class _PrintableFormatter(logging.Formatter):
    """Redacts secrets, and escapes terminal control characters, which names and texts of data and models may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return "".join(
            letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1]
            for letter in redact_message(super().format(record))
        )


def quiet_transformers() -> None:
    """Let transformers log through the root logger and show no progress bars. On a terminal, downloads keep theirs."""
    from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()  # this switches the hub's bars off as well
    if sys.stderr.isatty():
        enable_progress_bars()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send log records and Python warnings to a file, and this package's warnings to the standard error stream too.

    Args:
        path: appended to, so that a resumed cell keeps the log of its first part.
    """
    root, ours = logging.getLogger(), logging.getLogger("peft_study")
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(_PrintableFormatter(_FORMAT))
    terminal = _CurrentStderr()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(_PrintableFormatter("%(levelname)s: %(message)s"))
    # Hydra's job_logging is switched off: in a sweep, it leaves the log of a failed job empty.
    root_level, our_level = root.level, ours.level
    if root.level != logging.WARNING:  # each change of a level clears the caches of all loggers, which takes 2 ms
        root.setLevel(logging.WARNING)
    ours.setLevel(logging.INFO)
    root.addHandler(file)
    ours.addHandler(terminal)
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.removeHandler(file)
            ours.removeHandler(terminal)
            if root.level != root_level:
                root.setLevel(root_level)
            ours.setLevel(our_level)
            file.close()
