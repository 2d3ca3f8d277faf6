"""Dataclasses as schemas: entries held against their types, and what of them decides a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import pytest
from omegaconf.errors import OmegaConfBaseException

from gifine import schema
from gifine.schema import deciding_if_set, not_deciding


class Colour(Enum):
    red = "red"
    blue = "blue"


@dataclass
class Inner:
    size: int = 1
    colour: Colour = deciding_if_set(Colour.red)
    place: str | None = not_deciding(None)


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    shown: Inner = not_deciding(factory=Inner)
    names: list[str] = field(default_factory=list)


def test_entries_become_the_types_of_their_fields():
    assert schema.from_entries(Outer, {"inner": {"size": "3", "colour": "blue"}}) == Outer(Inner(3, Colour.blue))
    assert schema.from_entries(Inner, {}) == Inner()


@pytest.mark.parametrize("entries", [{"inner": {"sise": 3}}, {"inner": {"size": "three"}}, {"names": "one"}])
def test_other_keys_and_types_are_refused(entries):
    with pytest.raises(OmegaConfBaseException):
        schema.from_entries(Outer, entries)


def test_a_field_says_whether_it_decides():
    entries = {"inner": {"size": 3, "colour": "red", "place": "here"}, "shown": {"size": 2}, "names": ["one"]}
    assert schema.deciding(Outer, entries) == {"inner": {"size": 3}, "names": ["one"]}
    assert entries["inner"] == {"size": 3, "colour": "red", "place": "here"}, "a copy"
    assert schema.deciding(Outer, {"inner": {"colour": "blue"}}) == {"inner": {"colour": "blue"}}


def test_of_older_and_newer_entries_what_is_there_counts():
    assert schema.deciding(Outer, {"inner": {}, "added": 1}) == {"inner": {}, "added": 1}
    with pytest.raises(AttributeError):
        schema.deciding(Outer, {"inner": "none of ours"})


def test_what_is_made_of_one_schema_shares_nothing():
    first = schema.from_entries(Outer, {"inner": {"size": 2}})
    first.names.append("a")
    second = schema.from_entries(Outer, {})
    assert (second.names, second.inner.size) == ([], 1)
