"""The change that a config names, with its keys typed: one that comes with gifine, or a file of one's own. No torch.

Whatever is wrong is a ModelError; what a file of one's own raises has its name and line.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from gifine import changes, schema
from gifine.changes.contract import SITES, Change, Constant, Normal, Parameter, Place, Settings, Sizes, Uniform
from gifine.errors import ModelError, did_you_mean, first_line
from gifine.inputs import own_changes
from gifine.inputs.families import common_names, normalise_type
from gifine.inputs.own_changes import FILE, NAME, told

__all__ = [
    "FILE",
    "NAME",
    "defaults",
    "describe",
    "load",
    "own_defaults",
    "parameters",
    "parameters_of",
    "places",
    "problems",
    "problems_of",
    "settings",
    "sizes",
    "told",
    "unusual",
]


def load(entries: Mapping[str, Any]) -> Change:
    """The change that a config's `change` names: by `file`, or by `name` one that comes with gifine.

    Raises:
        ModelError: for a name that is none, and for a file with an error in it.
    """
    name, file = entries[NAME], entries.get(FILE)
    if file is not None:
        return own_changes.load(str(name), str(file))
    known = changes.names()
    if name not in known:
        raise ModelError(f"change={name}: no such change{did_you_mean(str(name), known)}; valid: {', '.join(known)}")
    return changes.load(name)


def settings(change: Change, entries: Mapping[str, Any]) -> Settings:
    """The change's own entries of a config's `change`, as its dataclass; what is not given has its default.

    Raises:
        ModelError: with each key that it does not have, and each value of another type, on a line.
    """
    given = {key: value for key, value in entries.items() if key not in (NAME, FILE)}
    return copy.deepcopy(_settings(change, json.dumps(given)))


@lru_cache(maxsize=256)  # here and below: thousands of runs of a sweep have the same
def _settings(change: Change, text: str) -> Settings:
    given = json.loads(text)
    valid, problems = [field.name for field in fields(change.Settings)], []
    usual = defaults(change)
    for key, value in given.items():
        try:
            if key not in valid:
                problems.append(
                    f"change.{key}: change={change.name} has no such key{did_you_mean(key, valid)}; "
                    f"valid: {', '.join(valid)}"
                )
            elif isinstance(value, float) and not math.isfinite(value):
                problems.append(f"change.{key}={value}: must be a finite number")
            elif isinstance(usual.get(key), list) and not isinstance(value, list | tuple):
                problems.append(f"change.{key}={_typed(value)}: must be a list, as [{', '.join(map(str, usual[key]))}]")
            else:
                schema.from_entries(change.Settings, {key: value})
        except OmegaConfBaseException as error:
            problems.append(f"change.{key}={_typed(value)}: {first_line(error)}")
    if problems:
        raise ModelError("\n".join(problems))
    with told(change):
        return schema.from_entries(change.Settings, given)


def unusual(entries: Mapping[str, Any]) -> dict[str, str]:
    """By key what a name shows of those entries that are not the defaults: `last6`, `rank8`.

    Raises:
        ModelError: as `load`.
    """
    usual = defaults(load(entries))
    found = {key: value for key, value in entries.items() if key in usual and value != usual[key]}
    return {key: f"last{value}" if key == "layers" else f"{key}{_shown(value)}" for key, value in found.items()}


def defaults(change: Change) -> dict[str, Any]:
    """The change's keys at their defaults, as JSON types."""
    with told(change):
        return schema.plain(asdict(change.Settings()))


def own_defaults(entries: Mapping[str, Any]) -> dict[str, Any] | None:
    """For a record, whose readers do not execute the file, a change of one's own at its defaults; None for another."""
    return defaults(load(entries)) if entries.get(FILE) is not None else None


def _typed(value: Any) -> Any:
    """A value as it is written on a command line."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-null", True: "-true", False: "-false"}[value]
    if isinstance(value, list):
        return "".join(f"-{entry}" for entry in value)
    return f"{value:g}" if isinstance(value, float) else f"-{value}" if isinstance(value, str) else str(value)


def problems(change: Change, chosen: Settings, sizes: Sizes) -> Iterator[str]:
    """What is wrong with values, alone or for a model of these sizes."""
    with told(change):
        said = change.check(chosen, sizes)
        if isinstance(said, str):  # else each of its letters would be a problem
            raise ModelError(f"change={change.name}: check: gives a text: it yields each problem, or gives a list")
        found = [f"change.{problem}" for problem in said]
    layers, depth = chosen.layers, sizes.depth
    if layers is not None and layers < 1:
        found.append(f"change.layers={layers}: number of last layers that are changed, at least 1; null for all")
    elif layers is not None and depth is not None and layers > depth:
        found.append(f"change.layers={layers}: the model has {depth} layers")
    if not found:  # else the values may make no sense to what is called here
        try:
            parameters(change, chosen, sizes)
        except ModelError as error:
            found = [str(error)]
    yield from found


def problems_of(entries: Mapping[str, Any], sizes: Sizes) -> tuple[str, ...]:
    """`problems` of a config's `change`.

    Raises:
        ModelError: as `load` and `settings`.
    """
    return _problems_of(load(entries), json.dumps(entries), sizes)


@lru_cache(maxsize=256)
def _problems_of(change: Change, text: str, sizes: Sizes) -> tuple[str, ...]:
    return tuple(problems(change, settings(change, json.loads(text)), sizes))


def places(change: Change, chosen: Settings, sizes: Sizes) -> list[Place]:
    """Where the change sits in a model of these sizes; empty while one of them is not known.

    Raises:
        ModelError: for sites and layers that do not exist.
    """
    with told(change):
        sites = list(change.find_sites(chosen))
    for site in sites:
        if site not in SITES:
            raise ModelError(
                f"change={change.name}: '{site}': no such site{did_you_mean(str(site), SITES)}; "
                f"valid: {', '.join(SITES)}"
            )
    if not sites or len(set(sites)) < len(sites):
        raise ModelError(f"change={change.name}: its sites are {', '.join(sites) or 'none'}: at least one, each once")
    depth, hidden, heads, inner = sizes.depth, sizes.hidden, sizes.heads, sizes.inner
    if depth is None or hidden is None or heads is None or inner is None:
        return []
    with told(change):
        layers = list(change.find_layers(chosen, depth))
    if not layers or not set(layers) <= set(range(depth)):
        raise ModelError(f"change={change.name}: its layers are {layers}: the model has 0 … {depth - 1}")
    taken = {"weights": 0, "context": 0, "output": hidden, "ffn_output": inner}
    given = {"weights": 0, "ffn": inner}
    return [
        Place(site, layer, depth, hidden, heads, inner, taken.get(site, hidden), given.get(site, hidden))
        for layer in layers
        for site in sites
    ]


def parameters(change: Change, chosen: Settings, sizes: Sizes) -> int | None:
    """How many numbers the change learns in a model of these sizes; None while one of them is not known.

    Raises:
        ModelError: for parameters that are none.
    """
    found = places(change, chosen, sizes)
    counted = 0
    for place in found:
        where = f"change={change.name}: find_parameters"
        with told(change):
            own = change.find_parameters(chosen, place)
        if not isinstance(own, Mapping):
            raise ModelError(f"{where}: gives {own!r}: a Parameter by each name; {{}} for none")
        for name, parameter in own.items():
            if not isinstance(parameter, Parameter) or not _is_shape(parameter.shape):
                raise ModelError(
                    f"{where}: {name} is {parameter!r}: a Parameter, whose shape is a tuple of whole numbers above 0"
                )
            if not _is_start(parameter.start):
                raise ModelError(
                    f"{where}: {name} starts from {parameter.start!r}: valid are Normal(std), Uniform(bound) and "
                    "Constant(value)"
                )
            parts = name.split(".") if isinstance(name, str) else []
            if not 1 <= len(parts) <= 2 or not all(part.isidentifier() for part in parts):
                raise ModelError(f"{where}: '{name}' is no name: NAME or GROUP.NAME")
            counted += math.prod(parameter.shape)
    return counted if found else None


def parameters_of(entries: Mapping[str, Any], sizes: Sizes) -> int | None:
    """`parameters` of a config's `change`.

    Raises:
        ModelError: as `load`, `settings` and `parameters`.
    """
    return _parameters_of(load(entries), json.dumps(entries), sizes)


@lru_cache(maxsize=256)
def _parameters_of(change: Change, text: str, sizes: Sizes) -> int | None:
    return parameters(change, settings(change, json.loads(text)), sizes)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(isinstance(size, int) and size > 0 for size in shape)


def _is_start(start: object) -> bool:
    if isinstance(start, Normal) and start.std is None:
        return True
    of = start.std if isinstance(start, Normal) else start.bound if isinstance(start, Uniform) else None
    of = start.value if isinstance(start, Constant) else of
    return isinstance(of, int | float) and math.isfinite(of)


def describe(change: Change, chosen: Settings, known: Mapping[str, Any]) -> dict[str, Any]:
    """For a record: the change's sites and layers in a model with these entries of config.json.

    `positions` is which reading was taken where a projection has two, that of content and that of relative positions
    as well (DeBERTa with share_att_key): `content` or `positions`; None where there is one.
    """
    found = places(change, chosen, sizes(known))
    sites = list(dict.fromkeys(place.site for place in found))
    is_deberta = normalise_type(known.get("model_type")) == "deberta_v2"
    has_two = is_deberta and known.get("relative_attention") and known.get("share_att_key")
    reading = "positions" if getattr(chosen, "positions", False) else "content"
    return {
        NAME: change.name,
        "sites": sites,
        "layers": sorted({place.layer for place in found}),
        "positions": reading if has_two and {"query", "key"} & {*sites} else None,
    }


def sizes(known: Mapping[str, Any]) -> Sizes:
    """What a change is told of a config.json's model."""
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    known = common_names(known)
    return Sizes(*(value if isinstance(value := known.get(key), int) else None for key in keys))
