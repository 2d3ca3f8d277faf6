"""What runs answered, example by example, where they kept their predictions and these are the record's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gifine.objectives import metrics, predictions
from gifine.report.analysis import crossed
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.pairing import Pair
from gifine.report.reading import Run

_SAME = 1e-6  # a score computed again may differ by so much: predictions are stored in float32


class UnusableError(Exception):
    """Predictions that are missing, damaged, or not those of the record."""


@dataclass(slots=True, frozen=True)
class Answers:
    """Of one run on one split, by the examples' place in their file."""

    idx: np.ndarray  # (N,)
    labels: np.ndarray  # (N,) classes or numbers; of questions 1 where there is an answer and 0 where there is none
    predicted: np.ndarray  # (N,) classes or numbers; of questions (N, 2), exact match and F1 of what was answered

    @property
    def of_questions(self) -> bool:
        return self.predicted.ndim == 2

    def at(self, places: np.ndarray) -> Answers:
        return Answers(self.idx[places], self.labels[places], self.predicted[places])


@dataclass(slots=True)
class Predictions:
    """Reads each run's predictions once as long as comparisons of one task follow each other."""

    task: object = None
    answers: dict[tuple[int, str], Answers | str] = field(
        default_factory=dict
    )  # by run and split; or why there are none
    parts: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)  # by run and measure: pseudovalues (N,)

    def estimate(self, pairs: Sequence[Pair], measure: str) -> Estimate | None:
        """The mean difference over pairs and examples; None where nothing varies.

        Raises:
            UnusableError: if the predictions of any pair cannot be used.
        """
        of = pairs[0].gated.setup, pairs[0].gated.task
        if of != self.task:
            self.task = of
            self.answers.clear()
            self.parts.clear()
        split = pairs[0].gated.task.split(measure)
        first = self._read(pairs[0].baseline, split)
        if len(first.labels) < 2:
            raise UnusableError("there is one example")
        rows = []
        for pair in pairs:
            for run in (pair.baseline, pair.gated):
                answers = self._read(run, split)
                if not (np.array_equal(answers.idx, first.idx) and np.array_equal(answers.labels, first.labels)):
                    raise UnusableError(f"predictions are of other examples ({run.folder.name})")
            rows.append(self._parts(pair.gated, measure) - self._parts(pair.baseline, measure))
        return crossed.crossed(np.asarray(rows))

    def _parts(self, run: Run, measure: str) -> np.ndarray:
        """Pseudovalues (N,) of a run whose predictions give the score of its record."""
        key = id(run), measure
        if key not in self.parts:
            answers, metric = self._read(run, run.task.split(measure)), run.task.metric(measure)
            check_score(run, measure, answers)
            parts = pseudovalues(metric, answers)
            if not np.isfinite(parts).all():
                raise UnusableError(f"{metric} is undefined without one of the examples ({run.folder.name})")
            self.parts[key] = parts
        return self.parts[key]

    def _read(self, run: Run, split: str) -> Answers:
        key = id(run), split
        if key not in self.answers:
            try:
                self.answers[key] = read(run, split)
            except UnusableError as error:
                self.answers[key] = str(error)
        found = self.answers[key]
        if isinstance(found, str):
            raise UnusableError(found)
        return found


def read(run: Run, split: str) -> Answers:
    """What a run answered on a split.

    Raises:
        UnusableError: if nothing was kept, if the file is not the one that the record speaks of, or if it is damaged,
            has an example twice or numbers that are none.
    """
    name, path = run.folder.name, predictions.locate(run.folder, split)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnusableError("no predictions were kept") from None
    except OSError as error:
        raise UnusableError(f"predictions cannot be read: {error.strerror} ({name})") from error
    recorded = run.predictions.get(split)
    if recorded is not None and hashlib.sha256(content).hexdigest() != recorded:
        raise UnusableError(f"predictions are another file than the record's: their sha256 differs ({name})")
    try:
        idx, labels, predicted = _parse(content, run)
    except ValueError as error:
        raise UnusableError(f"predictions cannot be read: {error} ({name})") from error
    if not np.isfinite(predicted).all():
        kind = "scores" if run.task.of_questions else "logits"
        raise UnusableError(f"predictions have NaN or infinite {kind} ({name})")
    if not (idx[1:] > idx[:-1]).all():
        if len(np.unique(idx)) < len(idx):
            raise UnusableError(f"predictions have an example twice ({name})")
        order = np.argsort(idx)
        idx, labels, predicted = idx[order], labels[order], predicted[order]
    if run.task.of_questions:
        return Answers(idx, labels, predicted)
    if run.task.is_classification:
        return Answers(idx, labels, predicted.argmax(axis=1).astype(np.int32))
    return Answers(idx, labels.astype(float), predicted[:, 0].astype(float))


def _parse(content: bytes, run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not run.task.of_questions:
        return predictions.parse(content)
    idx, answerable, scores = predictions.parse_answers(content)
    return idx, answerable.astype(np.int32), scores


def check_score(run: Run, measure: str, answers: Answers) -> None:
    """Raise an UnusableError if the answers do not give the score of the run's record."""
    found, recorded = score(run.task.metric(measure), answers), run.score(measure)
    if found is None or recorded is None or abs(found - recorded) > _SAME:
        raise UnusableError(f"predictions do not give the record's score ({run.folder.name})")


def score(metric: str, answers: Answers) -> float | None:
    """None where the metric is undefined, or not for such classes.

    Raises:
        UnusableError: for a metric of questions that is no mean over them.
    """
    if answers.of_questions:
        kind, scores = _of_questions(metric, answers)
        return float(scores[kind].mean()) if kind.any() else None
    try:
        return metrics.compute([metric], answers.predicted, answers.labels)[metric]
    except (ValueError, TypeError):  # of classes that the metric is not for
        return None


def pseudovalues(metric: str, answers: Answers) -> np.ndarray:
    """Each example's part in a run's score, (N,): see `crossed.pseudovalues`.

    Of a mean over all questions it is the question's own score; of one over a kind of questions, which ones these are
    counts as drawn, too.
    """
    if not answers.of_questions:
        return crossed.pseudovalues(metric, answers.predicted[None], answers.labels)[0]
    kind, scores = _of_questions(metric, answers)
    if kind.all():
        return scores
    count, size = len(scores), int(kind.sum())
    if size < 2:
        return np.full(count, np.nan)
    mean = scores[kind].mean()
    without = np.where(kind, (size * mean - scores) / (size - 1), mean)
    found = count * mean - (count - 1) * without
    return found + (mean - found.mean())


def _of_questions(metric: str, answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Which questions a metric is the mean of (N,), and their scores (N,)."""
    kind, _, name = metric.rpartition("_") if metric != "exact_match" else ("", "", "exact")
    if kind not in ("", "HasAns", "NoAns"):
        raise UnusableError(f"{metric} is no mean over questions")
    whole = np.full(len(answers.labels), True)
    places = {"": whole, "HasAns": answers.labels == 1, "NoAns": answers.labels == 0}[kind]
    return places, answers.predicted[:, ("exact", "f1").index(name)]
