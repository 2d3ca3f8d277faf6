"""What a model answered, as scores: all of a split, and question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gifine.objectives import predictions, squad_scores
from gifine.objectives.question_answering import thresholds
from gifine.objectives.question_answering.decoding import Answers


@dataclass(frozen=True)
class Questions:
    """Q questions of a split, in the order of their windows' `question`."""

    idx: np.ndarray  # (Q,) the row in the file
    ids: Sequence[str]
    contexts: Sequence[str]
    golds: Sequence[Sequence[str]]  # none: the question has no answer

    @property
    def answerable(self) -> np.ndarray:
        return np.asarray([bool(each) for each in self.golds])


@dataclass(frozen=True)
class Scored:
    metrics: dict[
        str, float | None
    ]  # in 0 … 1 by their official names; None: of a kind of question that does not occur
    exact: np.ndarray  # (Q,)
    f1: np.ndarray  # (Q,)
    texts: list[str]  # (Q) as they are handed in; "": no answer
    threshold: float | None  # answers of more doubt are taken back; None: none are
    best_threshold: float | None  # with which `best_f1` would be had, chosen on these very questions


def score(questions: Questions, answers: Answers, *, no_answers: bool, threshold: float = 0.0) -> Scored:
    """By v2.0's rules with `no_answers`, and then without the answers of which doubt is above `threshold`; else v1.1's.

    A threshold of 0 takes an answer back where "no answer" scores higher. `best_exact` and `best_f1` choose it on these
    very questions: no threshold could do better, and on other questions none may do as well.
    """
    texts = answers.texts(questions.contexts)
    exact, f1 = squad_scores.judge(texts, questions.golds, no_answers=no_answers)
    if not no_answers:
        means: dict[str, float | None] = {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
        return Scored(means, exact, f1, texts, None, None)
    answerable = questions.answerable
    given = np.asarray([bool(text) for text in texts])
    metrics: dict[str, float | None] = dict.fromkeys(squad_scores.V2)
    at = None
    for name, raw in (("exact", exact), ("f1", f1)):
        metrics[f"best_{name}"], at = squad_scores.oracle(raw, answerable, given, answers.doubts)
    taken = answers.doubts > threshold
    exact, f1 = (squad_scores.without(each, answerable, taken) for each in (exact, f1))
    told = squad_scores.tell(exact, f1, answerable)
    metrics |= {name: value / 100 for name, value in told.items() if name in squad_scores.V2}
    final = ["" if none else text for text, none in zip(texts, taken.tolist(), strict=True)]
    return Scored(metrics, exact, f1, final, threshold, at)


def choose_threshold(questions: Questions, answers: Answers, metric: str) -> float:
    """The one with the best `metric` on these questions: exact or f1."""
    exact, f1 = squad_scores.judge(answers.texts(questions.contexts), questions.golds, no_answers=True)
    return thresholds.choose(answers.doubts, exact if "exact" in metric else f1, questions.answerable)


def columns(questions: Questions, answers: Answers, scored: Scored) -> dict[str, Sequence[object] | np.ndarray]:
    """For `predictions.write_answers`, which says what they hold."""
    return {
        predictions.ID: questions.ids,
        "text": scored.texts,
        "start": answers.starts[:, 0],
        "end": answers.ends[:, 0],
        "score": answers.scores[:, 0],
        "null_score": answers.nulls,
        predictions.ANSWERABLE: questions.answerable,
        predictions.EXACT: scored.exact,
        predictions.F1: scored.f1,
    }
