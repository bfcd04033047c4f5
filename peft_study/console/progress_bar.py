"""The bar of what goes on, which every live display has."""

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

REFRESHES_PER_SECOND = 4
# A batch of beam search can take minutes; rich's own 30 seconds would then hold no two of them.
SPEED_ESTIMATE_SECONDS = 600


def progress_bar(label: str, console: Console) -> Progress:
    """A bar that is gone in the end; its tasks need a field "latest", the text behind it.

    Args:
        label: before the bar, a format of rich's over the task, such as "{task.description}".
        console: a terminal.
    """
    return Progress(
        TextColumn(label, markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}", markup=False),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=REFRESHES_PER_SECOND,
        speed_estimate_period=SPEED_ESTIMATE_SECONDS,
        # rich would move what is printed to this display's stream: wrong where stdout is a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
    )
