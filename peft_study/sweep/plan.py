"""Turns the command line of a sweep into cells, and says which of them cannot run."""

import copy
import gc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peft_study.config import identity
from peft_study.config.checks import problems
from peft_study.config.compat import cache_yaml_files
from peft_study.config.compose import CONFIG_ERRORS, explain, to_cell, yaml_of
from peft_study.config.grammar import shell_form
from peft_study.config.naming import folder_of
from peft_study.config.schema import CellConfig, Retry, StudyConfig
from peft_study.config.sources import is_on_this_machine
from peft_study.errors import UserError, near_names
from peft_study.sweep.blocks import block_of, expand, is_group, read_blocks

STUDY = "+study"
_SETTING = re.compile(r"(?!hydra\.)[a-z_]+(\.\w+)+=")
_SEED = re.compile(r"seed=(\d+)")
_QUOTED_OPTION = re.compile(r"=(['\"])([\w./+-]+)\1$")
_REFERENCE_TO_SEED = "${seed}"


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a sweep, before it runs.

    Attributes:
        overrides: the overrides of the command line that compose it.
        cell: the typed config.
        folder: where its results go.
        refusal: why it cannot run; None if it can.
    """

    overrides: tuple[str, ...]
    cell: CellConfig
    folder: Path
    refusal: UserError | None

    def description(self, *, show_traceback: bool) -> dict[str, Any]:
        """Return what the process of the cell reads (`child.run`).

        Args:
            show_traceback: let the cell print the frames of an error.
        """
        return {"config": identity.plain(self.cell), "folder": str(self.folder), "show_traceback": show_traceback}

    def for_retry(self) -> Self:
        """Return the cell for its next attempt, after it ran out of memory in this sweep."""
        # What is left of the last attempt is work of this sweep, whatever the settings say about earlier work.
        return replace(self, cell=replace(self.cell, rerun=False, retry=Retry.all))


def plan_sweep(arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> list[PlannedCell]:
    """Expand a study, or a plain grid, into distinct composed cells, in the order in which they run.

    Args:
        arguments: the command line's overrides, with or without `+study=NAME`.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's config loader.

    Raises:
        UserError: an override does not compose, or the study has no such cell.
    """
    return compose_all(expand_sweep(arguments, master, loader), master, loader)


def expand_sweep(arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> list[tuple[str, ...]]:
    """Expand a study, or a plain grid, into the overrides of its cells. Different overrides may compose the same cell.

    Args:
        arguments: the command line's overrides, with or without `+study=NAME`.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's config loader.

    Raises:
        UserError: an override cannot be read, or the study has no such cell.
    """
    # Hydra's parser, so that quotes, globs and ranges mean what they mean on any command line of Hydra.
    command: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        key = override.get_key_element()
        if key == STUDY and (STUDY in command or override.is_sweep_override()):
            hint = "write a study with includes: [table3, figure3], or use +study=paper for all of the paper's"
            raise UserError(f"+study must name one study, got {override.input_line}", where=STUDY, hint=hint)
        command[key] = _values(override)
        # Hydra composed the master config with a single value, and so has checked it.
        if is_group(key) and override.is_sweep_override():
            _check_options(key, command[key], loader)
    studies = command.pop(STUDY, [])
    study: Any = OmegaConf.to_container(master.study, resolve=True)
    blocks = []
    if studies:
        blocks = _blocks(studies[0].partition("=")[2], study, loader)
        if study["name"] == StudyConfig().name:
            study["name"] = studies[0].partition("=")[2]
        command.setdefault("study.name", [f"study.name={study['name']}"])
    return expand(study["name"], blocks, command)


def _blocks(
    option: str, study: Mapping[str, Any], loader: ConfigLoader, within: tuple[str, ...] = ()
) -> list[dict[str, list[str]]]:
    """Return the blocks of the included studies, followed by those of the study itself."""
    file = yaml_of(f"study/{option}")
    blocks: list[dict[str, list[str]]] = []
    for name in study["includes"]:
        if name in (*within, option):
            raise UserError(f"study {name} includes itself", where=f"{file}, includes", hint=f"remove {name} there")
        try:
            included: Any = loader.load_configuration("config", [f"{STUDY}={name}"], RunMode.RUN).study
        except CONFIG_ERRORS as error:
            problem = explain(error)
            where = ", ".join(part for part in (f"{file}, includes", problem.where) if part)
            raise UserError(problem.what, where=where, hint=problem.hint) from error
        blocks += _blocks(name, OmegaConf.to_container(included, resolve=True), loader, (*within, option))  # type: ignore[arg-type]
    direct = read_blocks(file, study["common"], study["blocks"])
    for number, block in enumerate(direct, start=1):
        for key, values in block.items():
            if is_group(key):
                _check_options(key, values, loader, block_of(file, number))
    return blocks + direct


def compose_all(cells: Iterable[Sequence[str]], master: DictConfig, loader: ConfigLoader) -> list[PlannedCell]:
    """Compose cells. Of cells with the same identity, and therefore the same folder, keep the first.

    Args:
        cells: the overrides of each cell.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's config loader.

    Returns:
        the distinct cells, in the order of their first appearance.

    Raises:
        UserError: the overrides do not compose.
    """
    composer = _Composer(master, loader)
    planned: dict[Path, PlannedCell] = {}
    with _without_garbage_collection():
        for overrides in cells:
            cell = composer.cell(overrides)
            folder = folder_of(cell)
            planned.setdefault(folder, PlannedCell(tuple(overrides), cell, folder, next(problems(cell), None)))
    return list(planned.values())


# Thousands of composed configs stay alive, and each collection would visit all of them.
@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Composer:
    """Composes cells as Hydra does, but composes each combination of options only once, because that is slow.

    Settings (`group.key=value`) are applied to a copy of the composed options. Hydra applies them in the same order.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        cache_yaml_files(loader)
        self._master, self._loader = master, loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._replicates: dict[tuple[str, ...], CellConfig | None] = {}

    def cell(self, overrides: Sequence[str]) -> CellConfig:
        """Compose one cell.

        Raises:
            UserError: the overrides do not compose.
        """
        seed = next((match for override in overrides if (match := _SEED.fullmatch(override))), None)
        shared = tuple(override for override in overrides if not _SEED.fullmatch(override))
        # Composing takes most of the time, so cells that differ only in their seed are composed once.
        if shared not in self._replicates:
            with _errors_of(shared):
                config = self._config(shared)
                self._replicates[shared] = None if _REFERENCE_TO_SEED in str(config) else to_cell(config)
        replicate = self._replicates[shared]
        if replicate is None:
            with _errors_of(overrides):
                return to_cell(self._config(overrides))
        return replace(replicate, seed=int(seed[1])) if seed else replicate

    def _config(self, overrides: Sequence[str]) -> DictConfig:
        config = copy.deepcopy(self._of_options(tuple(line for line in overrides if not _SETTING.match(line))))
        for setting in self._parser.parse_overrides([line for line in overrides if _SETTING.match(line)]):
            _update(config, setting)
        return config

    def _of_options(self, options: tuple[str, ...]) -> DictConfig:
        if options not in self._composed:
            config = self._loader.load_sweep_config(self._master, list(options))
            OmegaConf.set_struct(config, False)
            del config["hydra"]  # not part of a cell, and three quarters of what each copy would hold
            OmegaConf.set_struct(config, True)
            self._composed[options] = config
        return self._composed[options]


@contextmanager
def _errors_of(overrides: Sequence[str]) -> Iterator[None]:
    """Turn an error of the composition into one that names the cell."""
    try:
        yield
    except (UserError, ValueError, *CONFIG_ERRORS) as error:
        problem = explain(error)
        cell = f"the cell {' '.join(overrides)}"
        where = cell if problem.where is None else f"{problem.where} in {cell}"
        raise UserError(problem.what, where=where, hint=problem.hint) from error


def _update(config: DictConfig, setting: Override) -> None:
    """Set one value as Hydra does, and name the setting in the error if its value does not fit."""
    try:
        OmegaConf.update(config, setting.key_or_group, setting.value(), merge=True)
    except OmegaConfBaseException as error:
        raise ConfigCompositionException(f"Error merging override {setting.input_line}\n") from error


def _check_options(group: str, overrides: Sequence[str], loader: ConfigLoader, where: str = "") -> None:
    """Refuse a mistyped option. Without this check, a study would treat it as an option that none of its cells has."""
    options = loader.get_group_options(group)
    for override in overrides:
        name = override.partition("=")[2]
        if options and name not in options:
            location = f"{where}, {override}" if where else override
            raise UserError(f"{group} has no option {name!r}", where=location, hint=near_names(name, options))


def _values(override: Override) -> list[str]:
    """Return an override for each of the values. Options of groups are written without quotes, as in a block."""
    line = str(override.input_line)
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [_without_quotes(line) if is_group(key) else line]
    value = line.partition("=")[2]
    # A file such as a,b.jsonl would become two cells, neither with data.
    if override.is_choice_sweep() and not is_group(key) and is_on_this_machine(value):
        what = f"{key} must be quoted, got {value}: commas separate values, but a path with this name exists"
        raise UserError(what, where=line, hint=shell_form(line))
    # interval(0,1) has no list of values: it is meant for sweepers that search.
    if not override.is_discrete_sweep():
        what = f"{key} must sweep over a finite list of values, got {value}"
        raise UserError(what, where=override.input_line, hint=f"{key}=A,B,C, or {key}=range(1,4) for integers")
    lines = [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [_without_quotes(line) for line in lines] if is_group(key) else lines


def _without_quotes(line: str) -> str:
    return _QUOTED_OPTION.sub(r"=\2", line)
