"""The progress bar of the live displays."""

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
# rich estimates the speed from the steps of the last 30 s by default, but a batch of beam search can take minutes.
SPEED_ESTIMATE_SECONDS = 600


def progress_bar(label: str, console: Console) -> Progress:
    """Create a bar that disappears when it is stopped. Its tasks need a field "latest", the text after the bar.

    Args:
        label: text before the bar, in rich's format for tasks, such as "{task.description}".
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
        # By default, rich sends what is printed to the stream of the display, even if stdout is a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
    )
