"""Names beside a panel's points: moved off each other and off what is drawn, or left out where there are too many."""

from collections.abc import Iterator, Sequence

import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text
from numpy.typing import NDArray

NAMED_POINTS = 30
"""More names than these have no room in one panel."""
_CLOSE_PIXELS = 5.0
"""Markers closer than this are passed around as one: many of them would take seconds."""
_STEP_PIXELS = 6.0
_SAME_PLACE = 0.05
"""Share of the axis between names that would start at one point: they would all be pushed the same way."""


def place_names(axes: Axes, texts: Sequence[Text]) -> None:
    """Move the names of points apart, once the layout is known.

    Args:
        axes: with all that the names must not hide.
        texts: the names, where their points are; of more than `NAMED_POINTS` none stays.
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
    taken = axes.transData.inverted().transform(np.array([*_markers(axes), *_other_texts(axes, texts)]))
    adjust_text(
        list(texts),
        x=taken[:, 0],
        y=taken[:, 1],
        target_x=[x for x, _ in points],
        target_y=[y for _, y in points],
        ax=axes,
        expand=(1.15, 1.5),
        # Strong enough that names leave the points of a study of nine models.
        force_text=(0.3, 0.5),
        force_static=(0.3, 0.5),
        # Steps and not seconds, so that the same drawing comes out on any machine.
        iter_lim=400,
        arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.4},
    )
    for text in texts:
        _keep_inside(axes, text)


def _keep_inside(axes: Axes, text: Text) -> None:
    """Move a name off the sides, where its last step may have led it."""
    box, room = text.get_window_extent(), axes.get_window_extent()
    shift = max(0.0, room.x0 - box.x0) - max(0.0, box.x1 - room.x1)
    if shift:
        x, y = axes.transData.transform(text.get_position())
        text.set_position(tuple(axes.transData.inverted().transform((x + shift, y))))


def _markers(axes: Axes) -> Iterator[NDArray[np.float64]]:
    """The middles of the markers, in pixels."""
    seen: set[tuple[int, int]] = set()
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer) and container.lines[0] is not None:
            for point in axes.transData.transform(container.lines[0].get_xydata()):
                if (
                    np.isfinite(point).all()
                    and (place := (int(point[0] // _CLOSE_PIXELS), int(point[1] // _CLOSE_PIXELS))) not in seen
                ):
                    seen.add(place)
                    yield point


def _other_texts(axes: Axes, texts: Sequence[Text]) -> Iterator[tuple[float, float]]:
    """Points all over what else is written, such as a limit's name, in pixels."""
    for other in axes.texts:
        if other in texts:
            continue
        box = other.get_window_extent()
        for x in np.arange(box.x0, box.x1 + _STEP_PIXELS, _STEP_PIXELS):
            for y in np.arange(box.y0, box.y1 + _STEP_PIXELS, _STEP_PIXELS):
                yield float(x), float(y)
