"""The folder that `python -m gifine.prefetch` fills and that a run with prefetch=FOLDER reads instead of the network.

    manifest.json             what is there; of checkpoints, only what it names is whole
    hub/                      checkpoints and tokenizers, in the layout of the Hub's own cache
    data/PATH/NAME/SPLIT/     the Hub's datasets, as `datasets` saves them
    glue/CoLA/train.tsv …     the official files, for data=glue_dir
    tokenised/                what dataset.py would make and keep in its cache

A run writes nothing into it. Folders and files of the user's own, and Python packages, stay where they are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from gifine import __version__
from gifine.choices import DataSource, Objective, Quoting
from gifine.config import DataConfig, ModelConfig, RunConfig, TaskConfig
from gifine.errors import PrefetchError
from gifine.inputs import generators, model_files
from gifine.inputs.needs import (
    GLUE,
    HubSplit,
    Repository,
    base,
    hub_split,
    official_names,
    repositories,
    repositories_of,
    splits_needed,
)
from gifine.machine import disk

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
HUB, DATA, TOKENISED = "hub", "data", "tokenised"


@dataclass
class Snapshot:
    """A repository at one commit."""

    commit: str
    folder: str  # below the prefetched one
    files: dict[str, int]  # name: bytes
    weights: bool = False  # else tokenizer and config.json only


@dataclass
class Manifest:
    gifine: str = __version__
    updated: str = ""  # UTC, ISO 8601
    models: dict[str, Snapshot] = field(default_factory=dict)
    datasets: dict[str, int] = field(default_factory=dict)  # split: rows
    glue: dict[str, int] = field(default_factory=dict)  # file: bytes
    tokenised: dict[str, int] = field(default_factory=dict)  # folder: rows
    schema_version: int = SCHEMA_VERSION


def read(folder: Path) -> Manifest:
    """What is in `folder`.

    Raises:
        PrefetchError: for no such folder, and one that is not, or not wholly, made by `gifine.prefetch`.
    """
    if not folder.is_dir():
        raise PrefetchError(f"prefetch={folder}: no such folder; python -m gifine.prefetch makes and fills it")
    path = folder / MANIFEST
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if entries["schema_version"] > SCHEMA_VERSION:
            raise PrefetchError(f"prefetch={folder}: made by gifine {entries['gifine']}, newer than this {__version__}")
        entries["models"] = {name: Snapshot(**snapshot) for name, snapshot in entries["models"].items()}
        return Manifest(**entries)
    except FileNotFoundError as error:
        raise PrefetchError(
            f"prefetch={folder}: no prefetched folder, it has no {MANIFEST}; python -m gifine.prefetch fills one"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise PrefetchError(
            f"prefetch={folder}: its {MANIFEST} cannot be read ({error}); prefetch anew, into another folder"
        ) from error


def write(folder: Path, manifest: Manifest) -> None:
    manifest.gifine = __version__
    manifest.updated = datetime.now(UTC).isoformat(timespec="seconds")
    disk.write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")


@dataclass
class Folder:
    """A prefetched folder, with the words that would bring what it lacks."""

    path: Path
    manifest: Manifest
    words: list[str] = field(default_factory=list)
    filling: bool = False  # `gifine.prefetch` is at it; a run never writes

    def redirect(self, config: RunConfig) -> RunConfig:
        """The same config with this folder's own places for all that would come from the Hub or from data.dir.

        Raises:
            PrefetchError: with everything that is not there, save tokenised splits.
        """
        absent = [*self._absent_repositories(config), *self._absent_data(config)]
        if absent:
            raise self.lacks(*absent)
        task, generator = config.task, config.task.generator
        if isinstance(place := generators.checkpoint(config), str):
            own = self.path / self.manifest.models[str(Repository(place))].folder
            task = replace(task, generator=replace(generator, checkpoint=str(own)))
        data = self.redirect_data(config.data)
        return replace(config, model=self._redirect_model(config.model), task=task, data=data)

    def redirect_data(self, data: DataConfig) -> DataConfig:
        """The same, with this folder's places for tokens and official files."""
        return replace(data, cache_dir=str(self.path), dir=str(self.path / GLUE))

    def lacks(self, *absent: str) -> PrefetchError:
        command = shlex.join(["python", "-m", "gifine.prefetch", f"prefetch={self.path}", *self.words])
        return PrefetchError(f"{self.path} lacks {', '.join(absent)}; on a machine with internet: {command}")

    def dataset(self, split: HubSplit) -> Path:
        return self.path / DATA / split.path / (split.name or "default") / split.split

    def fingerprint(self, split: HubSplit) -> str:
        """The one that the split had on the Hub, which loading it from here would change."""
        return json.loads((self.dataset(split) / "state.json").read_text(encoding="utf-8"))["_fingerprint"]

    def has(self, repository: Repository, *, weights: bool) -> bool:
        """Is it there, and whole?"""
        snapshot = self.manifest.models.get(str(repository))
        return snapshot is not None and (snapshot.weights or not weights) and not self.damaged(repository)

    def damaged(self, repository: Repository) -> list[Path]:
        """Its files that are not there, or of another size."""
        snapshot = self.manifest.models.get(str(repository))
        if snapshot is None:
            return []
        folder = self.path / snapshot.folder
        return [folder / name for name, size in snapshot.files.items() if _size(folder / name) != size]

    def has_dataset(self, split: HubSplit) -> bool:
        return str(split) in self.manifest.datasets and self.dataset(split).is_dir()

    def has_file(self, name: str) -> bool:
        return name in self.manifest.glue and _size(self.path / GLUE / name) == self.manifest.glue[name]

    def has_split(self, task: TaskConfig, data: DataConfig, split: str) -> bool:
        """Is the source of this split there? One's own files and generated sentences are no business of the folder."""
        if task.files.train is not None:
            return getattr(task.files, split, None) is not None
        if data.source is DataSource.hub:
            where = hub_split(task, split)
            return where is not None and self.has_dataset(where)
        return any(map(self.has_file, official_names(task, split, allow_partial=False)))

    def place(self, repository: Repository) -> Path | None:
        """The folder of its files, if it is there with its weights, and whole."""
        if not self.has(repository, weights=True):
            return None
        return self.path / self.manifest.models[str(repository)].folder

    def _absent_repositories(self, config: RunConfig) -> Iterator[str]:
        for repository, weights in repositories_of(config):
            if not self.has(repository, weights=weights):
                yield f"{'the weights' if weights else 'the tokenizer'} of {repository}"

    def _absent_data(self, config: RunConfig) -> Iterator[str]:
        if config.task.files.train is not None or config.data.files:
            return
        for task, split in splits_needed(config):
            if config.data.source is DataSource.hub:
                where = hub_split(task, split)
                if where is not None and not self.has_dataset(where):
                    yield f"the data {where}"
            elif config.data.source.is_official:
                names = official_names(task, split, allow_partial=config.data.allow_partial)
                if names and not any(map(self.has_file, names)):
                    yield f"the official file {names[0]}"

    def _redirect_model(self, model: ModelConfig) -> ModelConfig:
        own = {
            repository: str(self.path / self.manifest.models[str(repository)].folder)
            for repository, _ in repositories(model)
        }
        checkpoint = own.get(Repository(model_files.source(model), model.revision))
        if checkpoint is not None and model.checkpoint is None:
            size = replace(model.sizes[model.size], checkpoint=checkpoint)
            model = replace(model, sizes={**model.sizes, model.size: size})
        elif checkpoint is not None:
            model = replace(model, checkpoint=checkpoint)
        elif model.base is None and not model.random_init:
            place = model_files.locate(model_files.source(model))
            below = base(place) if isinstance(place, Path) else None
            model = replace(model, base=None if below is None else own[below])
        tokenizer = own.get(Repository(model.tokenizer)) if model.tokenizer else None
        return replace(model, tokenizer=tokenizer or model.tokenizer)


def open_folder(config: RunConfig) -> Folder | None:
    """The folder that this config reads, or None where it reads the network and the places that it names.

    Raises:
        PrefetchError: see `read`.
    """
    if config.prefetch is None:
        return None
    path = Path(config.prefetch).expanduser()
    return Folder(path, read(path), _words(config))


def base_of(model: Path, folder: Folder | None) -> str | None:
    """Where the prefetched folder has what the weights in `model` were trained over; None if that is not there."""
    wanted = None if folder is None else base(model)
    place = None if wanted is None or folder is None else folder.place(wanted)
    return None if place is None else str(place)


def _words(config: RunConfig) -> list[str]:
    """The overrides that decide what is fetched for `config`."""
    model, task, data = config.model, config.task, config.data
    words = [f"model={model.name}"]
    words += [f"model.size={model.size}"] if model.checkpoint is None else [f"model.checkpoint={model.checkpoint}"]
    words += [f"model.{key}={value}" for key in ("revision", "tokenizer") if (value := getattr(model, key))]
    words += ["model.random_init=true"] if model.random_init else []
    words += [f"task={task.name}"]
    words += [f"data={data.source.value}"] if data.source is not DataSource.files else []
    words += [f"data.dir={data.dir or 'FOLDER'}"] if data.source.is_official else []
    words += ["data.allow_partial=true"] if data.allow_partial else []
    lists = {"files": data.files, "sentences_of": data.sentences_of}
    words += [f"data.{key}=[{','.join(value)}]" for key, value in lists.items() if value]
    if task.objective.pretrains:
        generator = task.generator.checkpoint
        words += [f"task.generator.checkpoint={generator}"] if generator is not None else []
        words += [f"data.held_out={data.held_out:g}", f"data.across_documents={data.across_documents}".lower()]
    rows = ["max_train_rows", "max_eval_rows"]
    if data.source is DataSource.demo:
        own = ["demo_text_rows"] if task.objective.pretrains else ["demo_train_rows", "demo_eval_rows"]
        rows += [*own, "demo_seed"]
    words += [f"data.{key}={value}" for key in rows if (value := getattr(data, key)) is not None]
    files = ("train", "validation", "test")
    words += [f"task.files.{key}={value}" for key in files if (value := getattr(task.files, key)) is not None]
    words += [] if task.files.quoting is Quoting.auto else [f"task.files.quoting={task.files.quoting.value}"]
    if task.objective is Objective.questions:
        words += [f"task.{key}={getattr(task, key)}" for key in ("stride", "max_question_tokens")]
    return [*words, f"train.max_length={config.train.max_length}"]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
