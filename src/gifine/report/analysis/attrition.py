"""Runs that are lost or degenerate, by arm: does a change lose more of them, and could that make the difference?

A run is *lost* if it has no score: failed, diverged, interrupted, or not at its end yet. Averages are of those that are
left. If a change makes the bad runs diverge, its survivors look better than the baseline.

A run that goes wrong takes with it all that would have started from it. That is one accident, not several: tests of
whether it is chance count it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gifine.report.analysis import statistics
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.reading import Run
from gifine.report.settings import Settings
from gifine.runs.records import Status

Bounds = tuple[float, float]

_UNFIT = (Status.FAILED, Status.DIVERGED, Status.DEGENERATE)  # runs that no other one starts from


@dataclass(slots=True)
class Attrition:
    """Of one change of a model: what became of all its pairs, whatever the task and other settings."""

    model: str
    gate: Settings
    comparisons: list[Comparison]  # of primary measures, one a task and setting
    counts: dict[str, dict[Status, int]]  # of `baseline` and `gated`: runs other than done
    sound: int  # pairs in which neither run is lost or degenerate
    only: tuple[int, int]  # pairs in which the baseline alone, and the changed run alone, is lost or degenerate
    causes: tuple[int, int]  # the same, where what is lost by one run on another task is counted once
    p: float  # that chance would divide these causes as unevenly

    @property
    def pairs(self) -> int:
        return sum(len(each.tried) for each in self.comparisons)

    @property
    def is_beyond_chance(self) -> bool:
        return self.p < statistics.ALPHA

    @property
    def words(self) -> str:
        baseline, gated = self.only
        once = f", by {self.causes[1]} and {self.causes[0]} runs that went wrong" if self.causes != self.only else ""
        return (
            f"of {self.pairs} pairs of this change, the changed run alone is lost or degenerate in {gated} and the "
            f"baseline alone in {baseline}{once}: more than chance (p = {self.p:.2g})"
        )


def examine(comparisons: Sequence[Comparison], margin: float, runs: Iterable[Run]) -> list[Attrition]:
    """What became of the pairs of each change; fills in `worst` and `doubt` of comparisons that have lost runs.

    `runs` are all that there are: those that the compared ones start from are looked up in them.

    There is a doubt, which allows no verdict, in two cases. The arms differ in lost or degenerate runs beyond chance:
    the exact paired test over all pairs of the change is below 0.05, and this comparison has such a run. Or a pair is
    lost, and the worst case neither leaves out 0 nor stays within the margin.
    """
    primary = [each for each in comparisons if each.is_primary]
    groups: dict[tuple[str, Settings], list[Comparison]] = {}
    for each in primary:
        groups.setdefault((each.model, each.gate), []).append(each)
    limits = _limits(primary)
    by_id = {run.run_id: run for run in runs}
    found = [_attrition(model, gate, group, by_id) for (model, gate), group in groups.items()]
    for change in found:
        for each in change.comparisons:
            worst_case(each, limits[each.model, each.measure], margin)
            if change.is_beyond_chance and any(each.failures.values()):
                each.doubt = change.words
            sound = sum(all(both) for both in _sound(each))
            each.doubt = each.doubt or few_sound(sound, len(each.tried))
    return found


def few_sound(sound: int, pairs: int) -> str | None:
    """Why runs that answer the same whatever they read allow no verdict: that these do not differ says nothing."""
    if sound >= FEWEST_PAIRS or sound == pairs:
        return None
    return f"in {pairs - sound} of {pairs} pairs a run is lost or degenerate"


def _attrition(model: str, gate: Settings, comparisons: list[Comparison], runs: Mapping[str, Run]) -> Attrition:
    counts: dict[str, Counter[Status]] = {"baseline": Counter(), "gated": Counter()}
    only, whole = [0, 0], 0
    causes: tuple[set[str], set[str]] = (set(), set())
    for comparison in comparisons:
        for side, failures in comparison.failures.items():
            counts[side].update(failures)
        for pair, both in zip(comparison.tried, _sound(comparison), strict=True):
            whole += all(both)
            if both[0] != both[1]:
                side = both.index(False)
                only[side] += 1
                causes[side].add(_cause((pair.baseline, pair.gated)[side], runs))
    numbers = len(causes[0]), len(causes[1])
    return Attrition(
        model,
        gate,
        comparisons,
        {side: dict(each) for side, each in counts.items()},
        whole,
        (only[0], only[1]),
        numbers,
        exact(*numbers),
    )


def _cause(run: Run, runs: Mapping[str, Run]) -> str:
    """The run that was lost, or degenerate: perhaps the one that this one would have started from, as others would."""
    for _ in runs:  # no more steps than there are runs, whatever records say
        before = runs.get(run.first_run or "")
        if run.status is not Status.FAILED or before is None or before.status not in _UNFIT:
            break
        run = before
    was_trained = run.status is not Status.FAILED or run.first_status not in _UNFIT  # that run may not be here
    return run.run_id if was_trained else str(run.first_run)


def _sound(comparison: Comparison) -> list[tuple[bool, bool]]:
    """Of each pair, whether the baseline and the changed run are neither lost nor degenerate."""
    measure = comparison.measure
    return [(_is_sound(each.baseline, measure), _is_sound(each.gated, measure)) for each in comparison.tried]


def _is_sound(run: Run, measure: str) -> bool:
    return run.status is Status.DONE and run.score(measure) is not None


def exact(baseline_only: int, gated_only: int) -> float:
    """Two-sided p of the exact McNemar test: of pairs in which one run is lost, each is as likely to be either."""
    count = baseline_only + gated_only
    return min(1.0, 2 * float(special.bdtr(min(baseline_only, gated_only), count, 0.5))) if count else 1.0


def _limits(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], Bounds]:
    """By model and measure, the lowest and the highest score that a lost run might have had.

    They are those that were seen of any run of the model on the task, degenerate ones included; and a lost run may
    have been no better than guessing: 1 / number of labels of accuracy, 0 of all other metrics.
    """
    seen: dict[tuple[str, str], list[float]] = {}
    for each in comparisons:
        scores = (run.score(each.measure) for pair in each.tried for run in (pair.baseline, pair.gated))
        guess = 1 / each.task.labels if each.task.labels and each.task.metric(each.measure) == "accuracy" else 0.0
        seen.setdefault((each.model, each.measure), [guess]).extend(score for score in scores if score is not None)
    return {key: (min(scores), max(scores)) for key, scores in seen.items()}


def worst_case(comparison: Comparison, limits: Bounds, margin: float) -> None:
    """Fill in `worst` and `doubt`, if a pair is lost."""
    lost = len(comparison.tried) - len(comparison.pairs)
    if not lost or len(comparison.tried) < 2 or limits[0] == limits[1]:  # the same: no run of the task has a score
        return
    scores = [
        [run.score(comparison.measure) for run in runs]
        for runs in ([each.baseline for each in comparison.tried], [each.gated for each in comparison.tried])
    ]
    sides = [np.asarray([np.nan if score is None else score for score in side]) for side in scores]
    comparison.worst = filled(sides[0], sides[1], limits, comparison.effect.estimate)
    comparison.doubt = doubt(comparison.worst, lost, len(comparison.tried), margin)


def doubt(worst: tuple[Estimate, Estimate], lost: int, tried: int, margin: float) -> str | None:
    """Why there can be no verdict with so many pairs lost: the worst case has 0 in it, and leaves the margin."""
    low, high = around(worst)
    near, far = around(worst, 1 - 2 * statistics.ALPHA)
    if low > 0 or high < 0 or -margin < near <= far < margin:
        return None
    pairs = f"{lost} of {tried} pairs {'is' if lost == 1 else 'are'} lost"
    return f"{pairs}; in the worst case it is {100 * low:+.2f} … {100 * high:+.2f} points"


def filled(
    baseline: np.ndarray, gated: np.ndarray, limits: Bounds, estimate: Estimate | None
) -> tuple[Estimate, Estimate]:
    """Estimates of the mean difference of scores (S,), NaN where a run is lost, if lost runs were worst and best.

    Worst: a lost changed run has the lowest of `limits`, a lost baseline the highest; best is the other way round (the
    bounds of Horowitz and Manski 2000). Their errors are those of the paired t-test, and no smaller than the estimate's
    of the pairs that are left.
    """
    found = []
    for for_gated, for_baseline in (limits, limits[::-1]):
        differences = np.where(np.isnan(gated), for_gated, gated) - np.where(np.isnan(baseline), for_baseline, baseline)
        own = statistics.paired_t(differences)
        candidates = [each for each in (own, estimate) if each is not None]
        wide = max(candidates, key=lambda each: each.interval()[1] - each.mean, default=None)
        mean = float(np.mean(differences))
        # Where nothing varies there is no error to be told: then whatever could be stays possible.
        found.append(replace(wide, mean=mean) if wide else Estimate(mean, limits[1] - limits[0], 1))
    return found[0], found[1]


def around(worst: tuple[Estimate, Estimate], level: float = 0.95) -> Bounds:
    """From the lower end of the worst case's interval to the upper end of the best case's."""
    return worst[0].interval(level)[0], worst[1].interval(level)[1]
