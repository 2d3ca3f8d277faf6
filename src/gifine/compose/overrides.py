"""KEY=VALUE as Hydra reads it, without composing: for single values of the schema, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gifine.config import RunConfig


@dataclass(frozen=True)
class Assignment:
    key: str  # dotted
    value: bool | int | float | str | Enum | None


@cache
def parsed(word: str) -> Override:
    """What Hydra takes an override for.

    Raises:
        OverrideParseException: for words that are none.
    """
    return OverridesParser.create().parse_override(word)


@cache
def assignment(word: str) -> Assignment | None:
    """The value that this override gives to its key; None for all that only Hydra can tell.

    That is choices of groups, `+`, `++` and `~`, lists and dictionaries, interpolations, and whatever is wrong.
    """
    try:
        override = parsed(word)
    except OverrideParseException:
        return None
    key, given = override.key_or_group, override.value()
    is_plain = override.type is not None and override.type.name == "CHANGE" and override.package is None
    if not is_plain or override.is_sweep_override() or not isinstance(given, (bool, int, float, str, type(None))):
        return None
    if isinstance(given, str) and (given == "???" or "${" in given):
        return None
    try:
        value = converted(key, given)
    except (OmegaConfBaseException, AttributeError):  # no such key, or another type
        return None
    return Assignment(key, value) if isinstance(value, (bool, int, float, str, Enum, type(None))) else None


def key_given(word: str) -> str:
    """The key that a word sets; empty for the choice of a group, which is made before, and for what is no override."""
    try:
        override = parsed(word)
    except OverrideParseException:
        return ""
    is_group = "." not in override.key_or_group and isinstance(override.value(), (str, type(None)))
    return "" if is_group else override.key_or_group


def overlaps(key: str, others: set[str]) -> bool:
    """Is the dotted key among the others, above one of them or below one?"""
    return any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in others)


def converted(key: str, value: Any) -> Any:
    """The value as the schema's type.

    Raises:
        AttributeError: for no key of the schema.
        OmegaConfBaseException: for a value of another type.
    """
    schema, (*parents, leaf) = _schema(), key.split(".")
    parent = OmegaConf.select(schema, ".".join(parents)) if parents else schema
    if not isinstance(parent, DictConfig) or not is_dataclass(OmegaConf.get_type(parent)):
        raise AttributeError(key)  # a dictionary's entry, which has no type
    OmegaConf.update(schema, key, value)
    return parent[leaf]


@cache
def _schema() -> DictConfig:
    return OmegaConf.structured(RunConfig)
