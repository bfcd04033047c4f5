"""Divides cells of one name into sets of replicates, which differ in their seed alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class CellTraits(NamedTuple):
    """What decides the set of replicates that a cell belongs to.

    Attributes:
        settings: equal for cells with the same `identity.settings_key`.
        measured: what the run records about itself; None for each value that is unknown.
        ok: whether the cell succeeded.
        finished_at: UTC, ISO 8601; "" if unknown.
    """

    settings: int
    measured: tuple[Any, ...]
    ok: bool
    finished_at: str


def replicate_sets(cells: Sequence[CellTraits]) -> list[list[int]]:
    """Return the positions of cells that are replicates, a list for each set, the set to show first.

    A cell that fits several sets, because it lacks values, joins the one that would be shown first.
    """
    if len({(cell.settings, cell.measured) for cell in cells}) == 1:
        return [list(range(len(cells)))]
    sets: list[list[int]] = []
    firsts: list[CellTraits] = []
    # Finished cells with most values known found the sets, so that the others can join one.
    order = sorted(range(len(cells)), key=lambda index: (not cells[index].ok, cells[index].measured.count(None)))
    for index in order:
        cell = cells[index]
        # By the first cell of each set, as a set of cells that lack values would join sets that differ.
        fitting = [number for number, first in enumerate(firsts) if _are_replicates(first, cell)]
        if fitting:
            best = max(fitting, key=lambda number: _rank([cells[member] for member in sets[number]]))
            sets[best].append(index)
        else:
            firsts.append(cell)
            sets.append([index])
    ordered = sorted(sets, key=lambda members: _rank([cells[member] for member in members]), reverse=True)
    return [sorted(members) for members in ordered]


def _are_replicates(first: CellTraits, second: CellTraits) -> bool:
    pairs = zip(first.measured, second.measured, strict=True)
    return first.settings == second.settings and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _rank(cells: Sequence[CellTraits]) -> tuple[int, str]:
    """Return the number of cells that succeeded, and when the last of them ended: the largest set is shown."""
    return sum(cell.ok for cell in cells), max((cell.finished_at for cell in cells if cell.ok), default="")
