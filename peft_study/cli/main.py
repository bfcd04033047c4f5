"""`peft-study` and `python -m peft_study`: the first argument chooses the command."""

import importlib
import re
import sys
from collections.abc import Mapping, Sequence

from peft_study import __version__
from peft_study.console.exit import EXIT_OK, EXIT_USER_ERROR, exit_quietly_on_broken_pipe
from peft_study.console.messages import print_error
from peft_study.errors import UserError, near_names

RUN = "run"
COMMANDS: Mapping[str, str] = {
    RUN: "peft_study.cli.run",
    "plan": "peft_study.cli.plan",
    "status": "peft_study.cli.status.command",
    "fetch": "peft_study.cli.fetch.command",
    "score": "peft_study.cli.score",
    "report": "peft_study.cli.report",
    "judge": "peft_study.cli.judge",
    "sync": "peft_study.cli.sync.command",
    "dashboard": "peft_study.cli.dashboard.command",
}
"""Commands and their modules. A module is imported only when its command runs, because some import torch."""
_NAME = re.compile(r"[A-Za-z][\w-]*")


def main() -> int:
    """Run the command that the arguments of the process name; without a name, run cells.

    Returns:
        the exit code: 0 on success, 1 if something failed, 2 if the command line or its input is wrong, and 128 plus
        the signal's number after an interrupt.
    """
    return exit_quietly_on_broken_pipe(lambda: dispatch(sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what follows `peft-study`. If the first one is not the name of a command, all of them go to `run`.

    Returns:
        the exit code; see `main`.
    """
    first = arguments[0] if arguments else ""
    if first in {"--version", "-V"}:
        print(f"peft_study {__version__}")  # noqa: T201 - an answer, not a message
        return EXIT_OK
    # An override of Hydra has a "=", "+" or "~", so a plain word is a mistyped command.
    if first not in COMMANDS and _NAME.fullmatch(first):
        what = f"the command must be one of {', '.join(COMMANDS)}, got {first!r}"
        print_error(UserError(what, where="the first argument", hint=near_names(first, list(COMMANDS))))
        return EXIT_USER_ERROR
    name, rest = (first, arguments[1:]) if first in COMMANDS else (RUN, arguments)
    if name == RUN:
        # Hydra reads the arguments of the process, and shows the name in its usage.
        sys.argv[:] = ["python -m peft_study", *rest]
    command = importlib.import_module(COMMANDS[name])
    code: int = command.main() if name == RUN else command.main(list(rest))
    return code
