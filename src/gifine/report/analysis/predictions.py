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
    labels: np.ndarray  # (N,) classes or numbers
    predicted: np.ndarray  # (N,) classes or numbers


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
            parts = crossed.pseudovalues(metric, answers.predicted[None], answers.labels)[0]
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
        idx, labels, logits = predictions.parse(content)
    except ValueError as error:
        raise UnusableError(f"predictions cannot be read: {error} ({name})") from error
    if not np.isfinite(logits).all():
        raise UnusableError(f"predictions have NaN or infinite logits ({name})")
    if not (idx[1:] > idx[:-1]).all():
        if len(np.unique(idx)) < len(idx):
            raise UnusableError(f"predictions have an example twice ({name})")
        order = np.argsort(idx)
        idx, labels, logits = idx[order], labels[order], logits[order]
    if run.task.is_classification:
        return Answers(idx, labels, logits.argmax(axis=1).astype(np.int32))
    return Answers(idx, labels.astype(float), logits[:, 0].astype(float))


def check_score(run: Run, measure: str, answers: Answers) -> None:
    """Raise an UnusableError if the answers do not give the score of the run's record."""
    found, recorded = score(run.task.metric(measure), answers), run.score(measure)
    if found is None or recorded is None or abs(found - recorded) > _SAME:
        raise UnusableError(f"predictions do not give the record's score ({run.folder.name})")


def score(metric: str, answers: Answers) -> float | None:
    """None where the metric is undefined, or not for such classes."""
    try:
        return metrics.compute([metric], answers.predicted, answers.labels)[metric]
    except (ValueError, TypeError):  # of classes that the metric is not for
        return None
