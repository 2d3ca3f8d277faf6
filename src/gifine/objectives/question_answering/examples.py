"""Windows, once `windows.prepare` has made them: which are trained on or evaluated, and what scores read of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from gifine.config import RunConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs import dataset
from gifine.inputs.dataset import Split
from gifine.objectives import halving
from gifine.objectives.ordering import order, take
from gifine.objectives.question_answering import decoding
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
        halves = halves_of(chosen[first], config.task)
        names = (f"{first}_select", f"{first}_report")
        chosen = dict(zip(names, halves, strict=True)) | {name: chosen[name] for name in others}
    if config.task.unanswerable:
        _check_kinds(chosen, config.task)
        train = config.task.train_split
        _tell_kinds({train: splits[train].examples} | chosen if train in splits else chosen)
    return {name: order(examples, config) for name, examples in chosen.items()}


def _check_kinds(chosen: Mapping[str, Dataset], task: TaskConfig) -> None:
    """DataError if the metric that chooses would be of no question."""
    split, examples = next(iter(chosen.items()))
    answered = _answered(examples)
    for kind, words, found in (("HasAns", "with", answered), ("NoAns", "without", ~answered)):
        if task.select_by.startswith(kind) and not found.any():
            raise DataError(
                f"task.select_by={task.select_by}: {split} has no question {words} an answer; it would be undefined"
            )


def _tell_kinds(splits: Mapping[str, Dataset]) -> None:
    for split, examples in splits.items():
        answered = _answered(examples)
        if answered.all() or not answered.any():
            kind = "each" if answered.any() else "none"
            log.warning("%s: %s of %d questions has an answer", split, kind, len(answered))


def halves_of(examples: Dataset, task: TaskConfig) -> tuple[Dataset, Dataset]:
    """One to choose on and one to report, all windows of a question in one: `halving.halves` of questions.

    Both have as many questions without an answer. DataError for a single question, and where one of the halves would
    lack a kind, since a threshold is chosen between the two.
    """
    idx = np.asarray(examples["idx"])
    rows = np.flatnonzero(np.asarray(examples["window"]) == 0)
    if len(rows) < 2:
        raise DataError("evaluate.split_dev=true: there is one question to evaluate on, and two halves need two")
    answered = _answered(examples)
    if task.unanswerable and min(found := int(answered.sum()), len(answered) - found) < 2:
        raise DataError(
            f"evaluate.split_dev=true: of {len(answered)} questions to evaluate on {found} have an answer; each half "
            "needs one that has, and one that has none"
        )
    select, report = (np.flatnonzero(np.isin(idx, idx[rows][half])) for half in halving.halves(answered))
    return take(examples, select), take(examples, report)


def learnable(examples: Dataset) -> Dataset:
    """Without the windows of questions of which nobody knows where the answer is. DataError if none is left."""
    known = np.asarray(examples["start_positions"]) != NOT_LEARNT
    if not known.any():
        raise DataError("no question can be trained on: of none it is known where in its context the answer is")
    return examples if known.all() else take(examples, np.flatnonzero(known))


def _answered(examples: Dataset) -> np.ndarray:
    """Whether each question has an answer, (Q,)."""
    first = take(examples, np.flatnonzero(np.asarray(examples["window"]) == 0))
    return np.asarray([bool(answers) for answers in first["answers"]])


def describe(examples: Dataset, split: str) -> dict[str, Any]:
    """How many questions there are, in how many windows; of each of NOTES how many, and the ids of the first few."""
    first = take(examples, np.flatnonzero(np.asarray(examples["window"]) == 0))
    ids, found = first["id"][:], {name: list[int]() for name in NOTES}
    for place, notes in enumerate(first["notes"][:]):
        for name in notes.split():
            found[name].append(place)
    told: dict[str, Any] = {"questions": len(ids), "windows": len(examples)}
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
    return decoding.fill(np.asarray(column.value_lengths()), np.asarray(column.flatten()))
