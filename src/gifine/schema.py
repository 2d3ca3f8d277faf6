"""A dataclass as the schema of entries that come from YAML, from words of a command line, or from JSON.

Its fields also say what decides the result of a run: all do, but `not_deciding` ones, and `deciding_if_set` ones at
their default. `runs/identity.py` makes the run_id of the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")


def from_entries(schema: type[T], entries: dict[Any, Any]) -> T:
    """The dataclass with these entries, each converted to the type of its field; fields without one keep the default.

    Raises:
        OmegaConfBaseException: for keys that the schema does not have, and values of another type.
    """
    found = OmegaConf.to_object(OmegaConf.merge(_empty(schema), OmegaConf.create(entries)))
    assert isinstance(found, schema)
    return found


def plain(value: Any) -> Any:
    """Entries of a dataclass, as `asdict` gives them, as JSON types: an Enum by its value."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


@cache
def _empty(schema: type) -> DictConfig:
    """With its defaults: to make one takes a third of the time, and `merge` copies it."""
    return OmegaConf.structured(schema)


def not_deciding(default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None) -> Any:
    """A field that decides nothing: where data and results lie, how results are shown and kept, what only rounds."""
    metadata = {"decides": False}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def deciding_if_set(default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None) -> Any:
    """A field that was added later: at its default a run is the one that it was without such a key."""
    metadata = {"decides_at_default": False}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def deciding(schema: type, entries: dict[str, Any]) -> dict[str, Any]:
    """A copy of the entries, which are of `schema` as JSON types, with those alone that decide the result.

    Keys that are not there are no error, nor are keys that the schema does not have: they stay.

    Raises:
        AttributeError: for something else than a mapping in the place of a dataclass.
    """
    idle, defaults, inner = _split(schema)
    kept = {key: value for key, value in entries.items() if key not in idle}
    for key, default in defaults.items():
        if key in kept and kept[key] == default:
            del kept[key]
    for key in inner.keys() & kept.keys():
        kept[key] = deciding(inner[key], kept[key])
        if entries[key] and not kept[key]:  # of a section that was added later nothing is set
            del kept[key]
    return kept


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def _split(schema: type) -> tuple[set[str], dict[str, Any], dict[str, type]]:
    """Fields that decide nothing, defaults of those that decide nothing at them, and dataclasses among the types."""
    hints = get_type_hints(schema)
    fields = dataclasses.fields(schema)
    idle = {field.name for field in fields if not field.metadata.get("decides", True)}
    later = [field for field in fields if not field.metadata.get("decides_at_default", True)]
    defaults = {each.name: plain(_default(each)) for each in later}
    inner = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    return idle, defaults, inner
