"""What single runs need of the cluster: the launcher's keys, as entries of `hydra.launcher.resources` change them.

    resources:
      - {task: [qqp, mnli], timeout_min: 4320}
      - {model: debertav2, size: [xlarge, xxlarge], mem_gb: 96}

An entry names tasks, models or sizes, and values for their runs; of several that fit a run, later ones win. A key that
stands on the command line holds for all runs. Runs that need the same are submitted together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gifine.compose.composition import unwrap
from gifine.compose.conf_dir import conf_dir
from gifine.compose.launchers import SlurmConfig, keys, problems
from gifine.config import RunConfig
from gifine.errors import did_you_mean
from gifine.schema import from_entries

_WHEN = ("task", "model", "size")
_OF_THE_SWEEP = ("wait", "retry_failed", "snapshot", "resources", "max_array_size")
# One of them replaces the others: an entry for memory a GPU is not in the way of one for memory a node.
_ALTERNATIVES = (("mem_gb", "mem_per_gpu", "mem_per_cpu"), ("gres", "gpus_per_node"))


def of(config: RunConfig, settings: SlurmConfig, fixed: Collection[str] = ()) -> SlurmConfig:
    """The launcher's keys for one run; those in `fixed` are as they are in `settings`.

    Raises:
        OmegaConfBaseException: for values of another type than the key's.
    """
    held = {other for key in fixed for other in _alternatives(key)}
    values: dict[str, Any] = {}
    for entry in settings.resources:
        if _fits(entry, config):
            for key in entry.keys() - {*_WHEN, *held}:
                values |= dict.fromkeys(_alternatives(key)) | {key: entry[key]}
    return from_entries(SlurmConfig, {**asdict(settings), **values, "resources": []})


def _fits(entry: dict[str, Any], config: RunConfig) -> bool:
    run = {"task": config.task.name, "model": config.model.name, "size": config.model.size}
    return all(run[name] in _words(entry[name]) for name in _WHEN if name in entry)


def wrong(settings: SlurmConfig, configs: Iterable[RunConfig] = (), fixed: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with the entries: names, keys, and values. The runs' tasks and models may be the user's own.

    What is wrong without the entries is not told again. Of a key outside of them that does not go with an entry it is
    told once, under that key, if a run has both.
    """
    if not settings.resources:
        return
    runs = list(configs)
    told = {_key(problem) for problem in problems(settings)}
    valid = [key for key in keys(SlurmConfig) if key not in _OF_THE_SWEEP]
    known = _names(runs)
    for number, entry in enumerate(settings.resources):
        place = f"hydra.launcher.resources[{number}]"
        unknown = [key for key in entry if key not in (*_WHEN, *valid)]
        for key in unknown:
            near = did_you_mean(key, [*_WHEN, *valid])
            yield f"{place}.{key}: no such key{near}; valid: {', '.join(_WHEN)}; {', '.join(valid)}"
        for key in [key for key in _WHEN if key in entry]:
            for word in [word for word in _words(entry[key]) if word not in known[key]]:
                near, names = did_you_mean(str(word), known[key]), ", ".join(sorted(known[key]))
                yield f"{place}.{key}={word}: no such {key}{near}; valid: {names}"
        if not unknown:
            is_used = any(_fits(entry, config) for config in runs)
            yield from _values(settings, entry, place, fixed, told, is_used=is_used)


def _values(
    settings: SlurmConfig,
    entry: dict[str, Any],
    place: str,
    fixed: Collection[str],
    told: set[str],
    *,
    is_used: bool,
) -> Iterator[str]:
    held = {other for key in fixed for other in _alternatives(key)}
    values = {key: value for key, value in entry.items() if key not in (*_WHEN, *held)}
    others = {other: None for key in values for other in _alternatives(key) if other not in values}
    try:
        changed = from_entries(SlurmConfig, {**asdict(replace(settings, resources=[])), **others, **values})
    except OmegaConfBaseException as error:
        yield f"{place}: {unwrap(error)}"
        return
    for problem in problems(changed):
        key = _key(problem)
        if key in values:
            yield f"{place}: {problem.removeprefix('hydra.launcher.')}"
        elif is_used and key not in told:
            told.add(key)
            yield f"{problem} (with {place.removeprefix('hydra.launcher.')})"


def _key(problem: str) -> str:
    """The launcher's key that a problem is told of."""
    return re.split(r"[=:.]", problem.removeprefix("hydra.launcher."))[0]


def _alternatives(key: str) -> tuple[str, ...]:
    return next((names for names in _ALTERNATIVES if key in names), (key,))


def _words(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _names(configs: Iterable[RunConfig]) -> dict[str, set[str]]:
    """What conf/ calls its tasks, models and sizes, and what these runs do."""
    names: dict[str, set[str]] = {"task": {path.stem for path in (conf_dir() / "task").glob("*.yaml")}}
    models = [OmegaConf.load(path) for path in (conf_dir() / "model").glob("*.yaml")]
    names["model"] = {str(OmegaConf.select(model, "name")) for model in models} - {"None"}  # of an alias
    names["size"] = {str(size) for model in models for size in OmegaConf.select(model, "sizes") or {}}
    for config in configs:
        names["task"].add(config.task.name)
        names["model"].add(config.model.name)
        names["size"].add(config.model.size)
    return names
