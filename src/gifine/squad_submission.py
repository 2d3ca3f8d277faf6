"""JSON by question: the answers and how likely there is none, as SQuAD's official script takes them, and the n best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gifine.config import TaskConfig
from gifine.machine import disk

if TYPE_CHECKING:  # whose package imports transformers: seconds
    from gifine.objectives.question_answering.decoding import Answers
    from gifine.objectives.question_answering.scoring import Questions

SUFFIX: str = ".json"


def write(
    path: Path, predicted: tuple[Questions, Answers], task: TaskConfig, thresholds: Mapping[str, float]
) -> dict[Path, str]:
    """The file of predictions, {id: text}, and beside it others, whose names end in:

        -nbest      {id: [{text, start, end, score}, …]}, best first: characters in the context, the sum of two logits
        -na_prob    the script's `--na-prob-file`, {id: probability that there is no answer}, if there may be none

    In the first "" says that there is no answer: where doubt is above the first of `thresholds`, which is the one that
    was chosen if any was, else above 0. The probability is the logistic function of doubt, a difference of scores: what
    a softmax over the best answer and "no answer" gives. A threshold of doubt t is one of 1 / (1 + exp(−t)) there.

    Raises:
        OutputError: if one cannot be written.
    """
    questions, answers = predicted
    texts = answers.texts(questions.contexts)
    taken = answers.doubts > (next(iter(thresholds.values()), 0.0) if task.unanswerable else np.inf)
    given = ["" if none else text for text, none in zip(texts, taken.tolist(), strict=True)]
    told = f"{len(given)} answers" + (f", {given.count('')} of them none" if task.unanswerable else "")
    written = {path: told, path.with_stem(f"{path.stem}-nbest"): "the best answers to each, with scores"}
    contents: list[Sequence[object]] = [given, _best(questions, answers)]
    if task.unanswerable:
        with np.errstate(over="ignore"):  # exp(1000) is inf, and the probability 0
            contents.append((1 / (1 + np.exp(-answers.doubts))).tolist())
        written[path.with_stem(f"{path.stem}-na_prob")] = "how likely each has none"
    for file, entries in zip(written, contents, strict=True):
        named = dict(zip(questions.ids, entries, strict=True))
        disk.write_text(file, json.dumps(named, ensure_ascii=False) + "\n")
    return written


def _best(questions: Questions, answers: Answers) -> list[list[dict[str, object]]]:
    columns = (each.tolist() for each in (answers.starts, answers.ends, answers.scores))
    return [
        [
            {"text": context[start:end], "start": start, "end": end, "score": score}
            for start, end, score in zip(*places, strict=True)
            if start >= 0
        ]
        for context, *places in zip(questions.contexts, *columns, strict=True)
    ]
