"""`first.task=mnli`: the same model, change and seed are trained on MNLI first, and the run starts from those weights.

The run before, its parent, is what the same words ask for with another task. Its run_id follows from its config, so
that the run's own is known before anything is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from gifine.choices import DataSource
from gifine.compose import checks
from gifine.compose.composition import unwrap
from gifine.compose.conf_dir import folders
from gifine.compose.overrides import parsed
from gifine.compose.quoting import quoted
from gifine.config import FirstConfig, RunConfig, SearchConfig, TrainConfig
from gifine.errors import ConfigError, DataError, PrefetchError, did_you_mean
from gifine.inputs import needs, offline, sources
from gifine.runs import identity
from gifine.schema import from_entries

_OWN = ("task", "output_dir", "overwrite")  # keys that say something of a run itself, not of its parent
_ELSEWHERE = "; first.data.source and first.data.dir say where the data of that run are"


@dataclass
class Parents:
    """The parents of many runs, each composed and checked once."""

    compose: Callable[[list[str]], RunConfig]
    config_dir: str | None = None
    known: dict[tuple[str, ...], RunConfig | ConfigError] = field(default_factory=dict)

    def settle(self, config: RunConfig, overrides: Sequence[str]) -> tuple[RunConfig, RunConfig | None, list[str]]:
        """The checked config of a run with its parent's run_id, and the parent with its words.

        A run on that very task is the parent itself: it has none, and keeps its weights.

        Raises:
            ConfigError: with every problem of the parent.
        """
        task = config.first.task
        if task is None:
            return config, None, []
        valid = self._tasks()
        if task not in valid:
            raise ConfigError(f"first.task={task}: no such task{did_you_mean(task, valid)}; valid: {', '.join(valid)}")
        words = [*(word for word in overrides if not _is_own(word)), f"task={task}"]
        words += [f"data.{key}={_written(value)}" for key, value in config.first.data.items()]
        parent = self._parent(words, task)
        if parent.task == config.task:
            return replace(parent, output_dir=config.output_dir, overwrite=config.overwrite), None, []
        return replace(config, first=replace(config.first, run=identity.run_id(parent))), parent, words

    def _parent(self, words: list[str], task: str) -> RunConfig:
        key = tuple(words)
        if key not in self.known:
            try:
                self.known[key] = _checked(self.compose(words))
            except ConfigError as error:
                told = (each + _ELSEWHERE * each.startswith("data=") for each in error.problems)
                self.known[key] = ConfigError(*(f"first.task={task}: {problem}" for problem in told))
        found = self.known[key]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _tasks(self) -> list[str]:
        return sorted({path.stem for folder in folders(self.config_dir) for path in (folder / "task").glob("*.yaml")})


def _is_own(word: str) -> bool:
    return parsed(word).key_or_group.split(".")[0] in _OWN


def _written(value: Any) -> str:
    """As a word of a command line has it."""
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _checked(config: RunConfig) -> RunConfig:
    """What is trained first, by the config of the same words with its task."""
    try:
        entries = {**asdict(config.train), **config.first.train, "save_model": True}
        train = from_entries(TrainConfig, entries)
    except OmegaConfBaseException as error:
        raise ConfigError(f"first.train: {unwrap(error)}") from error
    # A search draws for the run itself: all its trials start from the same.
    parent = replace(config, train=train, first=FirstConfig(), search=SearchConfig(), output_dir=None, overwrite=False)
    checks.check(parent)
    if missing := list(_missing(parent)):
        raise ConfigError(*missing)
    return parent


def _missing(config: RunConfig) -> Iterator[str]:
    """Data that are known not to be there: nobody should wait for a run whose children cannot start."""
    try:
        folder = offline.open_folder(config)
        data = config.data
        for task, split in needs.splits_needed(config):
            if folder is not None and data.source is not DataSource.demo and not folder.has_split(task, data, split):
                yield str(folder.lacks(f"the data of task={task.name}, {split}"))
            elif folder is None and data.source.is_official and task.files.train is None:
                sources.official(task, data, split)
    except (DataError, PrefetchError) as error:
        yield str(error)
