"""What comes from the Hugging Face Hub as a whole: splits of datasets, and repositories of checkpoints.

Runs take splits from here; `gifine.prefetch` takes all of it, into its folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Generator
from pathlib import Path

import datasets
import datasets.config
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx
from transformers.safetensors_conversion import get_conversion_pr_reference

from gifine.errors import DataError, ModelError, OutputError, PrefetchError, UserError, chain, first_line
from gifine.inputs.families import TOKENIZER_FILES
from gifine.inputs.model_files import CONFIG, INDEX, WEIGHTS, read_index
from gifine.inputs.needs import HubSplit, Repository
from gifine.inputs.offline import HUB, Snapshot
from gifine.inputs.rows import Columns, Row

_UNREACHABLE = (ConnectionError, DatasetNotFoundError, FileNotFoundError)
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_WEIGHT_FILES = [WEIGHTS, INDEX, "model-*.safetensors"]


def load_split(split: HubSplit, cache: Path | None = None) -> datasets.Dataset:
    """A split from the Hub or from its local cache, which `cache` puts elsewhere.

    Raises:
        DataError: if it is in neither, has no such config or split, or cannot be read.
    """
    try:
        place = None if cache is None else str(cache)
        examples = datasets.load_dataset(split.path, split.name, split=split.split, cache_dir=place)
    except _UNREACHABLE as error:
        raise DataError(
            f"{split.path} ({split.name}, {split.split}): Hub not reachable and not in its cache; prefetch it on a "
            "machine with internet, or give the official files by data=glue_dir data.dir=FOLDER"
        ) from error
    except (DatasetsError, ValueError, RuntimeError) as error:  # no such config or split, columns that differ, a script
        cause = error.__cause__ or error  # where reading a file failed, what says why
        raise DataError(f"{split.path} ({split.name}, {split.split}): {first_line(cause)}") from error
    assert isinstance(examples, datasets.Dataset)
    return examples


def check_classes(examples: datasets.Dataset, columns: Columns, where: HubSplit) -> bool:
    """Whether the dataset names classes.

    Raises:
        DataError: if they are not `columns.labels` in this order.
    """
    names = None if columns.label is None else getattr(examples.features[columns.label], "names", None)
    if names is not None and names != list(columns.labels):
        ours = list(columns.labels) or "numbers (task.labels=[])"
        raise DataError(f"{where}: its labels are {names}, those of the task are {ours}")
    return names is not None


def rows(examples: datasets.Dataset, columns: Columns, where: HubSplit) -> list[Row]:
    """The rows of a split, by the rules of all sources.

    Raises:
        DataError: with the number of a row whose texts are none, or whose label does not fit.
    """
    classes = None if columns.label is None else getattr(examples.features[columns.label], "names", None)
    read, found = examples.select_columns(columns.names), []
    assert isinstance(read, datasets.Dataset)
    for idx, cells in enumerate(read.to_list()):
        if classes is not None:
            number = cells[columns.label]
            if number is not None and number not in range(len(classes)):
                raise DataError(f"{where}, row {idx}: label {number} is none of 0 … {len(classes) - 1}")
            # A name says more than an id: some names are numbers.
            cells[columns.label] = None if number is None else classes[number]
        found.append(columns.row(cells, idx, f"{where}, row {idx}"))
    return found


def read_split(folder: Path) -> datasets.Dataset:
    """A split that was saved, with the fingerprint that it had: what was tokenised of it is found again."""
    examples = datasets.Dataset.load_from_disk(str(folder))
    # Loading sets the format, and `datasets` counts that as a change.
    examples._fingerprint = json.loads((folder / "state.json").read_text())["_fingerprint"]
    return examples


@contextlib.contextmanager
def offline() -> Generator[None]:
    """What is loaded within comes from local caches: no request is made."""
    before, verbosity = (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE), datasets.logging.get_verbosity()
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    datasets.logging.set_verbosity_error()  # it would warn that it does as it is told
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
        datasets.logging.set_verbosity(verbosity)


def save_split(split: HubSplit, folder: Path, scratch: Path) -> int:
    """Fetch a split into `folder`, which then is whole or not there at all, through `scratch`; returns its rows.

    Raises:
        UserError: for a Hub out of reach, no such dataset, and no space.
    """
    with _prefetch_errors(str(split)):
        HfApi().dataset_info(split.path, timeout=10)  # `datasets` would try for half a minute where there is no network
        examples = load_split(split, scratch / "datasets")
        temporary = scratch / "split"
        shutil.rmtree(temporary, ignore_errors=True)
        examples.save_to_disk(str(temporary), num_shards=1)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(folder)
    return len(examples)


def save_repository(repository: Repository, folder: Path, *, weights: bool, commit: str | None = None) -> Snapshot:
    """Fetch tokenizer and config.json, and with `weights` the safetensors, into the Hub cache in `folder`.

    `commit` is the one that an earlier call got: what comes later has to go with it.

    Raises:
        UserError: for a Hub out of reach, no such repository, no safetensors in it, and no space.
    """
    name, cache = repository.name, folder / HUB
    patterns = [*TOKENIZER_FILES, *(_WEIGHT_FILES if weights else [])]
    with _prefetch_errors(str(repository)):
        revision = commit or repository.revision
        place = Path(snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=patterns))
        if weights and not (place / CONFIG).is_file():
            raise ModelError(f"{repository}: it has no config.json: not a checkpoint")
        if weights and not any((place / file).is_file() for file in (WEIGHTS, INDEX)):
            _add_converted(repository, place, cache)
        in_shards = weights and not (place / WEIGHTS).is_file()
        absent = [path.name for path in read_index(place) if not path.is_file()] if in_shards else []
    if absent:
        raise ModelError(f"{repository}: its {INDEX} names {absent[0]}, which is not there")
    files = {path.name: path.stat().st_size for path in sorted(place.iterdir()) if path.is_file()}
    return Snapshot(place.name, str(place.relative_to(folder)), files, weights=weights)


def _add_converted(repository: Repository, place: Path, cache: Path) -> None:
    """Put the safetensors of the Hub's own conversion, which is a pull request, beside the files of `place`.

    DeBERTa's repositories hold pickled weights only. transformers takes the same ones when it loads without a prefetch.
    """
    problem = f"{repository}: it has no {WEIGHTS}, and pickled weights are not read"
    if repository.revision not in (None, "main"):
        raise ModelError(f"{problem}; the Hub converts the revision main only")
    try:
        reference = get_conversion_pr_reference(HfApi(), repository.name)
        files = snapshot_download(repository.name, revision=reference, cache_dir=cache, allow_patterns=_WEIGHT_FILES)
    except (OSError, httpx.HTTPError, KeyError, ValueError) as error:  # also of the converting service's answers
        raise ModelError(f"{problem}; the Hub gave no conversion ({first_line(error)})") from error
    for path in Path(files).iterdir():
        if path.match("model*.safetensors*"):
            target = place / path.name
            if path.is_symlink():  # relative to a snapshot, and as deep
                target.symlink_to(path.readlink())
            else:
                shutil.copyfile(path, target)


@contextlib.contextmanager
def _prefetch_errors(what: str) -> Generator[None]:
    """Say in one line, as a PrefetchError or OutputError, why something was not fetched."""
    try:
        yield
    except Exception as error:  # what the libraries raise depends on where it happens: look at what lies below
        causes = list(chain(error))
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno in _STORAGE:
                raise OutputError(f"{what}: cannot be written: {cause.strerror} ({cause.filename})") from error
        if any(
            isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError | DatasetNotFoundError)
            for cause in causes
        ):
            raise PrefetchError(f"{what}: the Hub has no such repository or revision, or it needs a login") from error
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise PrefetchError(f"{what}: no folder, and not of the form of a Hub id: {first_line(error)}") from error
        if constants.HF_HUB_OFFLINE:
            raise PrefetchError(f"{what}: HF_HUB_OFFLINE is set: no fetching without the Hub") from error
        if any(isinstance(cause, OSError | httpx.HTTPError) for cause in causes) and not _is_ours(error):
            network = [cause for cause in causes if isinstance(cause, ConnectionError | httpx.HTTPError)]
            raise PrefetchError(f"{what}: Hub not reachable: {first_line([*causes, *network][-1])}") from error
        raise


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, UserError) and not isinstance(error, DataError)
