"""Where the rows of a split come from: the Hub, GLUE's or SQuAD's official files, one's own or the demo grammar."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from gifine.choices import DataSource, Objective
from gifine.config import DataConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs import demo, glue_tsv, hub, own_files, questions, sources
from gifine.inputs.needs import hub_split
from gifine.inputs.offline import Folder
from gifine.inputs.rows import Columns, Row, missing_file

_READER = 2  # raise it when own_files.py reads one's own files otherwise


@dataclass
class Origin:
    fingerprint: str
    read_rows: Callable[[], Sequence[Row]]
    reader: tuple[object, ...] = ()  # what else of the reading changes the rows


def find(task: TaskConfig, data: DataConfig, split: str, prefetched: Folder | None, labelled: bool) -> Origin:
    """Found and, if it is a file, hashed, but not read.

    Raises:
        DataError: for data that is missing or unreachable.
    """
    if task.files.train is not None:
        return _from_file(task, split, labelled)
    match data.source:
        case DataSource.hub:
            return _from_hub(task, split, prefetched, labelled)
        case DataSource.glue_dir:
            return _from_glue_dir(task, data, split, labelled)
        case DataSource.squad_dir:
            file = sources.official(task, data, split, labelled=labelled)
            return _of_questions(file.path, task, labelled, lambda: file.fingerprint)
        case DataSource.demo:
            return _from_demo(task, data, split)
        case DataSource.files:
            raise DataError("data.source=files: no task.files.train")


def _from_file(task: TaskConfig, split: str, labelled: bool) -> Origin:
    path = Path(getattr(task.files, split)).expanduser()
    if not path.is_file():
        raise missing_file(path)
    if task.objective is Objective.questions:
        return _of_questions(path, task, labelled, lambda: sources.fingerprint(path))

    def rows() -> list[Row]:
        quoting = task.files.quoting
        return own_files.read(
            path, task.inputs, labels=task.labels, label=task.label, labelled=labelled, quoting=quoting
        )

    reader = (_READER, task.files.quoting.value)
    return _of_file(path, rows, lambda: sources.fingerprint(path, task.label, task.labels), reader)


def _from_glue_dir(task: TaskConfig, data: DataConfig, split: str, labelled: bool) -> Origin:
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


def _of_questions(path: Path, task: TaskConfig, labelled: bool, fingerprint: Callable[[], str]) -> Origin:
    def rows() -> list[questions.Question]:
        return questions.read(path, task, labelled=labelled)

    return _of_file(path, rows, fingerprint, _question_reader(task))


def _question_reader(task: TaskConfig) -> tuple[object, ...]:
    return questions.VERSION, task.unanswerable, task.stride, task.max_question_tokens


def _of_file(
    path: Path, read: Callable[[], Sequence[Row]], fingerprint: Callable[[], str], reader: tuple[object, ...] = ()
) -> Origin:
    """What is made of a file's rows is kept under its fingerprint: it has to be the same file before and after."""
    known = fingerprint()

    def rows() -> Sequence[Row]:
        found = read()
        if fingerprint() != known:
            raise DataError(f"{path} was changed while it was read: give the command again")
        return found

    return Origin(known, rows, reader)


def _from_demo(task: TaskConfig, data: DataConfig, split: str) -> Origin:
    wanted = data.demo_train_rows if split == task.train_split else data.demo_eval_rows
    generated = demo.generate(split, wanted, data.demo_seed)
    columns = Columns(task.inputs, task.label, task.labels)

    def rows() -> list[Row]:
        columns.check(list(generated[0]), "demo")
        return [columns.row(cells, idx, f"demo {split}, row {idx}") for idx, cells in enumerate(generated)]

    return Origin(hashlib.sha256(json.dumps(generated).encode()).hexdigest(), rows)


def _from_hub(task: TaskConfig, split: str, prefetched: Folder | None, labelled: bool) -> Origin:
    where = hub_split(task, split)
    if where is None:
        raise DataError(f"task={task.name} names no Hub split for {split} (task.hub.path, task.splits.{split}.hub)")
    examples = hub.read_split(prefetched.dataset(where)) if prefetched else hub.load_split(where)
    fingerprint = where.fingerprint(examples._fingerprint)
    if task.objective is Objective.questions:
        names = questions.columns(task, examples.column_names, str(where), labelled=labelled)

        def rows() -> list[questions.Question]:
            read = examples.select_columns(names)
            assert isinstance(read, datasets.Dataset)
            cells = read.to_list()
            return questions.of_cells(cells, task, str(where), labelled=labelled)

        return Origin(fingerprint, rows, (*_question_reader(task), *([task.label] if labelled else [])))
    columns = Columns(task.inputs, task.label if labelled else None, task.labels)
    columns.check(examples.column_names, str(where))
    is_named = hub.check_classes(examples, columns, where)
    # Nothing for GLUE's own columns, whose caches and prefetched folders were made before this was part of the key.
    is_usual = columns.label is None or (task.label == "label" and (is_named or not task.labels))
    return Origin(
        fingerprint,
        lambda: hub.rows(examples, columns, where),
        () if is_usual else (task.label, *task.labels),
    )
