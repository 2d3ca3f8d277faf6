"""What runs read from the network and from the official files, each thing once however many runs share it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gifine.choices import DataSource
from gifine.config import DEMO, ModelConfig, RunConfig, TaskConfig
from gifine.errors import DataError, ModelError
from gifine.inputs import generators, packaged
from gifine.inputs.model_files import CONFIG, OVER, locate, source
from gifine.inputs.rows import missing_file

GLUE = "glue"  # below a prefetched folder: the official files


@dataclass(frozen=True)
class Repository:
    """A checkpoint or tokenizer on the Hub."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.revision or 'main'}"


@dataclass(frozen=True)
class HubSplit:
    """One split of a dataset on the Hub."""

    path: str
    name: str | None
    split: str

    def __str__(self) -> str:
        return f"{self.path}/{self.name or 'default'}/{self.split}"

    def fingerprint(self, own: str) -> str:
        """The one that a record has, of the library's own, which covers repository, commit, config and split."""
        return f"{self.path}/{self.name}/{self.split}/{own}"


@dataclass
class Needs:
    """What of the network and of local data a number of runs read, each thing once."""

    repositories: dict[Repository, bool] = field(default_factory=dict)  # with weights?
    splits: list[HubSplit] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)  # the official ones: name below data.dir
    configs: list[RunConfig] = field(default_factory=list)  # one for each tokenised dataset


def collect(configs: Iterable[RunConfig]) -> Needs:
    """What these runs read.

    Raises:
        DataError: for official files that are not there, or come from two folders.
    """
    configs = list(configs)
    wanted = Needs(configs=tokenised(configs))
    for config in configs:
        for repository, weights in repositories_of(config):
            wanted.repositories[repository] = weights or wanted.repositories.get(repository, False)
        wanted.splits += [split for split in _hub_splits(config) if split not in wanted.splits]
        for name, path in _official_files(config).items():
            if wanted.files.setdefault(name, path) != path:
                raise DataError(f"{wanted.files[name]} and {path}: one prefetched folder holds one {name}")
    return wanted


def tokenised(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Of the configs that give the same tokens, the first."""
    chosen = {}
    for config in configs:
        model, checkpoint = config.model, source(config.model)
        tokenizer = (model.tokenizer, model.family) if model.tokenizer else (checkpoint, model.revision)
        chosen.setdefault(repr((config.task, config.data, tokenizer, config.train.max_length)), config)
    return list(chosen.values())


def from_hub(configs: Iterable[RunConfig]) -> set[Repository | HubSplit]:
    """What these runs read from the Hub."""
    repositories_read = {repository for config in configs for repository, _ in repositories_of(config)}
    return repositories_read | {split for config in configs for split in _hub_splits(config)}


def repositories_of(config: RunConfig) -> Iterator[tuple[Repository, bool]]:
    """What of the Hub a run reads as models, each with whether its weights are among that."""
    yield from repositories(config.model)
    if isinstance(generator := generators.checkpoint(config), str):
        yield Repository(generator), True


def repositories(model: ModelConfig) -> Iterator[tuple[Repository, bool]]:
    """What of the Hub this model reads, each with whether its weights are among that."""
    checkpoint = Repository(source(model), model.revision)
    if isinstance(locate(checkpoint.name), str):
        own_config = model.random_init and model.checkpoint is not None  # of its config.json; a size has its own
        if not model.random_init or own_config or model.tokenizer is None:
            yield checkpoint, not model.random_init
    elif not model.random_init and model.base is None and (below := base(Path(locate(checkpoint.name)))) is not None:
        yield below, True
    if model.tokenizer not in (None, DEMO) and isinstance(locate(model.tokenizer), str):
        yield Repository(model.tokenizer), False


def base(folder: Path) -> Repository | None:
    """What of the Hub the weights in a folder were trained over, if it holds trained parameters alone."""
    try:
        over = json.loads((folder / CONFIG).read_text(encoding="utf-8"))[OVER]
        place = locate(str(over["checkpoint"]))
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        ModelError,
    ):  # not such a folder; or loading says what is wrong
        return None
    return base(place) if isinstance(place, Path) else Repository(place, over.get("revision"))


def hub_split(task: TaskConfig, split: str) -> HubSplit | None:
    """Where a task's split is on the Hub, or None if the task does not say."""
    layout = task.splits.get(split)
    if task.hub.path is None or layout is None or layout.hub is None:
        return None
    return HubSplit(task.hub.path, layout.hub_name or task.hub.name, layout.hub)


def splits_read(task: TaskConfig) -> list[str]:
    """The splits that a run reads, those of the test set left out."""
    return list(dict.fromkeys([task.train_split, *task.evaluation_splits]))


def splits_needed(config: RunConfig) -> list[tuple[TaskConfig, str]]:
    """The splits without which a run cannot start, each with its task: its own, or those of data.sentences_of."""
    if config.data.files:
        return []
    if config.data.sentences_of:
        return [*texts_trained(config), *texts_scored(config)]
    task = config.task
    splits = [task.train_split] if task.objective.pretrains else splits_read(task)  # what is held out is of the same
    return [(task, split) for split in splits]


def texts_trained(config: RunConfig) -> list[tuple[TaskConfig, str]]:
    """The training sets of the tasks in data.sentences_of, whose texts are pre-trained on."""
    tasks = [packaged.task(name) for name in config.data.sentences_of]
    return [(task, task.train_split) for task in tasks]


def texts_scored(config: RunConfig) -> list[tuple[TaskConfig, str]]:
    """What models are scored on of all tasks in the source of `texts_trained`: no text of it may be pre-trained on.

    Of official files those that are there; of the Hub those of the same repositories.
    """
    folder, hubs = official_folder(config), {task.hub.path for task, _ in texts_trained(config)}
    found = []
    for task in map(packaged.task, packaged.tasks() if hubs else []):
        for split in dict.fromkeys([*task.evaluation_splits, *task.test_splits]):
            if config.data.source is DataSource.hub:
                is_there = task.hub.path in hubs and hub_split(task, split) is not None
            else:
                partial = config.data.allow_partial and split in task.evaluation_splits
                names = official_names(task, split, allow_partial=partial)
                is_there = folder is not None and any((folder / name).is_file() for name in names)
            found += [(task, split)] if is_there else []
    return found


def official_names(task: TaskConfig, split: str, *, allow_partial: bool) -> list[str]:
    """The official files that hold a split, best first, below data.dir."""
    layout = task.splits.get(split)
    name = None if layout is None else layout.official
    if name is None:
        return []
    return [name, partial_name(name)] if allow_partial else [name]


def partial_name(name: str) -> str:
    """The file that holds the beginning of another one: train.part.tsv."""
    return str(Path(name).with_suffix(f".part{Path(name).suffix}"))


def official_file(folder: Path, name: str, *, allow_partial: bool) -> Path:
    """`folder`/`name`, or its beginning if only that is there and `allow_partial` permits it.

    Raises:
        DataError: if neither is there, or the beginning alone and not permitted.
    """
    path, partial = folder / name, folder / partial_name(name)
    if path.is_file():
        return path
    if not partial.is_file():
        raise missing_file(path)
    if not allow_partial:
        raise DataError(f"no file {path}, only the partial {partial.name}: data.allow_partial=true takes it")
    return partial


def official_folder(config: RunConfig) -> Path | None:
    """The folder of the official files that a run reads: the prefetched copy's, or data.dir."""
    if config.prefetch is not None:
        return Path(config.prefetch).expanduser() / GLUE
    return None if config.data.dir is None else Path(config.data.dir).expanduser()


def _hub_splits(config: RunConfig) -> Iterator[HubSplit]:
    """Those of the test set, too: predictions for GLUE's server are made where the weights are."""
    if config.data.source is not DataSource.hub or config.task.files.train is not None or config.data.files:
        return
    for task, split in _task_splits(config):
        where = hub_split(task, split)
        if where is not None:
            yield where


def _official_files(config: RunConfig) -> dict[str, Path]:
    data = config.data
    if not data.source.is_official or data.dir is None or config.task.files.train is not None:
        return {}
    folder, found = Path(data.dir).expanduser(), {}
    for task, split in _task_splits(config):
        names = official_names(task, split, allow_partial=False)
        if not names or (split in task.test_splits and not (folder / names[0]).is_file()):
            continue  # a run does without a test set
        path = official_file(folder, names[0], allow_partial=data.allow_partial)
        found[str(path.relative_to(folder))] = path
    return found


def _task_splits(config: RunConfig) -> list[tuple[TaskConfig, str]]:
    """All splits that a run, and what is asked of its model later, may read."""
    if config.data.sentences_of:
        return [*texts_trained(config), *texts_scored(config)]
    task = config.task
    return [(task, split) for split in dict.fromkeys((*splits_read(task), *task.test_splits))]
