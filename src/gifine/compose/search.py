"""Random search: what `search.trial` draws from `search.space`, before a config is checked. No torch.

A value depends on search.seed, search.trial and its own key alone: whatever is compared over the same trials gets the
same values, and a key that is added to the space, or left out, changes no other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, reduce
from typing import Any, get_args, get_type_hints

from omegaconf.errors import OmegaConfBaseException

from gifine.compose.overrides import converted, key_given, overlaps
from gifine.config import HYPERPARAMETERS, ModelConfig, RunConfig, SearchConfig, TrainConfig
from gifine.errors import ConfigError, did_you_mean

_DIGITS = 3  # significant ones of a drawn number: it can be quoted, and given by hand
_ENTRIES = ("low", "high", "log", "values")
_FORMS = "{low: A, high: B}, {low: A, high: B, log: true} or {values: [A, B, …]}"


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    is_log: bool
    is_whole: bool

    def draw(self, fraction: float) -> float:
        """The number at this fraction, 0 … 1, of the range: uniform, or uniform in its logarithm."""
        half = 0.5 if self.is_whole else 0.0  # so that both ends are as likely as what is between
        low, high = self.low - half, self.high + half
        drawn = low * (high / low) ** fraction if self.is_log else low + fraction * (high - low)
        drawn = round(drawn) if self.is_whole else float(f"{drawn:.{_DIGITS}g}")
        return min(max(drawn, self.low), self.high)  # rounded, it may be outside


@dataclass(frozen=True)
class _Choice:
    values: list[Any]

    def draw(self, fraction: float) -> Any:
        return self.values[math.floor(fraction * len(self.values))]


def apply(config: RunConfig, words: Iterable[str] = ()) -> RunConfig:
    """The config with the trial's values; itself, changed, and as it is where search.trial is null.

    `words` are those of the command line: the keys that they set keep their values and leave the space.

    Raises:
        ConfigError: with every problem of the section `search`.
    """
    search = config.search
    if search == SearchConfig():
        return config
    space, problems = _read(search.space)
    if search.trial is not None and search.trial < 0:
        problems.append(f"search.trial={search.trial}: the trials are counted from 0 on; null for none")
    elif search.trial is not None and not search.space:
        problems.append(
            f"search.trial={search.trial}: search.space is empty, so all trials would be the same; "
            "experiment=random_search has a space"
        )
    if problems:
        raise ConfigError(*problems)
    if search.trial is None:
        return config
    given = {key for word in words if (key := key_given(word))}
    for key, options in space.items():
        if overlaps(key, given):
            continue
        fraction = random.Random(f"{search.seed} {search.trial} {key}").random()
        *parents, leaf = key.split(".")
        setattr(reduce(getattr, parents, config), leaf, converted(key, options.draw(fraction)))
    return config


def _read(space: dict[str, Any]) -> tuple[dict[str, _Range | _Choice], list[str]]:
    """What can be drawn by key, and the problems."""
    found: dict[str, _Range | _Choice] = {}
    problems: list[str] = []
    for key, entry in _flat("", space):
        try:
            found[key] = _options(key, entry)
        except ConfigError as error:
            problems += [f"search.space.{key}: {problem}" for problem in error.problems]
    return found, problems


def _flat(prefix: str, node: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Entries by dotted key: `{train: {epochs: …}}` and `{train.epochs: …}` are the same."""
    for name, entry in node.items():
        key = f"{prefix}{name}"
        is_section = isinstance(entry, dict) and entry and not entry.keys() & set(_ENTRIES)
        if is_section and key not in _keys():
            yield from _flat(f"{key}.", entry)
        else:
            yield key, entry


def _options(key: str, entry: Any) -> _Range | _Choice:
    kind = _kind(key)
    if not isinstance(entry, dict) or not entry:
        raise ConfigError(f"{entry!r}: give {_FORMS}")
    foreign = [name for name in entry if name not in _ENTRIES]
    if foreign:
        raise ConfigError(f"{foreign[0]}: no such entry; give {_FORMS}")
    if "values" in entry:
        if len(entry) > 1:
            raise ConfigError(f"values exclude {', '.join(name for name in entry if name != 'values')}")
        return _choice(key, entry["values"])
    if not {"low", "high"} <= entry.keys():
        raise ConfigError(f"needs low and high, or values; give {_FORMS}")
    if kind is None:
        raise ConfigError("its values are no numbers: give {values: [A, B, …]}")
    low, high, is_log = entry["low"], entry["high"], entry.get("log", False)
    for name, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, kind) or not math.isfinite(bound):
            raise ConfigError(f"{name}={bound}: must be a {'whole ' if kind is int else ''}number")
    if not isinstance(is_log, bool):
        raise ConfigError(f"log={is_log}: true or false")
    if low >= high:
        raise ConfigError(f"low={low:g} must be below high={high:g}")
    if is_log and low <= 0:
        raise ConfigError(f"low={low:g}: must be above 0 with log=true")
    return _Range(low, high, is_log, kind is int)


def _choice(key: str, values: Any) -> _Choice:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"values={values!r}: a list of at least one")
    found = []
    for value in values:
        try:
            found.append(converted(key, value))
        except OmegaConfBaseException as error:
            raise ConfigError(f"values: {value!r} is none of this key ({str(error).splitlines()[0]})") from error
    return _Choice(found)


def _kind(key: str) -> Any:
    """What numbers of a range are of: int, or int | float; None for keys that hold something else.

    Raises:
        ConfigError: for a key that is no hyper-parameter.
    """
    valid = _keys()
    if key not in valid:
        raise ConfigError(
            f"no hyper-parameter{did_you_mean(key, valid)}; valid: {', '.join(valid)}. Whatever is compared "
            "(gi), measured (task, data) or repeated (seed) is not drawn: give it as KEY=A,B"
        )
    schema: type = TrainConfig if key.startswith("train.") else ModelConfig
    hint = get_type_hints(schema)[key.rpartition(".")[2]]
    kinds = {hint, *get_args(hint)}
    return int | float if float in kinds else int if int in kinds else None


@cache
def _keys() -> list[str]:
    """The hyper-parameters: of each section those that decide."""
    found = []
    for section, schema in (("train", TrainConfig), ("model", ModelConfig)):
        decide = [field.name for field in fields(schema) if field.metadata.get("decides", True)]
        found += [key for name in decide if (key := f"{section}.{name}").startswith(HYPERPARAMETERS)]
    return found
