"""The boundary to Hydra: from overrides to a typed, checked cell, and from Hydra's errors to readable ones."""

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peft_study.config.checks import check
from peft_study.config.compat import raw_node
from peft_study.config.grammar import SETTINGS_HINT, explain_several_values, explain_unread, shell_form
from peft_study.config.naming import folder_of, name_of
from peft_study.config.schema import CellConfig
from peft_study.errors import UserError, near_names

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""Errors of Hydra, OmegaConf and YAML that a command or a YAML causes; `explain` makes them readable."""
_PACKAGE = Path(__file__).resolve().parents[1]
_TYPES = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "bool": "true or false"}


def conf_folder() -> Path:
    """The folder of config groups: inside the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / "conf"  # where hatchling puts the folder when it builds a wheel
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def register() -> None:
    """Register the schema with Hydra, and the resolvers of conf/config.yaml with OmegaConf. Safe to call again."""
    _store_schema()
    # Hydra resolves interpolations in `hydra.mode` and `hydra.sweep` too, so conf/config.yaml derives folders and mode.
    OmegaConf.register_new_resolver("cell_name", lambda *, _root_: name_of(to_cell(_root_)), replace=True)
    OmegaConf.register_new_resolver(
        "run_mode", lambda *, _root_: "MULTIRUN" if _root_.study.blocks or _root_.study.includes else None, replace=True
    )
    OmegaConf.register_new_resolver(
        "study_folder", lambda *, _root_: str(folder_of(to_cell(_root_)).parent), replace=True
    )


@cache
def _store_schema() -> None:
    """Register the schema once, because OmegaConf takes longer to read its classes than Hydra to load a group."""
    ConfigStore.instance().store(name="schema", node=CellConfig)


def compose_cell(overrides: Sequence[str]) -> CellConfig:
    """Compose and check a cell outside of a Hydra application.

    Args:
        overrides: as on the command line, such as ["model=tiny-llama", "training.epochs=1"].

    Raises:
        UserError: the overrides do not compose, or break a rule.
    """
    register()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = compose("config", overrides=list(overrides))
    except CONFIG_ERRORS as error:
        raise explain(error) from error
    cell = to_cell(config)
    check(cell)
    return cell


def to_cell(config: DictConfig) -> CellConfig:
    """Convert a composed config into dataclasses.

    Raises:
        UserError: an unknown key, a wrong type, or a missing value.
    """
    try:
        if _fits(config):
            return CellConfig(**{str(name): _object(config, str(name)) for name in config if name != "hydra"})
        values = OmegaConf.to_container(config, resolve=False)
        assert isinstance(values, dict)
        values.pop("hydra", None)
        # Plain lists as well: JSON, and so peft's saved config, cannot hold OmegaConf's.
        cell = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(CellConfig), values))
    except OmegaConfBaseException as error:
        raise explain(error) from error
    assert isinstance(cell, CellConfig)
    return cell


def _fits(config: DictConfig) -> bool:
    """Whether the config has the schema and nothing else, so that `to_cell` need not merge the schema again."""
    names = _field_names(CellConfig)
    if OmegaConf.get_type(config) is not CellConfig or set(config) - {"hydra"} != names:
        return False
    nodes = [raw_node(config, name) for name in names]
    return all(
        set(node) == _field_names(OmegaConf.get_type(node))
        for node in nodes
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node))
    )


def _field_names(schema: Any) -> set[str]:
    return {spec.name for spec in fields(schema)}


def _object(config: DictConfig, name: str) -> Any:
    value = config[name]
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def explain(error: BaseException) -> UserError:
    """Turn an error of Hydra, OmegaConf or YAML into a UserError with the setting and near names.

    OmegaConf wraps a UserError that a resolver raises; it is returned.
    """
    wrapped = _user_error_in(error)
    if wrapped:
        return wrapped
    if isinstance(error, OverrideParseException):
        return explain_unread(error)
    text = f"{error}\n{error.__cause__ or ''}"
    # Hydra 1.3 has one class for many errors, and only the message says which one it is.
    several = re.search(r"Ambiguous value for argument '(.*)'\n1\. |Sweep parameters '(.*)' requires", text, re.DOTALL)
    if several:
        return explain_several_values(several[1] or several[2])
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _explain_option(str(error.missing_cfg_file), error.options)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return UserError(
            f"invalid YAML: {error.problem}",
            where=f"{mark.name}, line {mark.line + 1}" if mark else None,
            hint="check brackets, colons and indentation",
        )
    return _explain_group(_first_line(error)) or _explain_setting(error, text)


def yaml_of(option: str) -> str:
    """The name in errors of the YAML of an option such as "study/table3"."""
    inside = (conf_folder() / f"{option}.yaml").is_file()
    return f"conf/{option}.yaml" if inside else f"{option}.yaml in the folder of --config-dir"


def _explain_option(path: str, options: Sequence[str]) -> UserError:
    # Hydra's own groups have two parts, as in hydra/launcher=slurm.
    parts = path.split("/")
    depth = 2 if parts[0] == "hydra" else 1
    group, name = "/".join(parts[:depth]), "/".join(parts[depth:])
    what = f"{group} has no option {name!r}" if name else f"{group} must be one of its options, got nothing"
    return UserError(what, where=f"{group}={name}", hint=near_names(name, options))


def _explain_group(message: str) -> UserError | None:
    """The error for a group that needs a plus sign or has several values; None for another message."""
    added = _match(r"Could not override '([^']+)'\. No match in the defaults list", message)
    if added:
        what = f"{added} must be written +{added}, because not every cell has it"
        return UserError(what, where=f"{added}=...", hint=f"+{added}=...")
    repeated = _match(r"^Multiple values for (\S+)\. ", message)
    if repeated:
        what = f"{repeated} must be set once, got several values"
        return UserError(what, where=repeated, hint=f"+{repeated}=NAME or {repeated}=A,B")
    return None


def _explain_setting(error: BaseException, text: str) -> UserError:
    """The error for a setting that does not exist, cannot be deleted, or does not take its value."""
    full_key = _match(r"full_key: (\S+)", text) or ""
    file = _match(r"In '([^']+)'", text)
    unknown = _match(r"Key '([^']+)' (?:not in|is not in struct)", text)
    if unknown:
        return _explain_unknown(unknown, full_key or unknown, file)
    if "does not support deletion" in text:
        return UserError(
            f"{full_key} cannot be deleted, because every cell has it",
            where=f"~{full_key}",
            hint=f"{full_key}=null, or another option of the group such as method=zero-shot",
        )
    message = _first_line(error.__cause__ or error)
    if file and file.startswith("study/"):
        return UserError(
            f"invalid study: {message}",
            where=yaml_of(file),
            hint="blocks is a list of mappings (- model: [a, b]), common is a mapping, includes is a list of names",
        )
    override = _match(r"(?s)Error merging override (.+?)\n", text)
    # A text such as "[a b]" is a list in Hydra's grammar.
    if override and re.match("Cannot convert '(list|dict)' to string", message):
        return UserError(message, where=override, hint=f"a text is quoted: {shell_form(override)}")
    setting = full_key or override or ""
    return UserError(
        _expected(message, setting.partition("=")[0]),
        where=" ".join(part for part in (yaml_of(file) if file else "", setting) if part) or None,
        hint=SETTINGS_HINT,
    )


def _explain_unknown(key: str, full_key: str, file: str | None) -> UserError:
    node: Any = CellConfig()
    for part in full_key.split(".")[:-1]:
        node = getattr(node, part, None)
    siblings = _field_names(node) if is_dataclass(node) else ()
    return UserError(
        f"unknown setting {full_key!r}",
        where=yaml_of(file) if file else f"{full_key}=...",
        hint=near_names(key, siblings) if siblings else f"a new entry is written +{full_key}=...",
    )


def _expected(message: str, setting: str) -> str:
    """OmegaConf's message about a value, with the setting first."""
    value = re.match(r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)", message)
    if setting and value:
        return f"{setting} must be {_TYPES.get(value[2], f'of type {value[2]}')}, got {value[1]}"
    choice = re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", message)
    if setting and choice:
        return f"{setting} must be one of {choice[2]}, got {choice[1]}"
    return message


def _user_error_in(error: BaseException | None) -> UserError | None:
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _match(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Hydra's heading names the file, which `where` has already.
    lines = [line for line in lines if not line.endswith("raised while composing config:")]
    return lines[0] if lines else type(error).__name__
