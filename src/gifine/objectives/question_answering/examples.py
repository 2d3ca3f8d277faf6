"""Windows, once `windows.prepare` has made them: which are trained on or evaluated, and what scores read of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from gifine.config import RunConfig
from gifine.errors import DataError
from gifine.inputs import dataset
from gifine.inputs.dataset import Split
from gifine.objectives import halving
from gifine.objectives.ordering import order, take
from gifine.objectives.question_answering.decoding import Windows
from gifine.objectives.question_answering.scoring import Questions
from gifine.objectives.question_answering.windows import NOT_LEARNT, NOTES

log = logging.getLogger(__name__)

_ORDINARY = ("cut", "inside")  # of NOTES: of sound data, too


def arrange(splits: Mapping[str, Split], config: RunConfig) -> dict[str, Dataset]:
    """The windows to evaluate on by split, the one that chooses the best checkpoint first, in the order of batches.

    With `evaluate.split_dev` the first split comes as two halves of its questions, `<split>_select` and
    `<split>_report`.
    """
    chosen = {name: splits[name].examples for name in dataset.evaluation_splits(config.task)}
    if config.evaluate.split_dev:
        first, *others = chosen
        halves = halves_of(chosen[first])
        names = (f"{first}_select", f"{first}_report")
        chosen = dict(zip(names, halves, strict=True)) | {name: chosen[name] for name in others}
    return {name: order(examples, config) for name, examples in chosen.items()}


def halves_of(examples: Dataset) -> tuple[Dataset, Dataset]:
    """One to choose on and one to report, all windows of a question in one: `halving.halves` of questions.

    Both have as many questions without an answer. DataError for a single question.
    """
    idx = np.asarray(examples["idx"])
    rows = np.flatnonzero(np.asarray(examples["window"]) == 0)
    if len(rows) < 2:
        raise DataError("evaluate.split_dev=true: there is one question to evaluate on, and two halves need two")
    answered = np.asarray([bool(answers) for answers in take(examples, rows)["answers"]])
    select, report = (np.flatnonzero(np.isin(idx, idx[rows][half])) for half in halving.halves(answered))
    return take(examples, select), take(examples, report)


def learnable(examples: Dataset) -> Dataset:
    """Without the windows of questions of which nobody knows where the answer is. DataError if none is left."""
    known = np.asarray(examples["start_positions"]) != NOT_LEARNT
    if not known.any():
        raise DataError("no question can be trained on: of none it is known where in its context the answer is")
    return examples if known.all() else take(examples, np.flatnonzero(known))


def describe(examples: Dataset, split: str) -> dict[str, Any]:
    """How many questions there are, and by each of NOTES how many it is said of, and the ids of the first few."""
    first = take(examples, np.flatnonzero(np.asarray(examples["window"]) == 0))
    ids, found = first["id"][:], {name: list[int]() for name in NOTES}
    for place, notes in enumerate(first["notes"][:]):
        for name in notes.split():
            found[name].append(place)
    told: dict[str, Any] = {"questions": len(ids)}
    for name, places in found.items():
        if places:
            few = [ids[at] for at in places[:5]]
            told[name] = {"questions": len(places), "ids": few}
            named = f"{', '.join(few)}{' …' if len(places) > len(few) else ''}"
            level = logging.INFO if name in _ORDINARY else logging.WARNING
            log.log(level, "%s: %d of %d questions: %s (%s)", split, len(places), len(ids), NOTES[name], named)
    return told


def read(examples: Dataset) -> tuple[Questions, Windows]:
    """What scores are made of, beside logits, of these windows in their order."""
    idx, question = np.unique(np.asarray(examples["idx"]), return_inverse=True)
    rows = np.flatnonzero(np.asarray(examples["window"]) == 0)
    first = take(examples, rows[np.argsort(question[rows])])
    ids, contexts, answers = (first[name][:] for name in ("id", "context", "answers"))
    starts, ends = (_padded(examples, name) for name in ("starts", "ends"))
    return Questions(idx, ids, contexts, answers), Windows(question, starts, ends, np.asarray(examples["cls"]))


def _padded(examples: Dataset, name: str) -> np.ndarray:
    """A column of lists as (N, T), filled up with −1; no number becomes an object of Python."""
    table = examples.select_columns([name]).with_format("arrow")[:]
    assert isinstance(table, pa.Table)
    column = table[name].combine_chunks()
    lengths = np.asarray(column.value_lengths())
    padded = np.full((len(lengths), int(lengths.max(initial=0))), -1, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.asarray(column.flatten())
    return padded
