"""The scores of trials on two halves of dev: one to choose a recipe on, the other to say what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from gifine.objectives.halving import halves
from gifine.report.analysis import cells, comparison, crossed, predictions
from gifine.report.analysis.comparison import Effect
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.pairing import Pair
from gifine.report.analysis.predictions import Answers, Predictions, UnusableError
from gifine.report.reading import Run

Scores = tuple[float, float]  # that chooses, that is reported


class Halves(StrEnum):
    """Where the two scores of a run come from."""

    SPLIT = "evaluate.split_dev"  # of its record: it chose its epoch on one half, too
    PREDICTIONS = "predictions"  # the same halves, of the predictions that it kept
    NONE = "none"  # both are the score on all of dev


@dataclass(slots=True)
class Found:
    halves: Halves
    reason: str | None  # why there are no halves
    scores: dict[int, Scores]  # by id of the run


def read(runs: Sequence[Run], with_predictions: bool) -> Found:
    """Of finished runs of one task, all in the same way.

    A run without a score, such as a diverged one, has tried its recipe too: it counts as the worst that was seen.
    """
    task = runs[0].task
    found = Found(Halves.NONE, None, {})
    numbers: dict[int, Scores | None] = {}
    if task.logged != task.primary:
        found.halves = Halves.SPLIT
        numbers = {id(run): _both(run.selected, run.score(task.primary)) for run in runs}
    elif with_predictions:
        try:
            numbers = _of_predictions(runs)
            found.halves = Halves.PREDICTIONS
        except UnusableError as error:
            found.reason = str(error)
    else:
        found.reason = "predictions were not to be read"
    if found.halves is Halves.NONE:
        numbers = {id(run): _both(run.score(task.primary), run.score(task.primary)) for run in runs}
    known = [each for each in numbers.values() if each is not None]
    worst = (min(each[0] for each in known), min(each[1] for each in known)) if known else (0.0, 0.0)
    found.scores = {place: each or worst for place, each in numbers.items()}
    return found


def _both(chooses: float | None, reported: float | None) -> Scores | None:
    return (chooses, reported) if chooses is not None and reported is not None else None


def _of_predictions(runs: Sequence[Run]) -> dict[int, Scores | None]:
    found: dict[int, Scores | None] = {}
    first: Answers | None = None
    for run in runs:
        if run.score(run.task.primary) is None:
            found[id(run)] = None
            continue
        answers = _checked(run, first)
        first = first or answers
        parts = [answers.at(places) for places in halves(answers.labels)]
        found[id(run)] = _both(*(predictions.score(run.task.metric(run.task.primary), part) for part in parts))
    return found


def _checked(run: Run, like: Answers | None) -> Answers:
    """What a run answered, if that gives the score of its record and is of the same examples as `like`.

    Raises:
        UnusableError: if not.
    """
    measure = run.task.primary
    answers = predictions.read(run, run.task.split(measure))
    predictions.check_score(run, measure, answers)
    if like is not None and not (np.array_equal(answers.idx, like.idx) and np.array_equal(answers.labels, like.labels)):
        raise UnusableError(f"predictions are of other examples ({run.folder.name})")
    return answers


def effect(pairs: Sequence[Pair], halves: Halves, with_predictions: bool) -> Effect:
    """What pairs of scored runs say on the half that is reported; on all of dev, where there are no halves."""
    if not pairs:
        return comparison.effect_of(np.zeros(0))
    if halves is Halves.PREDICTIONS:
        try:
            return _of_half(pairs)
        except UnusableError as error:
            return Effect(cells.summarise([]), reason=str(error))
    kept = Predictions() if with_predictions else None
    return comparison.effect_over(pairs, pairs[0].gated.task.primary, kept)


def _of_half(pairs: Sequence[Pair]) -> Effect:
    task = pairs[0].gated.task
    metric, first = task.metric(task.primary), None
    differences, rows = [], []
    for pair in pairs:
        scores, parts = [], []
        for run in (pair.baseline, pair.gated):
            answers = _checked(run, first)
            first = first or answers
            half = answers.at(halves(answers.labels)[1])
            score = predictions.score(metric, half)
            if score is None:
                raise UnusableError(f"{metric} is undefined on half of the examples ({run.folder.name})")
            scores.append(score)
            parts.append(predictions.pseudovalues(metric, half))
        differences.append(scores[1] - scores[0])
        rows.append(parts[1] - parts[0])
    return comparison.crossed_effect(np.asarray(differences), lambda: _finite(metric, np.asarray(rows)))


def _finite(metric: str, rows: np.ndarray) -> Estimate | None:
    if not np.isfinite(rows).all():
        raise UnusableError(f"{metric} is undefined without one of the examples")
    return crossed.crossed(rows)
