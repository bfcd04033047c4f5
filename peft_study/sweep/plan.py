"""From a sweep's command line to the cells that run and those that cannot."""

import copy
import gc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peft_study.config.checks import problems
from peft_study.config.compat import cache_yaml_files
from peft_study.config.compose import CONFIG_ERRORS, explain, folder_of, to_cell, yaml_of
from peft_study.config.grammar import shell_form
from peft_study.config.schema import CellConfig, StudyConfig
from peft_study.errors import UserError, near_names
from peft_study.sweep.blocks import block_of, expand, is_group, read_blocks

STUDY = "+study"
_SETTING = re.compile(r"(?!hydra\.)[a-z_]+(\.\w+)+=")
_SEED = re.compile(r"seed=(\d+)")


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a sweep, before it runs.

    Attributes:
        overrides: what composes it on the command line.
        cell: the typed config.
        folder: where its results go.
        refusal: why it cannot run; None where it can.
    """

    overrides: tuple[str, ...]
    cell: CellConfig
    folder: Path
    refusal: UserError | None


def plan_sweep(arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> list[PlannedCell]:
    """Expand a study, or a plain grid, into distinct composed cells, in the order in which they run.

    Args:
        arguments: the command line's overrides, `+study=NAME` among them or not.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's.

    Raises:
        UserError: an override does not compose, or there is no such cell.
    """
    return compose_all(expand_sweep(arguments, master, loader), master, loader)


def expand_sweep(arguments: Sequence[str], master: DictConfig, loader: ConfigLoader) -> list[tuple[str, ...]]:
    """Expand a study, or a plain grid, into the overrides of its cells; two may be one cell in other words.

    Args:
        arguments: the command line's overrides, `+study=NAME` among them or not.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's.

    Raises:
        UserError: an override that cannot be read, or there is no such cell.
    """
    command: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        key = override.get_key_element()
        if key == STUDY and (STUDY in command or override.is_sweep_override()):
            hint = (
                "a study of your own takes others in: includes: [table3, figure3]; +study=paper is all of the paper's"
            )
            raise UserError("one study at a time", where=STUDY, hint=hint)
        command[key] = _values(override)
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
    """The blocks of the studies that a study includes, and its own."""
    file = yaml_of(f"study/{option}")
    blocks: list[dict[str, list[str]]] = []
    for name in study["includes"]:
        if name in (*within, option):
            raise UserError(f"study {name} includes itself", where=f"{file}, includes", hint="leave it out")
        try:
            included: Any = loader.load_configuration("config", [f"{STUDY}={name}"], RunMode.RUN).study
        except CONFIG_ERRORS as error:
            found = explain(error)
            where = ", ".join(part for part in (f"{file}, includes", found.where) if part)
            raise UserError(found.what, where=where, hint=found.hint) from error
        blocks += _blocks(name, OmegaConf.to_container(included, resolve=True), loader, (*within, option))  # type: ignore[arg-type]
    own = read_blocks(file, study["common"], study["blocks"])
    for number, block in enumerate(own, start=1):
        for key, values in block.items():
            if is_group(key):
                _check_options(key, values, loader, block_of(file, number))
    return blocks + own


def compose_all(cells: Iterable[Sequence[str]], master: DictConfig, loader: ConfigLoader) -> list[PlannedCell]:
    """Compose cells, and keep the first of those that have one identity and therefore one folder.

    Args:
        cells: the overrides of each.
        master: the config that Hydra composed for the sweep as a whole.
        loader: Hydra's.

    Raises:
        UserError: the overrides do not compose.
    """
    composer = _Composer(master, loader)
    found: dict[Path, PlannedCell] = {}
    composed: dict[tuple[str, ...], CellConfig] = {}
    with _without_garbage_collection():
        for overrides in cells:
            # Cells that differ in the seed alone are composed once.
            seed = next((match for override in overrides if (match := _SEED.fullmatch(override))), None)
            shared = tuple(override for override in overrides if not _SEED.fullmatch(override))
            if shared not in composed:
                composed[shared] = composer.cell(shared)
            cell = replace(composed[shared], seed=int(seed[1])) if seed else composed[shared]
            folder = folder_of(cell)
            found.setdefault(folder, PlannedCell(tuple(overrides), cell, folder, next(problems(cell), None)))
    return list(found.values())


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
    """Composes cells as Hydra does, but each combination of options once: that is what takes the time.

    Settings (`group.key=value`) come on top of a copy of the composed options, which is Hydra's own order.
    """

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        cache_yaml_files(loader)
        self._master, self._loader = master, loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def cell(self, overrides: Sequence[str]) -> CellConfig:
        """Compose one.

        Raises:
            UserError: the overrides do not compose.
        """
        try:
            config = copy.deepcopy(self._of_options(tuple(each for each in overrides if not _SETTING.match(each))))
            for setting in self._parser.parse_overrides([each for each in overrides if _SETTING.match(each)]):
                _update(config, setting)
            return to_cell(config)
        except (UserError, ValueError, *CONFIG_ERRORS) as error:
            found = explain(error)
            cell = f"the cell {' '.join(overrides)}"
            where = cell if found.where is None else f"{found.where} in {cell}"
            raise UserError(found.what, where=where, hint=found.hint) from error

    def _of_options(self, options: tuple[str, ...]) -> DictConfig:
        if options not in self._composed:
            config = self._loader.load_sweep_config(self._master, list(options))
            OmegaConf.set_struct(config, False)
            del config["hydra"]  # three quarters of what would be copied, and no part of a cell
            OmegaConf.set_struct(config, True)
            self._composed[options] = config
        return self._composed[options]


def _update(config: DictConfig, setting: Override) -> None:
    """Set one value as Hydra does, and name the setting where its value does not fit."""
    try:
        OmegaConf.update(config, setting.key_or_group, setting.value(), merge=True)
    except OmegaConfBaseException as error:
        raise ConfigCompositionException(f"Error merging override {setting.input_line}\n") from error


def _check_options(group: str, overrides: Sequence[str], loader: ConfigLoader, where: str = "") -> None:
    """Refuse a mistyped option among several, which a study would otherwise pass over as one that it does not have."""
    options = loader.get_group_options(group)
    for override in overrides:
        name = override.partition("=")[2]
        if options and name not in options:
            place = f"{where}, {override}" if where else override
            raise UserError(f"{group} has no option {name!r}", where=place, hint=near_names(name, options))


def _values(override: Override) -> list[str]:
    line = str(override.input_line)
    if not override.is_sweep_override():
        return [line]
    key = override.get_key_element()
    value = line.partition("=")[2]
    if override.is_choice_sweep() and not is_group(key) and Path(value).expanduser().exists():
        raise UserError(
            f"{key} must be quoted, got {value}: its commas separate values, and there is one path of this name",
            where=line,
            hint=shell_form(line),
        )
    if not override.is_discrete_sweep():
        raise UserError(
            f"{key} sweeps over a range of real numbers, which has no end",
            where=override.input_line,
            hint=f"list the values, {key}=A,B,C, or whole numbers, {key}=range(1,4)",
        )
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
