"""Gated runs against their baseline, one gated setting and task at a time, and what may be concluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from gifine.report import settings
from gifine.report.analysis import cells, power, predictions, statistics
from gifine.report.analysis.cells import Key, Summary
from gifine.report.analysis.pairing import Pair
from gifine.report.analysis.predictions import PredictionTest
from gifine.report.reading import Run, progress
from gifine.report.settings import Settings, Task, Value
from gifine.runs.records import Status

FEWEST_PAIRS = 3  # for a verdict: of two, the deviation is hardly known


class Verdict(StrEnum):
    HELPS = "helps"
    HURTS = "hurts"
    UNDECIDED = "undecided"


@dataclass(slots=True)
class Effect:
    """Gated minus baseline over pairs of runs; fractions, not percent. None: too few pairs."""

    summary: Summary  # of the differences
    interval: tuple[float, float] | None = None  # 95 %, of Student's t
    p: float | None = None  # paired t-test
    p_holm: float | None = None  # over the tasks of the family
    verdict: Verdict | None = None  # None: of a measure that no verdict is about
    bootstrap: tuple[float, float] | None = None  # 95 %, percentile
    p_sign_flip: float | None = None
    p_sign: float | None = None
    epsilon_min: float | None = None  # almost stochastic order; below 0.5: gated dominates
    detectable: float | None = None  # mean difference that so many pairs show with 80 % power; None if none differ
    more_seeds: int | None = None  # that would settle it, if undecided; None: nobody can say, or beyond reach


@dataclass(slots=True)
class Comparison:
    """One measure of one task, with and without gates of one setting."""

    model: str
    extra: dict[str, Value]  # further keys that tell comparisons apart
    gate: Settings
    task: Task
    measure: str  # task/split/metric
    pairs: list[Pair]  # those with a score on both sides, by seed
    effect: Effect
    regular: Effect | None  # without pairs that have a degenerate run; None if there are none
    failures: dict[str, dict[Status, int]]  # of `baseline` and `gated`: runs other than done, in all pairs
    predictions: PredictionTest | None = None
    p_holm_all: float | None = None  # over all comparisons of primary measures in the report
    cautions: list[str] = field(default_factory=list)

    @property
    def is_primary(self) -> bool:
        """Verdicts are about the measure that chose the checkpoints."""
        return self.measure == self.task.primary

    @property
    def family(self) -> tuple[str, tuple[Value, ...], Settings]:
        """Comparisons that are corrected together: the same model, settings and gate on the tasks."""
        return self.model, tuple(self.extra.values()), self.gate

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        """Of baseline and gated, by pair."""
        both = [(each.baseline.score(self.measure), each.gated.score(self.measure)) for each in self.pairs]
        return [a for a, _ in both if a is not None], [b for _, b in both if b is not None]


def compare(pairs: Sequence[Pair], *, with_predictions: bool = True) -> list[Comparison]:
    """A comparison for each model, gated setting, task and official measure, by these in the order of tables."""
    baselines = {id(each.gated): each.baseline for each in pairs}
    groups = cells.group([each.gated for each in pairs], ["model", "gi", "task"])
    found: list[Comparison] = []
    ordered = sorted(groups.runs.items(), key=lambda item: _place(*item))
    for (names, extra), runs in progress(ordered, "comparing", "settings"):
        both = [Pair(baselines[id(run)], run) for run in sorted(runs, key=lambda run: run.seed)]
        for measure in runs[0].task.measures:
            comparison = _comparison(str(names[0]), dict(zip(groups.extra, extra, strict=True)), both, measure)
            if with_predictions and comparison.is_primary and comparison.pairs:
                comparison.predictions = predictions.test(comparison.pairs, measure)
            found.append(comparison)
    _judge_families(found)
    return found


def _place(key: tuple[Key, Key], runs: Sequence[Run]) -> tuple[object, ...]:
    (model, _, task), extra = key
    return settings.order([model, *extra, *settings.gate_place(runs[0].gate), task])


def _comparison(model: str, extra: dict[str, Value], both: list[Pair], measure: str) -> Comparison:
    task = both[0].gated.task
    scored = [each for each in both if None not in (each.baseline.score(measure), each.gated.score(measure))]
    regular = [each for each in scored if Status.DEGENERATE not in (each.baseline.status, each.gated.status)]
    sides: dict[str, list[Run]] = {
        "baseline": [each.baseline for each in both],
        "gated": [each.gated for each in both],
    }
    return Comparison(
        model=model,
        extra=extra,
        gate=both[0].gated.gate,
        task=task,
        measure=measure,
        pairs=scored,
        effect=_effect(scored, measure),
        regular=_effect(regular, measure) if len(regular) < len(scored) else None,
        failures={
            side: dict(Counter(run.status for run in runs if run.status is not Status.DONE))
            for side, runs in sides.items()
        },
        cautions=cells.cautions([run for runs in sides.values() for run in runs]),
    )


def _effect(pairs: Sequence[Pair], measure: str) -> Effect:
    sides = ([each.baseline.score(measure) for each in pairs], [each.gated.score(measure) for each in pairs])
    baseline, gated = (np.asarray(side, dtype=float) for side in sides)
    return effect_of(baseline, gated)


def effect_of(baseline: np.ndarray, gated: np.ndarray) -> Effect:
    """What pairs of scores, (N,) each, say on their own; without a verdict, which the other tasks have a part in."""
    differences = gated - baseline
    summary = cells.summarise([float(each) for each in differences])
    tested = statistics.paired_t(differences)
    if tested is None:
        return Effect(summary)
    p, low, high = tested
    effect = power.detectable_effect(len(differences))
    return Effect(
        summary,
        interval=(low, high),
        p=p,
        bootstrap=statistics.bootstrap_interval(differences),
        p_sign_flip=statistics.sign_flip(differences),
        p_sign=statistics.sign(differences),
        epsilon_min=statistics.almost_stochastic_order(gated, baseline),
        detectable=effect * summary.sd if effect is not None and summary.sd else None,
    )


def _judge_families(comparisons: Sequence[Comparison]) -> None:
    families: dict[object, list[Comparison]] = {}
    primary = [each for each in comparisons if each.is_primary]
    for each in primary:
        families.setdefault(each.family, []).append(each)
    for family in families.values():
        judge([each.effect for each in family])
        judge([each.regular or replace(each.effect) for each in family])
    for each, p in zip(primary, statistics.holm([each.effect.p for each in primary]), strict=True):
        each.p_holm_all = p


def judge(effects: Sequence[Effect]) -> None:
    """Corrected p, verdict and the seeds that are missing, of effects that were tested together.

    `helps` or `hurts`: the paired t-test's p, after Holm's correction over the tasks of this gated setting, is below
    0.05, of at least three pairs. Else `undecided`, which is not "no effect": `detectable` says how large one may go
    unseen.

    Why the t-test: of five pairs the exact sign-flip test cannot give less than 0.0625 and no verdict would ever be
    possible; a bootstrap interval of five is too narrow. Differences of scores averaged over hundreds of examples are
    near enough to normal: in simulated sweeps of five seeds and nine tasks, with accuracies that are counts of
    examples, the test claims an effect where there is none in 5 % of sweeps
    (tests/report/test_report_comparison.py). The sign-flip p, which assumes nothing of the kind, stands beside it; from
    six pairs on, a verdict that it contradicts deserves doubt.

    More seeds: those at which the observed difference and deviation give 80 % power at the first level of Holm's
    correction, α divided by the number of tasks.
    """
    corrected = statistics.holm([each.p for each in effects])
    tested = sum(each.p is not None for each in effects)
    for each, p in zip(effects, corrected, strict=True):
        each.p_holm, each.verdict = p, Verdict.UNDECIDED
        mean, sd, n = each.summary.mean, each.summary.sd, each.summary.n
        if p is None or mean is None or sd is None or n < FEWEST_PAIRS:
            continue
        if p < statistics.ALPHA and mean != 0:
            each.verdict = Verdict.HELPS if mean > 0 else Verdict.HURTS
            continue
        needed = power.pairs_needed(mean, sd, statistics.ALPHA / tested)
        each.more_seeds = max(1, needed - n) if needed is not None else None
