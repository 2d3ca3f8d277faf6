"""Questions with their contexts and answers: SQuAD's JSON, and rows as the Hub has them.

An answer has a place, `answer_start`, where the context has to say the same. Where it does not, a place is found only
if there is no doubt about it; else the question is not learnt. Either is told (`Trouble`). For scores, which read
the texts alone, all answers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from gifine.config import TaskConfig
from gifine.errors import DataError
from gifine.inputs.own_files import parse_json
from gifine.inputs.rows import Row, as_text, missing_column, read_text, shown

VERSION = 1  # raise it when what is read of the same file changes


class Trouble(Enum):
    """What may be wrong with the answer that a question is trained on; the values are for people."""

    moved = "answer at another place than answer_start, where its text is"
    nowhere = "answer that is not in its context, or there more than once and not at answer_start: not learnt"


@dataclass(frozen=True, slots=True)
class Question(Row):
    """`texts` are the question and its context, in this order."""

    id: str = ""
    answers: tuple[str, ...] = ()  # all that count as right; none: there is no answer in the context
    # characters of the context that the answer to learn has, without outer white space; None: there is none, or not
    # where it is said to be
    span: tuple[int, int] | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True)
class _Raw:
    where: str  # for messages
    id: object
    question: object
    context: object
    answers: Sequence[tuple[object, object]]  # text and answer_start
    impossible: bool | None = None  # what the source says; None: nothing


def read(path: Path, task: TaskConfig, *, labelled: bool = True) -> list[Question]:
    """The questions of a file in SQuAD's JSON; without `labelled`, as of a test set, answers need not be there.

    Raises:
        DataError: with the path within the JSON, for whatever does not fit.
    """
    document = parse_json(read_text(path), path, wanted="questions are in SQuAD's JSON")
    if isinstance(document, list):
        raise DataError(f'{path}: a list, not SQuAD\'s JSON, {{"data": [{{"paragraphs": [{{"context", "qas"}}]}}]}}')
    return _checked([*_of_document(document, str(path), labelled)], task, str(path), labelled)


def of_cells(
    rows: Sequence[Mapping[str, Any]], task: TaskConfig, where: str, *, labelled: bool = True
) -> list[Question]:
    """The questions of rows with a column `id`, those of `task.inputs` and `task.label`, as the Hub has them.

    Raises:
        DataError: with the number of the row, for whatever does not fit.
    """
    question, context = task.inputs
    raws = [
        _Raw(
            f"{where}, row {row}",
            cells["id"],
            cells[question],
            cells[context],
            _pairs(cells[task.label], f"{where}, row {row}: {task.label}") if labelled else (),
        )
        for row, cells in enumerate(rows)
    ]
    return _checked(raws, task, where, labelled)


def columns(task: TaskConfig, present: Sequence[str], where: str, *, labelled: bool) -> list[str]:
    """The columns that `of_cells` reads. DataError for one that is not there."""
    wanted = ["id", *task.inputs, *([task.label] if labelled else [])]
    for name in wanted:
        if name not in present:
            raise missing_column(where, name, present)
    return wanted


def _of_document(document: object, path: str, labelled: bool) -> Iterator[_Raw]:
    for article_at, article in _list(document, "data", path, ""):
        for paragraph_at, paragraph in _list(article, "paragraphs", path, article_at):
            context = _entry(paragraph, "context", path, paragraph_at)
            for at, question in _list(paragraph, "qas", path, paragraph_at):
                where = f"{path}: {at}"
                name, asked = (_entry(question, key, path, at) for key in ("id", "question"))
                answers: list[tuple[object, object]] = []
                if labelled:
                    for answer_at, answer in _list(question, "answers", path, at):
                        entries = (_entry(answer, key, path, answer_at) for key in ("text", "answer_start"))
                        answers.append((next(entries), next(entries)))
                impossible = question.get("is_impossible")
                if impossible is not None and not isinstance(impossible, bool):
                    raise DataError(f"{where}.is_impossible: {shown(impossible)} is neither true nor false")
                if labelled and impossible is not None and impossible == bool(answers):
                    have = "has answers" if answers else "has no answers"
                    raise DataError(f"{where}: is_impossible is {shown(impossible)}, and it {have}")
                yield _Raw(where, name, asked, context, answers, impossible)


def _entry(entries: Any, key: str, path: str, at: str) -> Any:
    if not isinstance(entries, dict):
        raise DataError(f"{path}: {at or 'the file'} is {shown(entries)}, not an object with '{key}'")
    if key not in entries:
        raise DataError(f"{path}: {at or 'the file'} has no '{key}'; it has: {', '.join(entries) or 'nothing'}")
    return entries[key]


def _list(entries: Any, key: str, path: str, at: str) -> Iterator[tuple[str, Any]]:
    """The entries of a list below `key`, each with its path, such as `data[0].paragraphs[3]`."""
    found = _entry(entries, key, path, at)
    inner = f"{at}.{key}".lstrip(".")
    if not isinstance(found, list):
        raise DataError(f"{path}: {inner} is {shown(found)}, not a list")
    for number, each in enumerate(found):
        yield f"{inner}[{number}]", each


def _pairs(cell: object, where: str) -> list[tuple[object, object]]:
    """Texts and places of a cell: lists below `text` and `answer_start`, or a list of such objects."""
    try:
        if isinstance(cell, dict):
            return list(zip(cell["text"], cell["answer_start"], strict=True))
        if isinstance(cell, list):
            return [(each["text"], each["answer_start"]) for each in cell]
    except (TypeError, KeyError, ValueError):
        pass
    raise DataError(f"{where} holds {shown(cell)}, not lists `text` and `answer_start` of one length")


def _checked(raws: Sequence[_Raw], task: TaskConfig, where: str, labelled: bool) -> list[Question]:
    if not raws:
        raise DataError(f"{where} has no questions")
    found, seen = [], dict[str, str]()
    for idx, raw in enumerate(raws):
        made = _question(raw, idx)
        if made.id in seen:
            raise DataError(f"{raw.where}: id '{made.id}' is there twice, first {seen[made.id]}")
        seen[made.id] = raw.where
        if labelled and not made.answers and not task.unanswerable:
            raise DataError(
                f"{raw.where}: no answers, and task={task.name} is of questions that have one; "
                "task.unanswerable=true takes others, as task=squad_v2 does"
            )
        found.append(made)
    silent = all(raw.impossible is None for raw in raws)
    if labelled and task.unanswerable and silent and all(each.answers for each in found):
        raise DataError(
            f"{where}: all questions have answers, and nothing says that one could have none: SQuAD 1.1's data? "
            f"task={task.name} is for SQuAD 2.0's; task=squad, or task.unanswerable=false, takes these"
        )
    return found


def _question(raw: _Raw, idx: int) -> Question:
    name, question, context = (
        as_text(value, what, raw.where)
        for value, what in ((raw.id, "id"), (raw.question, "question"), (raw.context, "context"))
    )
    if not name.strip():
        raise DataError(f"{raw.where}: its id is empty")
    if not context.strip():
        raise DataError(f"{raw.where}: its context is empty")
    answers = []
    for text, start in raw.answers:
        if not isinstance(start, int) or isinstance(start, bool):
            raise DataError(f"{raw.where}: answer_start is {shown(start)}, not a whole number")
        answers.append((as_text(text, "text", raw.where), start))
    span, trouble = _to_learn(context, answers)
    return Question((question, context), idx, None, name, tuple(text for text, _ in answers), span, trouble)


def _to_learn(context: str, answers: Sequence[tuple[str, int]]) -> tuple[tuple[int, int] | None, Trouble | None]:
    """The characters of the first answer that is where it is said to be; else of the first one with one place alone."""
    given = [(text, start) for text, start in answers if text.strip()]
    for text, start in given:
        if start >= 0 and context.startswith(text, start):
            return _stripped(text, start), None
    for text, start in given:
        for place in (*(count(context, start) for count in _COUNTED), _only(context, text)):
            if place is not None and context.startswith(text, place):
                return _stripped(text, place), Trouble.moved
    return None, Trouble.nowhere if answers else None


def _stripped(text: str, start: int) -> tuple[int, int]:
    begin = start + len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())


def _only(context: str, text: str) -> int | None:
    """Where the text is, if it is there once."""
    place = context.find(text)
    return place if place >= 0 and context.find(text, place + 1) < 0 else None


def _in_utf16(context: str, start: int) -> int | None:
    """The character at this many units of UTF-16, in which JavaScript counts: an emoji is two."""
    return _decoded(context.encode("utf-16-le"), 2 * start, "utf-16-le")


def _in_utf8(context: str, start: int) -> int | None:
    """The character at this many bytes."""
    return _decoded(context.encode(), start, "utf-8")


def _decoded(content: bytes, start: int, encoding: str) -> int | None:
    try:
        return len(content[:start].decode(encoding)) if 0 <= start <= len(content) else None
    except UnicodeDecodeError:  # in the middle of a character
        return None


_COUNTED: tuple[Callable[[str, int], int | None], ...] = (_in_utf16, _in_utf8)
