"""What pairs of runs answered, example by example, where both kept their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gifine.objectives import metrics, predictions
from gifine.report.analysis.pairing import Pair
from gifine.report.reading import Run

_SAME = 1e-6  # a score computed again may differ by so much: predictions are stored in float32


@dataclass(slots=True)
class PredictionTest:
    """The test on examples. `p` is None where there was none, and `reason` says why."""

    test: str  # mcnemar, or bootstrap
    pairs: int = 0
    p: float | None = None
    interval: tuple[float, float] | None = None  # 95 %, of the difference; None for mcnemar
    counts: list[tuple[int, int]] | None = None  # mcnemar: of each pair, examples that the one side alone has right:
    # gated, baseline
    by_pair: list[float] | None = None  # mcnemar: p of each pair
    reason: str | None = None


def test(pairs: Sequence[Pair], measure: str) -> PredictionTest:
    """Of the pairs whose predictions agree with their records; McNemar's for accuracy, else the paired bootstrap."""
    task = pairs[0].gated.task
    metric = task.metric(measure)
    found = PredictionTest("mcnemar" if metric == "accuracy" else "bootstrap")
    answers: list[tuple[np.ndarray, np.ndarray]] = []
    labels = None
    for pair in pairs:
        try:
            (theirs, right), (ours, again) = (_answers(run, measure) for run in (pair.baseline, pair.gated))
            if labels is None:
                labels = right
            if not (np.array_equal(right, again) and np.array_equal(right, labels)):
                raise _UnusableError("predictions are of other examples")
        except _UnusableError as error:
            found.reason = str(error)
            continue
        answers.append((theirs, ours))
    if labels is None or not answers:
        return found
    from gifine.report.analysis import (
        examples,  # scipy.stats: half a second, which a report without predictions need not wait
    )

    found.pairs = len(answers)
    baseline, gated = (np.asarray(side) for side in zip(*answers, strict=True))
    if metric == "accuracy":
        net = (gated == labels).astype(int) - (baseline == labels).astype(int)
        found.counts = [(int(np.sum(each > 0)), int(np.sum(each < 0))) for each in net]
        found.by_pair = [examples.mcnemar(each) for each in net]
        found.p = examples.mcnemar(net.sum(axis=0))
    else:
        found.p, *interval = examples.paired_bootstrap(metric, baseline, gated, labels)
        found.interval = (interval[0], interval[1])
    return found


class _UnusableError(Exception):
    """Predictions that are missing, damaged, or not those of the record."""


def _answers(run: Run, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted classes or numbers and labels, each (N,), by the examples' place in their file."""
    path = predictions.locate(run.folder, run.task.split(measure))
    if not path.is_file():
        raise _UnusableError("no predictions were kept")
    try:
        labels, logits = predictions.read(path)
        predicted = logits.argmax(axis=1).astype(np.int16) if run.task.is_classification else logits[:, 0].astype(float)
        score = metrics.compute([run.task.metric(measure)], predicted, labels)[run.task.metric(measure)]
    except (ValueError, TypeError) as error:
        raise _UnusableError(f"predictions cannot be read: {error}") from error
    recorded = run.score(measure)
    if score is None or recorded is None or abs(score - recorded) > _SAME:
        raise _UnusableError("predictions do not give the record's score")
    return predicted, labels
