"""Names beside a panel's points: moved apart and off the marks, or left out if there are too many."""

from collections.abc import Iterator, Sequence

import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text
from numpy.typing import NDArray

NAMED_POINTS = 30
"""A panel has no room for more names."""
_CLOSE_PIXELS = 5.0
"""Markers closer than this count as a single obstacle, because thousands of obstacles take seconds."""
_STEP_PIXELS = 6.0
_SAME_PLACE = 0.05
"""Share of the axis between names of points at the same place, which would otherwise all move the same way."""


def place_names(axes: Axes, texts: Sequence[Text]) -> None:
    """Move the names of points apart, after the layout is done.

    Args:
        axes: axes with everything that the names must not hide.
        texts: the names, at their points; all are removed if there are more than `NAMED_POINTS`.
    """
    if len(texts) > NAMED_POINTS:
        for text in texts:
            text.remove()
        return
    if not texts:
        return
    points = [text.get_position() for text in texts]
    low, high = axes.get_ylim()
    for place, text in enumerate(texts):
        text.set_y(points[place][1] + points[:place].count(points[place]) * _SAME_PLACE * (high - low))
    obstacles = axes.transData.inverted().transform(np.array([*_markers(axes), *_other_texts(axes, texts)]))
    adjust_text(
        list(texts),
        x=obstacles[:, 0],
        y=obstacles[:, 1],
        target_x=[x for x, _ in points],
        target_y=[y for _, y in points],
        ax=axes,
        expand=(1.15, 1.5),
        # These forces clear the names from the points of a study of nine models.
        force_text=(0.3, 0.5),
        force_static=(0.3, 0.5),
        # A limit in steps, not in seconds, makes the same drawing on any machine.
        iter_lim=400,
        arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.4},
    )
    for text in texts:
        _keep_inside(axes, text)


def _keep_inside(axes: Axes, text: Text) -> None:
    """Move a name back inside the axes, which adjustText does not guarantee."""
    # By pixels, because the axes may be logarithmic.
    box, frame = text.get_window_extent(), axes.get_window_extent()
    shift = max(0.0, frame.x0 - box.x0) - max(0.0, box.x1 - frame.x1)
    if shift:
        x, y = axes.transData.transform(text.get_position())
        text.set_position(tuple(axes.transData.inverted().transform((x + shift, y))))


def _markers(axes: Axes) -> Iterator[NDArray[np.float64]]:
    """Yield the centres of the markers, in pixels."""
    occupied: set[tuple[int, int]] = set()
    for container in axes.containers:
        # Points are drawn by `errorbar`, with or without bars.
        if not isinstance(container, ErrorbarContainer) or container.lines[0] is None:
            continue
        for point in axes.transData.transform(container.lines[0].get_xydata()):
            if not np.isfinite(point).all():
                continue
            square = int(point[0] // _CLOSE_PIXELS), int(point[1] // _CLOSE_PIXELS)
            if square not in occupied:
                occupied.add(square)
                yield point


def _other_texts(axes: Axes, texts: Sequence[Text]) -> Iterator[tuple[float, float]]:
    """Yield points that cover other texts, such as a limit's name, in pixels."""
    for other in axes.texts:
        if other in texts:
            continue
        box = other.get_window_extent()
        for x in np.arange(box.x0, box.x1 + _STEP_PIXELS, _STEP_PIXELS):
            for y in np.arange(box.y0, box.y1 + _STEP_PIXELS, _STEP_PIXELS):
                yield float(x), float(y)
