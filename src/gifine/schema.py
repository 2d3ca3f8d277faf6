"""A dataclass as the schema of entries that come from YAML, from words of a command line, or from JSON."""

from __future__ import annotations

from typing import Any, TypeVar

from omegaconf import OmegaConf

T = TypeVar("T")


def from_entries(schema: type[T], entries: dict[Any, Any]) -> T:
    """The dataclass with these entries, each converted to the type of its field; fields without one keep the default.

    Raises:
        OmegaConfBaseException: for keys that the schema does not have, and values of another type.
    """
    found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(entries)))
    assert isinstance(found, schema)
    return found
