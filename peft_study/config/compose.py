"""The boundary to Hydra: from overrides to a typed, checked cell, and from Hydra's errors to readable ones."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peft_study.config import identity
from peft_study.config.checks import check, check_names
from peft_study.config.compat import raw_node
from peft_study.config.grammar import SETTINGS_HINT, explain_container, explain_several_values, explain_unread
from peft_study.config.schema import CellConfig, Weights
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.errors import UserError, near_names

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""Errors of Hydra, OmegaConf and YAML that a command or a YAML causes; `explain` makes them readable."""
SAMPLED_PARTS, SAMPLED_BYTES = 64, 16_384  # 1 MiB of each file
_PACKAGE = Path(__file__).resolve().parents[1]


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
    if OmegaConf.get_type(config) is not CellConfig or set(config) - {"hydra"} != _names(CellConfig):
        return False
    nodes = [raw_node(config, name) for name in _names(CellConfig)]
    return all(
        set(node) == _names(OmegaConf.get_type(node))
        for node in nodes
        if isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node))
    )


def _names(schema: Any) -> set[str]:
    return {spec.name for spec in fields(schema)}


def _object(config: DictConfig, name: str) -> Any:
    value = config[name]
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


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


def name_of(cell: CellConfig) -> str:
    """The cell's name, in which local data and local weights count by their content."""
    path, source = cell.dataset.path, cell.model.source
    return identity.cell_name(
        cell,
        data_fingerprint=_fingerprint(Path(path)) if path else None,
        weights_fingerprint=_weights_fingerprint(source)
        if source and cell.model.weights is Weights.pretrained
        else None,
    )


def _weights_fingerprint(source: str) -> str | None:
    """A hash of a local model: of its config, and of samples of its weights; None for a model of the hub."""
    folder = _PACKAGE / "models" / "tiny" / source.removeprefix(EMBEDDED_SOURCE)
    if not source.startswith(EMBEDDED_SOURCE):
        folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as weights:
            # Reading whole files of many GB would take minutes. Training changes every part, so samples are enough.
            for part in range(SAMPLED_PARTS):
                weights.seek(size * part // SAMPLED_PARTS)
                digest.update(weights.read(SAMPLED_BYTES))
    return digest.hexdigest()


def folder_of(cell: CellConfig) -> Path:
    """The folder of the cell's results: `<output_dir>/<study>/<name>`.

    Raises:
        UserError: an invalid name, such as one with a slash.
    """
    check_names(cell)
    return Path(cell.output_dir) / cell.study.name / name_of(cell)


def _fingerprint(path: Path) -> str:
    path = path.expanduser()
    files = [path / f"{split}.jsonl" for split in ("train", "validation", "test")] if path.is_dir() else [path]
    # A missing file is reported when the data is loaded, so that the other cells of a sweep still run.
    stamps = tuple((str(file), file.stat().st_mtime_ns) for file in files if file.is_file())
    return _hash_files(stamps) if stamps else f"missing:{path}"


# All cells of a sweep ask for the same files. A changed file has another time of its last change.
@lru_cache(maxsize=64)
def _hash_files(stamps: tuple[tuple[str, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _ in stamps:
        digest.update(Path(name).name.encode() + b"\0")
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
        # Hydra's own groups have two parts, as in hydra/launcher=slurm.
        parts = str(error.missing_cfg_file).split("/")
        depth = 2 if parts[0] == "hydra" else 1
        group, name = "/".join(parts[:depth]), "/".join(parts[depth:])
        what = f"{group} has no option {name!r}" if name else f"{group} must be one of its options, got nothing"
        return UserError(what, where=f"{group}={name}", hint=near_names(name, error.options))
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return UserError(
            f"invalid YAML: {error.problem}",
            where=f"{mark.name}, line {mark.line + 1}" if mark else None,
            hint="check brackets, colons and indentation",
        )
    added = _match(r"Could not override '([^']+)'\. No match in the defaults list", _first_line(error))
    if added:
        what = f"{added} must be written +{added}, because not every cell has it"
        return UserError(what, where=f"{added}=...", hint=f"+{added}=...")
    twice = _match(r"^Multiple values for (\S+)\. ", _first_line(error))
    if twice:
        what = f"{twice} must be set once, got several values"
        return UserError(what, where=twice, hint=f"+{twice}=NAME or {twice}=A,B")
    unknown = re.search(r"Key '([^']+)' (?:not in|is not in struct)", text)
    if unknown:
        return _unknown_key(text, unknown.group(1))
    if "does not support deletion" in text:
        deleted = _match(r"full_key: (\S+)", text) or ""
        return UserError(
            f"{deleted} cannot be deleted, because every cell has it",
            where=f"~{deleted}",
            hint=f"{deleted}=null, or another option of the group such as method=zero-shot",
        )
    where = _match(r"In '([^']+)'", text)
    if where and where.startswith("study/"):
        return UserError(
            f"invalid study: {_first_line(error.__cause__ or error)}",
            where=yaml_of(where),
            hint="blocks is a list of mappings (- model: [a, b]), common is a mapping, includes is a list of names",
        )
    override = _match(r"(?s)Error merging override (.+?)\n", text)
    what = _first_line(error.__cause__ or error)
    # A text such as "[a b]" is a list in Hydra's grammar.
    if override and re.match("Cannot convert '(list|dict)' to string", what):
        return explain_container(override, what)
    setting = _match(r"full_key: (\S+)", text) or override
    return UserError(
        _expected(what, (setting or "").partition("=")[0]),
        where=" ".join(part for part in (yaml_of(where) if where else "", setting or "") if part) or None,
        hint=SETTINGS_HINT,
    )


def yaml_of(option: str) -> str:
    """The name in errors of the YAML of an option such as "study/table3"."""
    inside = (conf_folder() / f"{option}.yaml").is_file()
    return f"conf/{option}.yaml" if inside else f"{option}.yaml in the folder of --config-dir"


_TYPES = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false", "bool": "true or false"}


def _expected(what: str, setting: str) -> str:
    """OmegaConf's message about a value, with the setting first."""
    value = re.match(r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)", what)
    if setting and value:
        return f"{setting} must be {_TYPES.get(value[2], f'of type {value[2]}')}, got {value[1]}"
    choice = re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", what)
    if setting and choice:
        return f"{setting} must be one of {choice[2]}, got {choice[1]}"
    return what


def _unknown_key(text: str, key: str) -> UserError:
    full_key = _match(r"full_key: (\S+)", text) or key
    parent = full_key.rpartition(".")[0]
    config_file = _match(r"In '([^']+)'", text)
    siblings = list(_keys_below(parent))
    return UserError(
        f"unknown setting {full_key!r}",
        where=yaml_of(config_file) if config_file else f"{full_key}=...",
        hint=near_names(key, siblings) if siblings else f"a new entry is written +{full_key}=...",
    )


def _keys_below(parent: str) -> Iterator[str]:
    node: Any = CellConfig()
    for part in parent.split(".") if parent else []:
        node = getattr(node, part, None)
    if is_dataclass(node):
        yield from (spec.name for spec in fields(node))


def _user_error_in(error: BaseException | None) -> UserError | None:
    while error is not None:
        if isinstance(error, UserError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _match(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Hydra's heading names the file, which `where` has already.
    lines = [line for line in lines if not line.endswith("raised while composing config:")]
    return lines[0] if lines else type(error).__name__
