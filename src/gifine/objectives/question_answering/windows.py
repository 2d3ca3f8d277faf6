"""Questions as windows of token ids: what a model reads of a long context at a time, and what it learns there."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import datasets
import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gifine.config import TaskConfig
from gifine.inputs.questions import Question, Trouble
from gifine.inputs.rows import Row
from gifine.objectives.question_answering import decoding, gold
from gifine.objectives.question_answering.decoding import Windows

LAYOUT: int = 1002  # raise it when the columns of `prepare` change; no other objective has such numbers

_BATCH = 500  # questions at a time
NOT_LEARNT = -1  # in the place of a position: there is no telling where the answer is

# What is noted of a question, and in how many words people are told.
NOTES = {
    Trouble.moved.name: Trouble.moved.value,
    Trouble.nowhere.name: Trouble.nowhere.value,
    "cut": "question longer than task.max_question_tokens: cut",
    "outside": "answer that no window has whole: not learnt",
    "inside": "answer that begins or ends inside a token: whole tokens are learnt",
}


@dataclass(frozen=True)
class _Layout:
    """What a tokenizer puts around a question and its context, by an example: ids, and the type of each part."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: list[int] | None  # of the specials before, the first text, those between, the second text, each after
    context_first: bool
    cls: int  # where cls stands: from the beginning, or negative, from the end

    @property
    def specials(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, question: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, list[int] | None, int]:
        """Token ids, their types, and where the context begins."""
        first, second = (context, question) if self.context_first else (question, context)
        parts = [self.before, first, self.between, second, self.after]
        begin = len(self.before) + (0 if self.context_first else len(first) + len(self.between))
        ids = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
        if self.types is None:
            return ids, None, begin
        heads, tail = self.types[:4], self.types[4:]
        counts = [len(part) for part in parts[:4]]
        return ids, [kind for kind, count in zip(heads, counts, strict=True) for _ in range(count)] + tail, begin


def _layout(tokenizer: PreTrainedTokenizerFast) -> _Layout:
    """Where cls is the last token, as XLNet has it, the context comes first: so its authors trained it."""
    pair = tokenizer("a", "b")
    ids, sides = list(pair["input_ids"]), pair.sequence_ids(0)
    types = list(pair["token_type_ids"]) if "token_type_ids" in pair else None
    first, second = ([at for at, side in enumerate(sides) if side == wanted] for wanted in (0, 1))
    before, between, after = ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
    cls = ids.index(tokenizer.cls_token_id)
    told = None
    if types is not None:
        # Of no tokens, as XLNet has before its first text, the type is never used.
        told = [types[0], types[first[0]], types[first[-1] + 1], types[second[0]], *types[second[-1] + 1 :]]
    is_last = cls == len(ids) - 1
    return _Layout(before, between, after, told, is_last, cls - len(ids) if is_last else cls)


def prepare(
    rows: Sequence[Row],
    task: TaskConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    *,
    labelled: bool,
    fingerprint: str,
) -> Dataset:
    """A row a window, those of a question one after the other.

    Beside what the model takes (start_positions and end_positions are the first and last token of the answer, cls where
    the window has none, NOT_LEARNT where that is not known): idx, length; window, its number among those of its
    question; starts and ends, characters of the context for each token (−1: not of the context); cls, where it stands;
    id, context, answers; notes, words of NOTES, of the question's first window.
    """
    questions, layout = cast("Sequence[Question]", rows), _layout(tokenizer)
    types = {"token_type_ids"} if layout.types is not None else set[str]()

    def encode(batch: dict[str, list[int]]) -> dict[str, Any]:
        made = _Batch([questions[place] for place in batch["place"]], task, tokenizer, layout, max_length)
        return {name: column for name, column in made.columns.items() if name in features}

    features = datasets.Features({name: kind for name, kind in _FEATURES.items() if name not in _TYPES - types})
    examples = datasets.Dataset.from_dict({"place": range(len(questions))}).map(
        encode,
        batched=True,
        batch_size=_BATCH,
        remove_columns=["place"],
        features=features,
        keep_in_memory=True,
        new_fingerprint=fingerprint,  # spares the hash of all questions that map would compute
    )
    assert isinstance(examples, Dataset)
    return examples


_TYPES = {"token_type_ids"}
_NUMBER, _NUMBERS = datasets.Value("int32"), datasets.List(datasets.Value("int32"))
_FEATURES = {
    "input_ids": _NUMBERS,
    "attention_mask": datasets.List(datasets.Value("int8")),
    "token_type_ids": datasets.List(datasets.Value("int8")),
    "start_positions": _NUMBER,
    "end_positions": _NUMBER,
    "idx": _NUMBER,
    "length": _NUMBER,
    "window": _NUMBER,
    "starts": _NUMBERS,
    "ends": _NUMBERS,
    "cls": _NUMBER,
    "id": datasets.Value("string"),
    "context": datasets.Value("string"),
    "answers": datasets.List(datasets.Value("string")),
    "notes": datasets.Value("string"),
}


class _Batch:
    """The windows of some questions, as columns."""

    def __init__(
        self,
        questions: Sequence[Question],
        task: TaskConfig,
        tokenizer: PreTrainedTokenizerFast,
        layout: _Layout,
        max_length: int,
    ) -> None:
        self.questions = questions
        self.columns: dict[str, list[Any]] = {name: [] for name in _FEATURES}
        self.places: list[int] = []  # of each window's question
        self.notes: list[list[str]] = [[] for _ in questions]
        asked = _tokens(tokenizer, [each.texts[0] for each in questions])
        contexts = list(dict.fromkeys(each.texts[1] for each in questions))  # most have several questions
        read = dict(zip(contexts, _tokens(tokenizer, contexts), strict=True))
        for place, (question, (ids, _)) in enumerate(zip(questions, asked, strict=True)):
            if len(ids) > task.max_question_tokens:
                self.notes[place].append("cut")
            self._add(
                place, question, ids[: task.max_question_tokens], *read[question.texts[1]], layout, max_length, task
            )
        self._label()

    def _add(
        self,
        place: int,
        question: Question,
        asked: np.ndarray,
        ids: np.ndarray,
        characters: np.ndarray,
        layout: _Layout,
        max_length: int,
        task: TaskConfig,
    ) -> None:
        room = max_length - layout.specials - len(asked)
        last = max(0, len(ids) - room)  # where a window begins that reaches the end
        steps = range(0, last + task.stride, task.stride)
        for number, begin in enumerate(steps):
            part = slice(begin, begin + room)
            tokens, types, first = layout.join(asked, ids[part])
            ends = np.full((2, len(tokens)), -1, dtype=np.int32)
            ends[:, first : first + len(ids[part])] = characters[part].T
            row = {
                "input_ids": tokens,
                "attention_mask": np.ones(len(tokens), dtype=np.int8),
                "token_type_ids": types,
                "idx": question.idx,
                "length": len(tokens),
                "window": number,
                "starts": ends[0],
                "ends": ends[1],
                "cls": layout.cls % len(tokens),
                "id": question.id,
                "context": question.texts[1],
                "answers": list(question.answers),
            }
            for name, value in row.items():
                self.columns[name].append(value)
            self.places.append(place)

    def _label(self) -> None:
        columns, place = self.columns, np.asarray(self.places)
        windows = Windows(
            place,
            decoding.pad(columns["starts"]),
            decoding.pad(columns["ends"]),
            np.asarray(columns["cls"]),
        )
        spans = np.asarray([(-1, -1) if each.span is None else each.span for each in self.questions])
        first, last = gold.label(windows, *spans[place].T)
        contexts = [each.texts[1] for each in self.questions]
        golds = [None if each.span is None else each.texts[1][slice(*each.span)] for each in self.questions]
        trips = gold.round_trips(windows, first, last, contexts, golds)
        for name, noted in (("outside", trips.nowhere), ("inside", trips.other)):
            for question in noted:
                self.notes[question].append(name)
        for question, each in enumerate(self.questions):
            if each.trouble is not None:
                self.notes[question].append(each.trouble.name)
        unknown = np.asarray([bool({"outside", Trouble.nowhere.name} & {*notes}) for notes in self.notes])[place]
        columns["start_positions"] = np.where(unknown, NOT_LEARNT, first).tolist()
        columns["end_positions"] = np.where(unknown, NOT_LEARNT, last).tolist()
        begins = np.asarray(columns["window"]) == 0
        columns["notes"] = [" ".join(self.notes[at]) if begin else "" for at, begin in zip(place, begins, strict=True)]


def _tokens(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each text the ids (T,) and, for each, its first character and the one after its last (T, 2)."""
    made = tokenizer(
        texts,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,  # it would warn that contexts are longer than the model's longest input
    )
    return [
        (np.asarray(ids, dtype=np.int64), _with_marks(text, np.asarray(offsets, dtype=np.int32).reshape(-1, 2)))
        for text, ids, offsets in zip(texts, made["input_ids"], made["offset_mapping"], strict=True)
    ]


def _with_marks(text: str, offsets: np.ndarray) -> np.ndarray:
    """Offsets (T, 2) with the combining marks after a token in it, which some tokenizers leave out: "é" may be two
    characters, and an answer without the second is another word."""
    marks = [] if text.isascii() else [at for at, one in enumerate(text) if unicodedata.category(one)[0] == "M"]
    for at in marks:
        if not ((offsets[:, 0] <= at) & (at < offsets[:, 1])).any():
            offsets[offsets[:, 1] == at, 1] = at + 1
    return offsets
