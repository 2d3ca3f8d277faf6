"""Words of a command line that Hydra cannot read, or reads as something else than was meant, and how to write them."""

from __future__ import annotations

import re
import types
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException

from gifine.compose.launchers import LAUNCHERS
from gifine.compose.overrides import parsed
from gifine.config import RunConfig
from gifine.errors import ConfigError

_LAUNCHER = "hydra.launcher."
_GROUPS = ("hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/hydra_logging")


def check_spelling(words: list[str]) -> None:
    """Raise a ConfigError for words about Hydra itself that it takes for something else, or refuses without advice."""
    problems = []
    for word in words:
        try:
            override = parsed(word)
        except HydraException:  # told by `explain`
            continue
        key = override.key_or_group
        group, value = key.replace(".", "/"), override.value()
        if key.startswith("hydra.") and isinstance(value, str) and group in _GROUPS:
            problems.append(f"{word}: {key} is a group of configs, which are chosen with a slash: {group}={value}")
        elif override.is_sweep_override() and override.is_hydra_override():
            problems.append(f"{word}: Hydra's own keys have one value in a sweep{quoting(word) or '; give one'}")
        for chosen in value.list if isinstance(value, ChoiceSweep) else [value]:
            if key == "change" and isinstance(chosen, list) and len(chosen) > 1:  # Hydra would mix their keys
                names = ",".join(map(str, chosen))
                problems.append(f"{word}: two changes at once; give one of them, or a sweep: --multirun {key}={names}")
    if problems:
        raise ConfigError(*problems)


def quoting(word: str) -> str:
    """How to write the word so that its value is text, quotes for a shell included; empty where text is not wanted."""
    key, _, value = word.partition("=")
    kind = _kind(key.lstrip("+"))
    if kind is None or not value:
        return ""
    if kind is str:
        wanted: str | list[str] = value
        written = f"{key}={quoted(value)}"
    else:
        inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        wanted = [each.strip() for each in inner.split(",")]
        written = f"{key}=[{','.join(map(quoted, wanted))}]"
    try:
        given: Any = parsed(written)._value  # value() does not look into lists
    except HydraException:
        return ""
    texts = [each.text for each in given] if isinstance(given, list) else given.text
    return f"; quote it: {_for_shell(written)}" if texts == wanted and written != word else ""


def quoted(text: str) -> str:
    """As Hydra reads it back."""
    escaped = text.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"


def _for_shell(word: str) -> str:
    """In double quotes, so that the single ones stay."""
    escaped = re.sub(r'([\\"$`])', r"\\\1", word)
    return f'"{escaped}"'


def _kind(key: str) -> type | None:
    """str or list, if that is what a key takes; None: something else, or it is no key."""
    if key.startswith(f"{_LAUNCHER}additional_parameters."):
        return str
    if key.startswith(_LAUNCHER):
        found = {_hint(schema, key.removeprefix(_LAUNCHER)) for schema in LAUNCHERS.values()} - {None}
        return next(iter(found), None)
    if key.startswith("hydra."):
        return str
    return _hint(RunConfig, key)


def _hint(schema: Any, dotted: str) -> type | None:
    for part in dotted.split("."):
        if not is_dataclass(schema) or part not in {each.name for each in fields(schema)}:
            return None
        schema = get_type_hints(schema)[part]
        if get_origin(schema) in (Union, types.UnionType):
            schema = next(each for each in get_args(schema) if each is not type(None))
    origin = get_origin(schema) or schema
    return origin if origin is str or schema == list[str] else None
