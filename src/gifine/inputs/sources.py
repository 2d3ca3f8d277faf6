"""What a run reads that lies on this machine, known by its contents: no torch, and no network.

Contents decide a run, not paths. What of it is in the run_id is `contents`: one's own files, weights in folders and
packages, tokenizers. The official files and the Hub stand for known data, which the run_id knows by their names; a
record has their fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gifine.choices import DataSource
from gifine.config import DEMO, DataConfig, ModelConfig, RunConfig, TaskConfig
from gifine.errors import DataError, ModelError
from gifine.inputs import change_files, digests, generators, model_files, needs, text_files
from gifine.inputs.families import TOKENIZER_FILES
from gifine.inputs.model_files import CONFIG
from gifine.inputs.rows import missing_file


@dataclass(frozen=True)
class OfficialFile:
    """The file of a split in the official layout, and how it is read; of questions there is one way."""

    path: Path
    columns: dict[str, str]  # ours: the file's
    header: bool
    skip_short_rows: bool
    labels: list[str]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.path, self.columns, self.header, self.labels, self.skip_short_rows)


def contents(config: RunConfig) -> dict[str, str]:
    """By the config's key what the run_id has of it: a sha256 in the place of a path. Nothing for names on the Hub.

    Of weights that another run makes first (`first.task`) it is that run's run_id.

    Raises:
        DataError, ModelError: for what is not there, or cannot be read.
    """
    found = {}
    for key, path in _own_files(config.task).items():
        found[key] = f"{_sha256(path)}{path.suffix.lower()}"  # the suffix says how it is read
    if config.data.files:
        read = [f"{_sha256(path)}{path.suffix.lower()}" for path in text_files.expand(config.data.files)]
        found["data.files"] = hashlib.sha256(json.dumps(read).encode()).hexdigest()
    if (file := config.change.get(change_files.FILE)) is not None:
        found["change.file"] = _sha256(Path(file), ModelError)
    for key, folder, names in _folders(config):
        found[key] = _folder_sha256(folder, names)
    found |= {f"data.partial.{split}": _sha256(path) for split, path in _partial(config).items()}
    if (folder := _dataset_folder(config)) is not None:
        found["task.hub.path"] = folder_sha256(folder)
    if config.first.task is not None:
        # The run_id stands for its weights, which need not be there yet.
        assert config.first.run is not None, "compose/parents.py finds out which run that is"
        found["model.init_from"] = config.first.run
    return found


def files(config: RunConfig) -> dict[str, str]:
    """By its absolute path the sha256 of each file that a run reads from places which the config names.

    Raises:
        DataError, ModelError: as `contents`.
    """
    paths = [*_own_files(config.task).values(), *text_files.expand(config.data.files)]
    if (file := config.change.get(change_files.FILE)) is not None:
        paths.append(Path(file))
    for _, folder, names in _folders(config):
        paths += [folder / name for name in names if (folder / name).is_file()]
    if _reads_official(config):
        for task, split in needs.splits_needed(config):
            labelled = split not in task.test_splits or split in task.evaluation_splits
            paths.append(official(task, config.data, split, labelled=labelled).path)
    if (folder := _dataset_folder(config)) is not None:
        paths += [folder / name for name in _inside(folder)]
    return {str(path.absolute()): _sha256(path) for path in paths}


def checkpoint(model: ModelConfig) -> dict[str, str]:
    """The sha256 of the weights that a run has read and of the config.json that goes with them, by file name.

    Of a Hub id those in the Hub's local cache, after loading; empty for random weights.

    Raises:
        ModelError: for a file that cannot be read.
    """
    if model.random_init:
        return {}
    paths = _read_of(model_files.source(model), model.revision)
    return {path.name: _sha256(path, ModelError) for path in paths if path.is_file()}


def weights(name: str, revision: str | None = None) -> dict[str, str]:
    """The same of a folder, package or Hub id, for its weights alone.

    Raises:
        ModelError: as `checkpoint`.
    """
    paths = [path for path in _read_of(name, revision) if path.name != CONFIG]
    return {path.name: sha256(path) for path in paths if path.is_file()}


def sha256(path: Path) -> str:
    """Of a file of weights.

    Raises:
        ModelError: if it cannot be read.
    """
    return _sha256(path, ModelError)


def _read_of(name: str, revision: str | None) -> list[Path]:
    place = model_files.locate(name)
    return _cached(name, revision) if isinstance(place, str) else [place / each for each in _checkpoint(place)]


def official(task: TaskConfig, data: DataConfig, split: str, *, labelled: bool = True) -> OfficialFile:
    """Where a split is below data.dir, and how it is read.

    Raises:
        DataError: if the task does not say, or the file is not there.
    """
    layout = task.splits[split]
    if data.dir is None:
        raise DataError(f"data={data.source.value}: needs data.dir=FOLDER")
    if layout.official is None:
        raise DataError(f"task={task.name} names no official file for its split {split} (task.splits.{split})")
    # Of a test set every row is wanted: its predictions are told apart by their number alone.
    allow_partial = data.allow_partial and labelled
    path = needs.official_file(Path(data.dir).expanduser(), layout.official, allow_partial=allow_partial)
    columns = {ours: name for ours, name in layout.columns.items() if labelled or ours != task.label}
    return OfficialFile(path, columns, layout.header, task.skip_short_rows and labelled, task.labels)


def fingerprint(path: Path, *layout: object) -> str:
    """Of a file's bytes and of how they are read.

    Raises:
        DataError: if it cannot be read.
    """
    return _sha256(path, suffix=json.dumps(layout).encode())


def folder_sha256(folder: Path) -> str:
    """Of all files in and below a folder and of their names; hidden ones are left out.

    Raises:
        DataError: if one cannot be read.
    """
    return _folder_sha256(folder, _inside(folder), DataError)


def _own_files(task: TaskConfig) -> dict[str, Path]:
    """Those that decide the result: files.test does not."""
    if task.files.train is None:
        return {}
    named = {f"task.files.{split}": getattr(task.files, split) for split in ("train", "validation")}
    return {key: Path(path).expanduser() for key, path in named.items() if path is not None}


def _folders(config: RunConfig) -> Iterator[tuple[str, Path, list[str]]]:
    """The folders that models are read from: the config's key, the folder, and the files that may be read there."""
    yield from _folders_of(config.model)
    if isinstance(place := generators.checkpoint(config), Path):
        yield "task.generator.checkpoint", place, _checkpoint(place)


def _folders_of(model: ModelConfig) -> Iterator[tuple[str, Path, list[str]]]:
    names: list[str] = []
    place = model_files.locate(model_files.source(model))
    if isinstance(place, Path):
        if not model.random_init:
            names = _checkpoint(place)
        elif model.checkpoint is not None:  # else `sizes` has the architecture
            names = [CONFIG]
        if model.tokenizer is None:
            names += [name for name in TOKENIZER_FILES if name not in names]
        if names:
            yield "model.checkpoint" if model.init_from is None else "model.init_from", place, names
    if model.tokenizer not in (None, DEMO) and isinstance(place := model_files.locate(model.tokenizer), Path):
        yield "model.tokenizer", place, [*TOKENIZER_FILES]


def _checkpoint(folder: Path) -> list[str]:
    """config.json and the weights in a folder, as transformers looks for them."""
    try:
        return [CONFIG, *(path.name for path in model_files.weight_files(folder))]
    except ModelError:  # loading says what is wrong with it
        return [CONFIG, model_files.WEIGHTS]


def _cached(name: str, revision: str | None) -> list[Path]:
    """config.json and the weights of a Hub id that were loaded, in the Hub's local cache."""
    from huggingface_hub import try_to_load_from_cache  # half a second

    config = try_to_load_from_cache(name, CONFIG, revision=revision)
    if not isinstance(config, str):
        return []
    snapshot = Path(config).parent
    paths = [snapshot / each for each in _checkpoint(snapshot)]
    if any(path.is_file() for path in paths[1:]):
        return paths
    # Pickled weights, which the Hub has converted in a pull request: transformers reads the safetensors of that.
    requests = (snapshot.parents[1] / "refs" / "refs" / "pr").glob("*")
    commits = [path.read_text(encoding="utf-8").strip() for path in requests]
    converted = [path for each in commits if (path := snapshot.parent / each / model_files.WEIGHTS).is_file()]
    return [paths[0], *converted] if len(converted) == 1 else paths[:1]


def _reads_official(config: RunConfig) -> bool:
    return config.task.files.train is None and not config.data.files and config.data.source.is_official


def _partial(config: RunConfig) -> dict[str, Path]:
    """The splits of which only the beginning is there and is taken: what that is, nobody but the file itself knows."""
    folder, found = needs.official_folder(config), {}
    if not _reads_official(config) or not config.data.allow_partial or folder is None:
        return {}
    for task, split in needs.splits_needed(config):
        whole, *part = needs.official_names(task, split, allow_partial=True) or [""]
        if part and not (folder / whole).is_file() and (folder / part[0]).is_file():
            found[f"{task.name}.{split}" if config.data.sentences_of else split] = folder / part[0]
    return found


def _dataset_folder(config: RunConfig) -> Path | None:
    """A folder on this machine that `task.hub.path` names."""
    path = config.task.hub.path
    is_read = config.task.files.train is None and config.data.source is DataSource.hub and config.prefetch is None
    return Path(path) if is_read and path is not None and Path(path).is_dir() else None


def _inside(folder: Path) -> list[str]:
    inner = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in inner if not any(part.startswith(".") for part in path.parts))


def _folder_sha256(folder: Path, names: list[str], error: type[DataError | ModelError] = ModelError) -> str:
    found = {name: _sha256(folder / name, error) for name in names if (folder / name).is_file()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path, error: type[DataError | ModelError] = DataError, suffix: bytes = b"") -> str:
    try:
        return digests.sha256(path, suffix)
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror}") from problem
