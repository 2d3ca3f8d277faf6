"""A task's examples, from the Hub, the official GLUE files, one's own files or the demo grammar, as token ids.

Tokenised splits are cached below data.cache_dir under a hash of everything that changes them, made once under a lock
and renamed into place, so that any number of processes may start at the same time. They are memory-mapped when read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from filelock import FileLock
from transformers import PreTrainedTokenizerFast

from gifine.config import DataConfig, DataSource, TaskConfig
from gifine.errors import DataError, OutputError
from gifine.inputs import demo, glue_tsv, hub, own_files, sources
from gifine.inputs.needs import hub_split
from gifine.inputs.offline import TOKENISED, Folder
from gifine.inputs.rows import Columns, Row, missing_file
from gifine.machine import disk

log = logging.getLogger(__name__)

_LAYOUT = 1  # raise it when the columns of a tokenised split change: older caches are then left alone
_READER = 2  # raise it when own_files.py reads one's own files otherwise


@dataclass
class Split:
    """Tokenised examples: columns input_ids, attention_mask, (token_type_ids,) (labels,) idx, length."""

    examples: datasets.Dataset
    fingerprint: str  # of the source, before tokenisation: the same data, the same fingerprint


@dataclass
class _Source:
    fingerprint: str
    rows: Callable[[], Sequence[Row]]
    reader: tuple[object, ...] = ()  # what else of the reading changes the rows


def load(
    task: TaskConfig,
    data: DataConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    prefetched: Folder | None = None,
) -> dict[str, Split]:
    """The training split and the evaluation splits, by name; of a prefetched folder, with `data` redirected to it.

    Raises:
        DataError: for data that is missing, unreachable, or not as the task says.
        OutputError: where the cache cannot be written.
        PrefetchError: where the prefetched folder lacks a tokenised split.
    """
    train = _load(task, data, task.train_split, data.max_train_rows, tokenizer, max_length, prefetched)
    return {task.train_split: train} | load_evaluation(task, data, tokenizer, max_length, prefetched)


def tokens(splits: Mapping[str, Split]) -> set[int]:
    """The ids of all tokens that occur in the splits; no example is decoded."""
    found: set[int] = set()
    for split in splits.values():
        for table in split.examples.with_format("arrow").iter(10_000):
            assert isinstance(table, pa.Table)
            found.update(table["input_ids"].combine_chunks().flatten().unique().to_pylist())
    return found


def load_evaluation(
    task: TaskConfig,
    data: DataConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    prefetched: Folder | None = None,
) -> dict[str, Split]:
    """The evaluation splits alone. Raises as `load` does."""
    splits = evaluation_splits(task)
    return {split: _load(task, data, split, data.max_eval_rows, tokenizer, max_length, prefetched) for split in splits}


def load_tests(
    task: TaskConfig,
    data: DataConfig,
    splits: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    prefetched: Folder | None = None,
) -> dict[str, Split]:
    """Test splits: all of their rows, without labels whether or not the source has some. Raises as `load` does."""
    options = (tokenizer, max_length, prefetched)
    return {split: _load(task, data, split, None, *options, labelled=False) for split in splits}


def fingerprints(
    task: TaskConfig,
    data: DataConfig,
    splits: Iterable[str],
    prefetched: Folder | None = None,
    *,
    labelled: bool = True,
) -> dict[str, str]:
    """Of each split's source, as `Split` has it: found and, if it is a file, hashed, but not tokenised.

    Raises:
        DataError: for data that is missing or unreachable.
    """
    return {split: _source(task, data, split, prefetched, labelled).fingerprint for split in splits}


def evaluation_splits(task: TaskConfig) -> list[str]:
    return task.evaluation_splits if task.files.train is None else ["validation"]


def cache_dir(data: DataConfig) -> Path:
    if data.cache_dir is not None:
        return Path(data.cache_dir).expanduser()
    return disk.user_cache()


def _load(
    task: TaskConfig,
    data: DataConfig,
    split: str,
    limit: int | None,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    prefetched: Folder | None,
    *,
    labelled: bool = True,
) -> Split:
    datasets.disable_progress_bars()
    source = _source(task, data, split, prefetched, labelled)
    parts = [_LAYOUT, source.fingerprint, task.inputs, limit, max_length, tokenizer_fingerprint(tokenizer)]
    parts += [*source.reader, *([] if labelled else ["unlabelled"])]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    folder = cache_dir(data) / TOKENISED / f"{task.name}-{split}-{key}"
    if prefetched and not prefetched.filling and not folder.is_dir():
        raise prefetched.lacks(f"the tokens of task={task.name}, {split}, for this tokenizer and train.max_length")
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not folder.is_dir():
                    _prepare(folder, source.rows()[:limit], task, tokenizer, max_length, labelled)
    except OSError as error:
        raise OutputError(
            f"cannot cache tokenised data in {folder.parent}: {error.strerror or error}; "
            "give another data.cache_dir, or another XDG_CACHE_HOME where data.cache_dir is null"
        ) from error
    return Split(datasets.Dataset.load_from_disk(str(folder)), source.fingerprint)


def _prepare(
    folder: Path,
    rows: Sequence[Row],
    task: TaskConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    labelled: bool,
) -> None:
    """Tokenise and save under another name, then rename: a folder of the right name is always whole."""
    log.info("tokenising %d examples for %s", len(rows), folder.name)

    if empty := [row.idx for row in rows if not all(map(str.strip, row.texts))]:
        log.warning("%s: %d rows have an empty text; the first is row %d, from 0", folder.name, len(empty), empty[0])
    texts = {f"text {n}": [row.texts[n] for row in rows] for n in range(len(task.inputs))}  # no names of the user's

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(*(batch[column] for column in texts), truncation=True, max_length=max_length)
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}

    numbers = {"labels": [row.label for row in rows]} if labelled else {}
    numbers["idx"] = [row.idx for row in rows]
    examples = datasets.Dataset.from_dict(
        texts | numbers
    ).map(
        encode,
        batched=True,  # a thousand at a time: what a tokenizer returns takes far more memory than what is kept of it
        remove_columns=list(texts),
        keep_in_memory=True,
        new_fingerprint=folder.name[-32:],  # spares the hash of the tokenizer that map would compute
    )
    assert isinstance(examples, datasets.Dataset)
    _fresh(tokenizer)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    examples.save_to_disk(str(temporary), num_shards=1)
    temporary.rename(folder)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Of all that decides the ids which it makes of a text."""
    _fresh(tokenizer)
    return hashlib.sha256(
        (tokenizer.backend_tokenizer.to_str() + repr(tokenizer.model_input_names)).encode()
    ).hexdigest()


def _fresh(tokenizer: PreTrainedTokenizerFast) -> None:
    """Forget the last call: else a saved tokenizer would say whether the cache had its examples already."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


def _source(task: TaskConfig, data: DataConfig, split: str, prefetched: Folder | None, labelled: bool) -> _Source:
    if task.files.train is not None:
        return _from_file(task, split, labelled)
    match data.source:
        case DataSource.hub:
            return _from_hub(task, split, prefetched, labelled)
        case DataSource.glue_dir:
            return _from_glue_dir(task, data, split, labelled)
        case DataSource.demo:
            return _from_demo(task, data, split)
        case DataSource.files:
            raise DataError("data.source=files: no task.files.train")


def _from_file(task: TaskConfig, split: str, labelled: bool) -> _Source:
    path = Path(getattr(task.files, split)).expanduser()
    if not path.is_file():
        raise missing_file(path)

    def rows() -> list[Row]:
        quoting = task.files.quoting
        return own_files.read(
            path, task.inputs, labels=task.labels, label=task.label, labelled=labelled, quoting=quoting
        )

    reader = (_READER, task.files.quoting.value)
    return _of_file(path, rows, lambda: sources.fingerprint(path, task.label, task.labels), reader)


def _from_glue_dir(task: TaskConfig, data: DataConfig, split: str, labelled: bool) -> _Source:
    file = sources.official(task, data, split, labelled=labelled)

    def rows() -> list[Row]:
        return glue_tsv.read(
            file.path,
            file.columns,
            inputs=task.inputs,
            labels=task.labels,
            label=task.label if labelled else None,
            header=file.header,
            skip_short_rows=file.skip_short_rows,
        )

    return _of_file(file.path, rows, lambda: file.fingerprint)


def _of_file(
    path: Path, read: Callable[[], list[Row]], fingerprint: Callable[[], str], reader: tuple[object, ...] = ()
) -> _Source:
    """What is made of a file's rows is kept under its fingerprint: it has to be the same file before and after."""
    known = fingerprint()

    def rows() -> list[Row]:
        found = read()
        if fingerprint() != known:
            raise DataError(f"{path} was changed while it was read: give the command again")
        return found

    return _Source(known, rows, reader)


def _from_demo(task: TaskConfig, data: DataConfig, split: str) -> _Source:
    wanted = data.demo_train_rows if split == task.train_split else data.demo_eval_rows
    generated = demo.generate(split, wanted, data.demo_seed)
    columns = Columns(task.inputs, task.label, task.labels)

    def rows() -> list[Row]:
        columns.check(list(generated[0]), "demo")
        return [columns.row(cells, idx, f"demo {split}, row {idx}") for idx, cells in enumerate(generated)]

    return _Source(hashlib.sha256(json.dumps(generated).encode()).hexdigest(), rows)


def _from_hub(task: TaskConfig, split: str, prefetched: Folder | None, labelled: bool) -> _Source:
    where = hub_split(task, split)
    if where is None:
        raise DataError(f"task={task.name} names no Hub split for {split} (task.hub.path, task.splits.{split}.hub)")
    examples = hub.read_split(prefetched.dataset(where)) if prefetched else hub.load_split(where)
    columns = Columns(task.inputs, task.label if labelled else None, task.labels)
    columns.check(examples.column_names, str(where))
    hub.check_classes(examples, columns, where)
    return _Source(where.fingerprint(examples._fingerprint), lambda: hub.rows(examples, columns, where))
