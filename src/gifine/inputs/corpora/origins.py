"""Where the documents of a corpus come from, and what that is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from gifine.choices import DataSource
from gifine.config import RunConfig
from gifine.errors import DataError
from gifine.inputs import demo, hub, sources, text_files
from gifine.inputs.corpora import documents, sentences
from gifine.inputs.corpora.documents import Piece
from gifine.inputs.needs import hub_split
from gifine.inputs.offline import Folder
from gifine.inputs.rows import as_text, missing_column

_READER = 1  # raise it when documents are read otherwise
_ROWS = 1000  # of the Hub's data set, in memory at a time


@dataclass
class Origin:
    fingerprint: str
    read: Callable[[], Iterator[Piece]]
    told: dict[str, int] = field(default_factory=dict)  # once all is read: what was left out, for the record


def find(config: RunConfig, prefetched: Folder | None) -> Origin:
    """Found and, if it is files, hashed, but not read.

    Raises:
        DataError: for text that is missing or unreachable.
    """
    data, task = config.data, config.task
    if data.files:
        return _of_files(text_files.expand(data.files), str(task.inputs[0]))
    if data.sentences_of:
        told: dict[str, int] = {}
        found = sentences.find(config, prefetched)
        return Origin(_known(found.fingerprints), lambda: sentences.read(found, told), told)
    if data.source is DataSource.demo:
        return _of_demo(config)
    if data.source is DataSource.hub and task.hub.path is not None:
        return _of_hub(config, prefetched)
    raise DataError(
        f"task={task.name}: no text; give files (data.files=[FILE.txt]), tasks (data.sentences_of=[cola]), a data set "
        "of the Hub (task.hub.path), or data=demo"
    )


def _known(parts: object) -> str:
    return hashlib.sha256(json.dumps([_READER, parts]).encode()).hexdigest()


def _of_files(paths: list[Path], column: str) -> Origin:
    def known() -> str:
        return _known([[sources.fingerprint(path), path.suffix.lower()] for path in paths] + [column])

    before = known()

    def read() -> Iterator[Piece]:
        for path in paths:
            yield from documents.read(path, column)
        if known() != before:
            raise DataError("files of data.files were changed while they were read: give the command again")

    return Origin(before, read)


def _of_hub(config: RunConfig, prefetched: Folder | None) -> Origin:
    task, column = config.task, str(config.task.inputs[0])
    where = hub_split(task, task.train_split)
    if where is None:
        raise DataError(f"task={task.name} names no Hub split to train on (task.splits.{task.train_split}.hub)")
    examples = hub.read_split(prefetched.dataset(where)) if prefetched else hub.load_split(where)
    if column not in examples.column_names:
        raise missing_column(str(where), column, examples.column_names)

    def read() -> Iterator[Piece]:
        number = 0
        texts = examples.select_columns([column])
        assert isinstance(texts, datasets.Dataset)
        for batch in texts.iter(_ROWS):
            assert isinstance(batch, dict)
            for text in batch[column]:
                yield from documents.cut(as_text(text, column, f"{where}, row {number}"))
                number += 1

    return Origin(_known([where.fingerprint(examples._fingerprint), column]), read)


def _of_demo(config: RunConfig) -> Origin:
    """The acceptable sentences of the grammar's training split: what people write is acceptable."""
    data = config.data
    rows = demo.generate("train", data.demo_text_rows, data.demo_seed)
    texts = [str(row["sentence"]) for row in rows if row["label"] == 1]
    return Origin(_known(texts), lambda: (Piece(text, first=True) for text in texts))
