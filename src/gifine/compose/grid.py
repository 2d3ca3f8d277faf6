"""Many runs' configs, in seconds for thousands: what differs in single values only is composed by Hydra once.

Composing takes a tenth of a second. Of runs that choose the same groups and set the same keys, the first is composed;
the others are copies of its config in which these keys have their values. A test compares with composing each.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gifine.compose import change_keys, checks, recipes, renamed, search
from gifine.compose.composition import compose, opened, settled, spelled_out, typed, unwrap
from gifine.compose.conf_dir import conf_dir, own_folders
from gifine.compose.mistakes import explain
from gifine.compose.overrides import assignment, key_given, overlaps
from gifine.compose.parents import Parents
from gifine.compose.quoting import check_spelling
from gifine.config import RunConfig
from gifine.errors import ConfigError
from gifine.runs import identity

Shape = tuple[str, ...]
_OF_GRIDS = ("experiment", "site")  # groups whose files have a sweep, or a launcher

_REFERENCE = re.compile(r"\$\{([a-z_]\w*(?:\.\w+)*)\}")  # ${seed}, ${task.name}
_READS_NO_KEY = re.compile(r"\$\{oc\.env:[^${}]*\}")
_PUBLISHED = re.compile(r"\$\{published:\w+\}")


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's values: a run, which other cells may ask for, too."""

    overrides: list[str]
    config: RunConfig
    is_parent: bool = False  # not asked for, but trained first since others start from it

    @cached_property
    def run_id(self) -> str:
        """Hashed once: a sweep asks for it when it counts its runs, places them and submits them."""
        return identity.run_id(self.config)

    @property
    def folder(self) -> Path:
        """The folder that the run writes to."""
        return identity.directory(self.config, self.run_id)


def expand(overrides: list[str], config_dir: str | None = None, *, is_whole: bool = True) -> list[Cell]:
    """The runs that a command line with `--multirun` describes, checked; before a run the one that it starts from.

    Not `is_whole`: one run of a sweep, in which keys of GI may be for other runs.

    Raises:
        ConfigError: with every problem of any of them.
    """
    check_config_dir(config_dir)
    check_spelling(overrides)
    overrides = renamed.current(overrides, config_dir)
    grids = [overrides]
    try:
        grids = _grids([spelled_out(word, config_dir) for word in overrides], config_dir)
        runs = [run for words in grids for run in _split([spelled_out(word, config_dir) for word in words])]
        return _cells(runs, config_dir, is_whole=is_whole)
    except (ConfigError, HydraException) as error:
        said = error.problems if isinstance(error, ConfigError) else [unwrap(error)]
        problems = [problem for words in grids for problem in explain(words, config_dir, multirun=True)]
        # Values that are wrong together only are not among what is explained one by one.
        raise ConfigError(*dict.fromkeys(problems or said)) from error


def distinct(cells: Iterable[Cell]) -> dict[str, Cell]:
    """By run_id the first of the cells that ask for the same result, as baselines at several gi.level do.

    What is asked for itself goes before what others start from: it says whether it is to be made anew, and where.
    """
    chosen: dict[str, Cell] = {}
    for cell in cells:
        known = chosen.setdefault(cell.run_id, cell)
        if known.is_parent and not cell.is_parent:
            chosen[cell.run_id] = cell
    return chosen


def configs(runs: Iterable[list[str]], config_dir: str | None = None) -> list[RunConfig]:
    """The checked config of each of these runs, which are lists of overrides.

    Raises:
        ConfigError: with every problem of any of them.
    """
    return [cell.config for cell in _cells(runs, config_dir) if not cell.is_parent]


def _cells(runs: Iterable[list[str]], config_dir: str | None, *, is_whole: bool = True) -> list[Cell]:
    grid, found, problems, runs = _Grid(config_dir), list[Cell](), {}, list(runs)
    parents = Parents(lambda words: settled(grid.config(words), config_dir), config_dir)
    chosen: set[object] = set()
    for overrides in runs:
        try:
            config = grid.config(overrides)
            name = config.change.get("name")
            config = search.apply(settled(config, config_dir), overrides)
            chosen.add(name)  # only now: `settled` has refused what is no name
            checks.check(config)
            config, parent, words = parents.settle(config, overrides)
            if parent is not None:
                found.append(Cell(words, parent, is_parent=True))
            found.append(Cell(overrides, config))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(*problems)
    if is_whole:
        change_keys.check_one(chosen, (word for overrides in runs for word in overrides))
    return found


@dataclass
class _Grid:
    """What was composed so far. A shape is a run's overrides without the values of its assignments."""

    config_dir: str | None
    reads: dict[Shape, set[str] | None] = field(default_factory=dict)
    resolved: dict[Shape, RunConfig | ConfigError] = field(default_factory=dict)

    def config(self, overrides: list[str]) -> RunConfig:
        """The config of one run, not checked yet.

        Raises:
            ConfigError: if it cannot be composed.
        """
        cfg, (shape, values) = None, _shape(overrides, self.config_dir)
        if shape not in self.reads:
            cfg = self._compose(overrides)
            self.reads[shape] = _reads(cfg)
        reads = self.reads[shape]
        read = [f"{key}={value!r}" for key, value in values.items() if reads is None or overlaps(key, reads)]
        shape = (*shape, *read)
        if shape not in self.resolved:
            try:
                cfg = self._compose(overrides) if cfg is None else cfg
                self.resolved[shape] = cfg if isinstance(cfg, ConfigError) else typed(cfg)
            except ConfigError as error:
                self.resolved[shape] = error
        config = self.resolved[shape]
        if isinstance(config, ConfigError):
            raise config
        return _with(config, values)

    def _compose(self, overrides: list[str]) -> DictConfig | ConfigError:
        try:
            return compose(overrides, self.config_dir)
        except Exception as error:  # Hydra lets through whatever its parts raise
            return ConfigError(unwrap(error))


def _shape(overrides: list[str], config_dir: str | None) -> tuple[Shape, dict[str, Any]]:
    """The overrides in which `KEY=` stands for assignments, and the values of these.

    Only assignments whose keys no other word touches: the order of such words makes no difference.
    """
    words = [*map(opened, overrides)]
    found = {word: assigned for word in words if (assigned := assignment(word)) is not None}
    if any(word.lstrip("+").startswith("hydra.searchpath") for word in words):
        found = {}  # groups from elsewhere, which may have the names of keys
    if config_dir is not None:
        found = {word: each for word, each in found.items() if not (Path(config_dir) / each.key).is_dir()}
    touched = {key_given(word) for word in words if word not in found}
    found = {word: each for word, each in found.items() if not overlaps(each.key, touched)}
    shape = [f"{found[word].key}=" if word in found else word for word in words]
    values = {found[word].key: found[word].value for word in words if word in found}
    return tuple(shape), values


def _reads(cfg: DictConfig | ConfigError) -> set[str] | None:
    """The keys that the config's interpolations read; None if that cannot be told."""
    if isinstance(cfg, ConfigError):
        return set()
    found = set()
    for text in _texts(OmegaConf.to_container(cfg)):
        found.update(_REFERENCE.findall(text), recipes.READS if _PUBLISHED.search(text) else ())
        if "${" in reduce(lambda left, known: known.sub("", left), (_REFERENCE, _READS_NO_KEY, _PUBLISHED), text):
            return None
    return found


def _texts(node: Any) -> Iterator[str]:
    """The strings of a container that have interpolations."""
    if isinstance(node, str):
        yield from [node] if "${" in node else []
    elif isinstance(node, (dict, list)):
        for entry in node.values() if isinstance(node, dict) else node:
            yield from _texts(entry)


def _with(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    changed = copy.deepcopy(config)
    for key, value in values.items():
        *parents, leaf = key.split(".")
        setattr(reduce(getattr, parents, changed), leaf, value)
    return changed


def _split(words: list[str]) -> list[list[str]]:
    """All combinations, in the order of Hydra's own sweeper."""
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0]


def _grids(overrides: list[str], config_dir: str | None) -> list[list[str]]:
    """The overrides of each grid: after the sweep in the YAML of experiment=NAME, without what they overrule of it.

    `experiment=a,b` are two grids, one after the other.

    Raises:
        ConfigError: if one of several names another launcher, or other values for it, than the one that is used.
    """
    try:
        given = OverridesParser.create().parse_overrides(overrides)
        swept = [override for override in given if _is_of_grids(override)]
        used = _hydra(given, config_dir)
        choices = [(overrides, used)]
        if swept:
            parser = OverridesParser.create()
            choices = [(words, _hydra(parser.parse_overrides(words), config_dir)) for words in _chosen(given)]
    except Exception:  # Hydra lets through whatever its parts raise, and `explain` says it
        return [overrides]
    overruled = {override.get_key_element() for override in given}
    grids, problems = [], []
    for words, settings in choices:
        params = settings.sweeper.params or {}
        grids.append([*(f"{key}={value}" for key, value in params.items() if key not in overruled), *words])
        if OmegaConf.to_container(settings.launcher) != OmegaConf.to_container(used.launcher):
            name = settings.runtime.choices["hydra/launcher"]
            choice = " ".join(word for word, override in zip(words, given) if override in swept)
            problems.append(
                f"{choice}: its hydra/launcher={name} is not used, since {swept[0].input_line} are several: "
                f"give hydra/launcher={name} and its values on the command line, or one of them at a time"
            )
    if problems:
        raise ConfigError(*problems)
    return grids


def _chosen(given: list[Override]) -> Iterator[list[str]]:
    """The words with each combination of the experiments and sites that are swept."""
    options = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if _is_of_grids(override)
        else [str(override.input_line)]
        for override in given
    ]
    return map(list, itertools.product(*options))


def _is_of_grids(override: Override) -> bool:
    return override.key_or_group in _OF_GRIDS and override.is_discrete_sweep()


def _hydra(given: list[Override], config_dir: str | None) -> DictConfig:
    """Hydra's own settings, as it makes them of the words that are not swept."""
    fixed = [str(override.input_line) for override in given if not override.is_sweep_override()]
    return compose(fixed, config_dir, with_hydra=True).hydra


def check_config_dir(config_dir: str | None) -> None:
    """Raises a ConfigError for a folder that is not there, and for what Hydra would not read in one, and not say so.

    Of installed packages, too, whose folders stand beside it.
    """
    if config_dir and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir}: no such folder")
    known, unread = conf_dir(), []
    for folder in own_folders(config_dir):
        for path in sorted(known.rglob("*.yaml")):
            own = folder / path.relative_to(known)
            try:
                if own.is_file() and own.read_bytes() != path.read_bytes():
                    unread.append(own)
            except OSError as error:
                raise ConfigError(f"{own}: {error.strerror}") from error
    if unread:
        said = "gifine comes with one of this name, which is read instead; give yours another name"
        raise ConfigError(*(f"{own}: {said}" for own in unread))
