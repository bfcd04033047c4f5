"""The settings that decide a cell's result, and the name that follows from them. Pure functions."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from peft_study.config.schema import CellConfig, ConventionsConfig, Weights

# Raise the version when the meaning of a setting changes, so that earlier results count as other cells. A default that
# changes has an entry in `FORMER_DEFAULTS` instead.
IDENTITY_VERSION = 1
Settings = TypeVar("Settings")
# Not scoring: the candidates are stored, and `python -m peft_study score` computes their scores again.
DECISIVE_GROUPS = ("model", "method", "dataset", "quantization", "training", "generation")
LATER_GROUPS = ("conventions",)
"""Groups that were added later: cells with their defaults keep their identity."""
HUB_SETTINGS = ("source", "hub_id", "hub_files", "revision", "validation_split")
# The method holds the learning rate, targets, preamble and retriever in force. Sizes only warn. The memory policy
# divides a step without changing it.
WITHOUT_EFFECT = frozenset(
    {
        ("model", "learning_rates"),
        ("model", "preamble"),
        ("model", "retriever"),
        ("dataset", "sizes"),
        ("training", "memory"),
        ("conventions", "name"),
        ("conventions", "ia3_learning_rate"),
        ("conventions", "lora_targets"),
        ("conventions", "example_leakage"),
    }
)
FORMER_DEFAULTS: dict[str, dict[str, Any]] = {"dataset": {"truncation": "separate"}, "method": {"leakage": "allow"}}
"""Defaults before they changed. Cells with the new default are other cells than earlier ones."""


def cell_name(cell: CellConfig, data_fingerprint: str | None = None, weights_fingerprint: str | None = None) -> str:
    """The readable name with the first eight hexadecimal digits of the settings' hash.

    Args:
        cell: the typed config.
        data_fingerprint: hash of the local files, in place of `dataset.path`.
        weights_fingerprint: hash of local weights, in place of `model.source`; None for weights of the hub.

    Returns:
        such as "codellama-7b-python_lora_conala_s42-1f0c9a7e". A quantization is named, and conventions other than the
        paper's.
    """
    settings = _cell_settings(cell, data_fingerprint, weights_fingerprint)
    canonical = json.dumps(settings, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    parts = [cell.model.name, cell.method.name, cell.dataset.name]
    if cell.quantization.bits is not None:
        parts.append(cell.quantization.name)
    if cell.conventions.name != ConventionsConfig.name:
        parts.append(cell.conventions.name)
    return f"{'_'.join(parts)}_s{cell.seed}-{digest}"


def settings_key(config: Mapping[str, Any]) -> str | None:
    """The hash of all settings that decide a recorded cell's result but the seed: replicates share it.

    Args:
        config: as `plain` gives it; an old or damaged record is allowed.

    Returns:
        sixteen hexadecimal digits; None if the record has no config. Local data and weights count by their path.
    """
    kept = _decisive_groups(config)
    if not kept.keys() & set(DECISIVE_GROUPS):
        return None
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _cell_settings(cell: CellConfig, data_fingerprint: str | None, weights_fingerprint: str | None) -> dict[str, Any]:
    """The settings that decide a cell's result: not the tracker, the hardware, the study or the place of files."""
    kept = _decisive_groups({group: vars(getattr(cell, group)) for group in DECISIVE_GROUPS + LATER_GROUPS})
    # Pretrained weights come with their own config, which decides.
    if cell.model.weights is Weights.pretrained:
        kept["model"].pop("architecture", None)
    # Local files count by content: a copy elsewhere is the same cell, and a changed file is another one.
    if kept["dataset"].pop("path", None) is not None:
        for setting in HUB_SETTINGS:
            kept["dataset"].pop(setting, None)
        kept["dataset"]["data_fingerprint"] = data_fingerprint
    if weights_fingerprint is not None:
        kept["model"]["source"] = weights_fingerprint
    return {"identity_version": IDENTITY_VERSION, "seed": cell.seed, **kept}


def _decisive_groups(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The decisive settings of each group of a config; a group that is not a mapping is left out."""
    kept = {
        group: _decisive(group, settings)
        for group in DECISIVE_GROUPS + LATER_GROUPS
        if isinstance(settings := config.get(group), Mapping)
    }
    if "method" in kept:
        data = config.get("dataset")
        without = _without_effect(config["method"], data if isinstance(data, Mapping) else {})
        kept["method"] = {name: value for name, value in kept["method"].items() if name not in without}
    # A group that was added later counts only if it says something, so that it does not divide older replicates.
    return {group: settings for group, settings in kept.items() if settings or group in DECISIVE_GROUPS}


def _decisive(group: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have an effect and differ from the default."""
    # A setting that is added later does not change the identity of older cells.
    default = _defaults()[group]
    kept = {
        name: value
        for name, value in settings.items()
        if (group, name) not in WITHOUT_EFFECT and (name not in default or value != default[name])
    }
    if group == "dataset" and _is_generated(settings) and not kept.keys() & {"max_prompt_tokens", "max_target_tokens"}:
        # Generated samples are shorter than the limits, so that truncation changes nothing.
        kept.pop("truncation", None)
    return kept


def _without_effect(method: Mapping[str, Any], dataset: Mapping[str, Any]) -> set[str]:
    """The settings about examples that change nothing for a method."""
    names: set[str] = set()
    if not leakage_counts(method, dataset):
        names.add("leakage")
    if method.get("examples", "none") == "none" and method.get("kind") != "prompting":
        names.add("retriever")
    return names


def leakage_counts(method: Mapping[str, Any], dataset: Mapping[str, Any]) -> bool:
    """Whether `method.leakage` can change a prompt, by the groups of a cell's config."""
    if method.get("examples", "none") == "none":
        return False
    # No two splits of the generated data share an instruction (tests/unit/test_minipy.py).
    return method.get("kind") != "prompting" or not _is_generated(dataset)


def _is_generated(dataset: Mapping[str, Any]) -> bool:
    return dataset.get("source") == "generated" and not dataset.get("path")


@cache
def _defaults() -> dict[str, Any]:
    defaults = plain(CellConfig())
    return {group: defaults[group] | FORMER_DEFAULTS.get(group, {}) for group in DECISIVE_GROUPS + LATER_GROUPS}


def plain(cell: CellConfig) -> dict[str, Any]:
    """The whole config as plain containers, ready for JSON and YAML."""
    # JSON turns the enums into their values.
    as_json: dict[str, Any] = json.loads(json.dumps(asdict(cell)))
    return as_json


def from_plain(values: Mapping[str, Any]) -> CellConfig:
    """Return the config that `plain` made containers of. Unlike `compose.to_cell`, it checks nothing, and is fast.

    Args:
        values: what `plain` returned, in this version of the package.
    """
    return _rebuild(CellConfig, values)


def _rebuild(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    types = _types(settings)  # type: ignore[arg-type]  # a class can be hashed
    return settings(**{name: _typed(types[name], value) for name, value in values.items()})


def _typed(kind: Any, value: Any) -> Any:
    if value is None or not isinstance(kind, type):
        return value
    if is_dataclass(kind):
        return _rebuild(kind, value)
    return kind(value) if issubclass(kind, Enum) else value


@cache
def _types(settings: type) -> dict[str, Any]:
    # Of an optional enum, the enum.
    hints = get_type_hints(settings)
    return {
        name: next((part for part in get_args(hint) if part is not NoneType), hint)
        if get_origin(hint) in (Union, UnionType)
        else hint
        for name, hint in hints.items()
    }
