"""Expands a study's blocks and the command line into cells, each a list of overrides. Pure functions."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from peft_study.config.grammar import quote
from peft_study.errors import UserError, near_names

Choices = Mapping[str, Sequence[str]]
"""Overrides by the key that they set: {"model": ["model=a", "model=b"], "seed": ["seed=1"]}."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*")
_WORDS_WITH_A_MEANING = frozenset({"true", "false", "null", "inf", "nan"})
_NOT_A_CELLS = frozenset({"hydra", "study"})
_BASE_MODEL = ("model", "quantization")


def read_blocks(
    file: str, common: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]
) -> list[dict[str, list[str]]]:
    """Turn the blocks of a study's YAML into overrides.

    Args:
        file: the YAML, for errors.
        common: settings of every block. The value of a block takes precedence.
        blocks: grids: for each key the value, or the list of values, that it takes.

    Returns:
        the overrides of each block, by key.

    Raises:
        UserError: a block gives a key no value, or sets something that is not a setting of a cell.
    """
    overrides = []
    for number, block in enumerate(blocks, start=1):
        values = {key: value if isinstance(value, list) else [value] for key, value in {**common, **block}.items()}
        for key, items in values.items():
            _check_setting(key, items, block_of(file, number))
        overrides.append({key: [f"{key}={literal(item)}" for item in items] for key, items in values.items()})
    return overrides


def block_of(file: str, number: int) -> str:
    """Return how errors name a block; `number` counts from 1."""
    return f"{file}, block {number}"


def _check_setting(key: str, values: Sequence[Any], where: str) -> None:
    if not values:
        raise UserError(f"{key} must have at least one value, got []", where=where, hint=f"{key}: [VALUE, VALUE]")
    root = re.split(r"[./@]", key.removeprefix("+"), maxsplit=1)[0]
    if key.startswith("~") or root in _NOT_A_CELLS:
        raise UserError(
            f"{key} must not be set in a block, which holds groups and settings of a cell",
            where=where,
            hint="a group such as model: tiny-llama, or a setting such as training.epochs: 1",
        )
    for value in values:
        if is_group(key) and (value is None or isinstance(value, list | dict)):
            what = f"{key} must be the name of an option, got {literal(value)}"
            raise UserError(what, where=where, hint=f"{key}: NAME, or {key}: [NAME, NAME]")


def expand(study: str, blocks: Sequence[Choices], command: Choices) -> list[tuple[str, ...]]:
    """List the cells of a study, or of a plain grid, each once.

    The command line restricts a group that the study names: `model=a` keeps the cells of model a. Any other setting of
    the command line replaces the values in the blocks that name it. If no block names it, it applies to all cells.

    Args:
        study: name of the study, for errors; empty for a plain grid.
        blocks: the study's blocks; empty for a plain grid.
        command: the command line's overrides by key; several values are a sweep.

    Returns:
        the overrides of each cell, in the order of the blocks, except that cells of one base model are adjacent.

    Raises:
        UserError: the blocks name different groups, or the restriction leaves no cell.
    """
    _check_groups(study, blocks)
    named = {key for block in blocks for key in block}
    command = {_replaced_key(key, named): values for key, values in command.items()}
    restrictions = {key: values for key, values in command.items() if is_group(key) and key in named}
    cells: dict[frozenset[str], tuple[str, ...]] = {}
    for block in blocks or [{}]:
        grid = {
            key: [value for value in values if key not in restrictions or value in restrictions[key]]
            for key, values in block.items()
        }
        for key, values in command.items():
            if key not in restrictions and (key in block or key not in named):
                grid[key] = list(values)
        # The same overrides in another order are the same cell.
        for overrides in itertools.product(*grid.values()):
            cells.setdefault(frozenset(overrides), overrides)
    if not cells:
        raise _nothing_left(study, blocks, restrictions)
    return _base_models_together(list(cells.values()))


def _replaced_key(key: str, named: Collection[str]) -> str:
    """Return the key of the blocks that a key of the command line sets: `++key=value` also sets a key that exists."""
    existing = key.removeprefix("++")
    return existing if existing in named and not is_group(existing) else key


def _check_groups(study: str, blocks: Sequence[Choices]) -> None:
    # Else `model=a` on the command line would restrict some blocks and leave all cells of the others.
    groups = [{key for key in block if is_group(key)} for block in blocks]
    for number, names in enumerate(groups, start=1):
        if names != groups[0]:
            raise UserError(
                f"blocks must name the same groups, got a difference in {', '.join(sorted(names ^ groups[0]))}",
                where=f"study {study}, block {number} and block 1",
                hint="name the group in every block, so that the command line can choose among the cells",
            )


def is_group(key: str) -> bool:
    """Return whether a key chooses an option of a config group. A key with a dot, and those of a cell, set a value."""
    return "." not in key and key not in {"seed", "rerun", "retry", "stop_on_failure", "output_dir"}


def literal(value: Any) -> str:
    """Write a value in the grammar of Hydra's command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_WITH_A_MEANING:
        return text
    return quote(text)


def _base_models_together(cells: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Order cells by model, then by quantization, each in the order of first appearance."""
    rank: dict[str, int] = {}
    for override in itertools.chain.from_iterable(cells):
        rank.setdefault(override, len(rank))

    def base_model_rank(cell: tuple[str, ...]) -> list[int]:
        chosen = {override.partition("=")[0]: override for override in cell}
        return [rank[chosen[group]] if group in chosen else -1 for group in _BASE_MODEL]

    return sorted(cells, key=base_model_rank)


def _nothing_left(study: str, blocks: Sequence[Choices], restrictions: Choices) -> UserError:
    for key, values in restrictions.items():
        options = {override.partition("=")[2] for block in blocks for override in block[key]}
        unknown = [value.partition("=")[2] for value in values if value.partition("=")[2] not in options]
        if len(unknown) == len(values):
            what = f"study {study} has no cell with {key}={unknown[0]}"
            return UserError(what, where=f"{key}={','.join(unknown)}", hint=near_names(unknown[0], options))
    return UserError(
        f"study {study} has no cell with all of these values",
        where=" ".join(override for values in restrictions.values() for override in values),
        hint=f"python -m peft_study plan +study={study} lists its cells",
    )
