"""Changed runs against their baseline, one setting and task at a time: the differences, and how well they are known.

What may be concluded depends on all comparisons together: `families.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from gifine.report import settings
from gifine.report.analysis import cells, pairing, predictions, statistics
from gifine.report.analysis.cells import Key, Summary
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.pairing import Pair
from gifine.report.analysis.predictions import Predictions
from gifine.report.reading import Run, progress
from gifine.report.settings import Settings, Task, Value
from gifine.runs.records import Status


class Verdict(StrEnum):
    HELPS = "helps"
    HURTS = "hurts"
    SAME = "no difference"  # above the margin
    UNDECIDED = "undecided"


class Basis(StrEnum):
    """What a difference was held against: what else might have been drawn."""

    CROSSED = "runs and examples"
    RUNS = "runs, given this dev set"


@dataclass(slots=True)
class Effect:
    """Changed minus baseline over pairs of runs; fractions, not percent.

    The fields from `p_holm` on are of primary measures only: `families.judge` fills them in.
    """

    summary: Summary  # of the differences of scores
    basis: Basis = Basis.RUNS
    estimate: Estimate | None = None  # None: below two pairs, or nothing varies
    reason: str | None = None  # why it is not of runs and examples
    p: float | None = None  # of no difference, two-sided; None below two pairs
    p_sign_flip: float | None = None  # exact, given this dev set
    p_equivalent: float | None = None  # of a difference of the margin or more; None where there is no estimate
    p_holm: float | None = None  # corrected over the family
    p_equivalent_holm: float | None = None
    verdict: Verdict | None = None  # None: of a measure that no verdict is about
    why: str | None = None  # there can be no verdict at all; None where the numbers speak
    detectable: float | None = None  # difference that is found in 80 % of sweeps, at the level that decides
    detectable_interval: tuple[float, float] | None = None  # 95 %: of few seeds the deviation is hardly known

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, of this one difference."""
        return self.estimate.interval() if self.estimate is not None else None


@dataclass(slots=True)
class Choice:
    """That scores are of the best evaluation, and what the last one would say."""

    on_other_half: bool  # evaluate.split_dev: chosen on examples that are not reported
    last: Estimate | None  # the difference at the last evaluation, given this dev set
    last_mean: float | None
    differences: list[float | None]  # by pair, at the last evaluation; None: it is not known on both sides
    evaluations: tuple[list[int], list[int]]  # of baseline and changed runs, as far as they are known

    @property
    def pairs(self) -> int:
        """Whose last evaluation is known on both sides."""
        return sum(each is not None for each in self.differences)


@dataclass(slots=True)
class Comparison:
    """One measure of one task, with a change of one setting and without."""

    model: str
    extra: dict[str, Value]  # further keys that tell comparisons apart
    gate: Settings
    task: Task
    measure: str  # task/split/metric
    tried: list[Pair]  # by seed, whatever became of them
    pairs: list[Pair]  # of `tried`, those with a score on both sides
    effect: Effect
    regular: Effect | None  # without pairs that have a degenerate run, never judged; None if there are none
    failures: dict[str, dict[Status, int]]  # of `baseline` and `gated`: runs other than done, in all pairs
    cautions: list[str] = field(default_factory=list)
    choice: Choice | None = None  # where the runs chose their best evaluation
    worst: tuple[Estimate, Estimate] | None = None  # of all tried pairs, if lost runs were the worst, and the best
    doubt: str | None = None  # why its numbers allow no verdict, whatever they are
    is_declared: bool = False  # one of those that were named as primary
    family: int = 0  # how many comparisons it was corrected with, itself included; 0: with none

    @property
    def is_primary(self) -> bool:
        """Verdicts are about the measure that chose the checkpoints; others are descriptive."""
        return self.measure == self.task.primary

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        """Of baseline and gated, by pair."""
        both = [(each.baseline.score(self.measure), each.gated.score(self.measure)) for each in self.pairs]
        return [a for a, _ in both if a is not None], [b for _, b in both if b is not None]


def compare(pairs: Sequence[Pair], *, with_predictions: bool = True) -> list[Comparison]:
    """A comparison for each model, changed setting, task and official measure, by these in the order of tables.

    They have no verdicts: `families.judge` gives them.
    """
    baselines = {id(each.gated): each.baseline for each in pairs}
    groups = cells.group([each.gated for each in pairs], ["model", "gi", "task"])
    kept = Predictions() if with_predictions else None
    found: list[tuple[tuple[Any, ...], Comparison]] = []
    # Settings of one task are compared one after the other: they share the baseline's predictions.
    ordered = sorted(groups.runs.items(), key=lambda item: _place(*item, by_task=True))
    for (names, extra), runs in progress(ordered, "comparing", "settings"):
        both = [Pair(baselines[id(run)], run) for run in sorted(cells.independent(runs), key=lambda run: run.replicate)]
        for measure in runs[0].task.measures:
            made = _comparison(str(names[0]), dict(zip(groups.extra, extra, strict=True)), both, measure, kept)
            found.append((_place((names, extra), runs), made))
    return [each for _, each in sorted(found, key=lambda item: item[0])]


def _place(key: tuple[Key, Key], runs: Sequence[Run], *, by_task: bool = False) -> tuple[Any, ...]:
    (model, _, task), extra = key
    gate = settings.gate_place(runs[0].gate)
    return settings.order([model, *extra, task, *gate] if by_task else [model, *extra, *gate, task])


def _comparison(
    model: str, extra: dict[str, Value], both: list[Pair], measure: str, kept: Predictions | None
) -> Comparison:
    task = both[0].gated.task
    scored = [each for each in both if None not in (each.baseline.score(measure), each.gated.score(measure))]
    regular = [each for each in scored if Status.DEGENERATE not in (each.baseline.status, each.gated.status)]
    return Comparison(
        model=model,
        extra=extra,
        gate=both[0].gated.gate,
        task=task,
        measure=measure,
        tried=both,
        pairs=scored,
        effect=effect_over(scored, measure, kept),
        regular=effect_of(_differences(regular, measure)) if len(regular) < len(scored) else None,
        failures=pairing.failures(both),
        cautions=cautions(both),
        doubt=pairing.dependence(both)[1],
    )


def cautions(pairs: list[Pair]) -> list[str]:
    """What a verdict about these pairs must not hide."""
    shared, _ = pairing.dependence(pairs)
    found = [*cells.cautions(pairing.members(pairs)), *pairing.cautions(pairs)]
    return [*found, shared] if shared is not None else found


def _differences(pairs: Sequence[Pair], measure: str) -> np.ndarray:
    sides = ([each.baseline.score(measure) for each in pairs], [each.gated.score(measure) for each in pairs])
    baseline, gated = (np.asarray(side, dtype=float) for side in sides)
    return gated - baseline


def effect_of(differences: np.ndarray) -> Effect:
    """What differences of scores, (S,), say on their own: of the runs, given this dev set.

    Where all are equal there is no interval, and p is that of the exact sign-flip test: t would be infinite for no
    better reason than the steps of a metric on few examples.
    """
    summary = cells.summarise([float(each) for each in differences])
    if len(differences) < 2:
        return Effect(summary)
    estimate = statistics.paired_t(differences)
    p_sign_flip = statistics.sign_flip(differences)
    p = estimate.p() if estimate is not None else p_sign_flip
    return Effect(summary, estimate=estimate, p=p, p_sign_flip=p_sign_flip)


def effect_over(pairs: Sequence[Pair], measure: str, kept: Predictions | None) -> Effect:
    """The same of the runs and the examples, if the predictions of all these pairs can be used.

    With those of some pairs alone the others' scores would count for nothing: then it is of the runs, and says why.
    """
    return crossed_effect(_differences(pairs, measure), lambda: _estimate(pairs, measure, kept))


def _estimate(pairs: Sequence[Pair], measure: str, kept: Predictions | None) -> Estimate | None:
    if kept is None:
        raise predictions.UnusableError("predictions were not to be read")
    return kept.estimate(pairs, measure)


def crossed_effect(differences: np.ndarray, estimate: Callable[[], Estimate | None]) -> Effect:
    """What differences of scores (S,) say, with the estimate of runs and examples, if it can be had.

    `estimate` may raise an `UnusableError`, which becomes the effect's `reason`; it is not called below two pairs.
    """
    effect = effect_of(differences)
    if effect.p is None:
        return effect
    try:
        found = estimate()
    except predictions.UnusableError as error:
        effect.reason = str(error)
        return effect
    if found is None or effect.estimate is None:
        effect.reason = "nothing varies"
        return effect
    effect.basis, effect.estimate, effect.p = Basis.CROSSED, found, found.p()
    return effect
