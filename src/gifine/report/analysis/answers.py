"""What is known of each change over all its tasks: the mean, the verdict about it, and on which tasks it helps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gifine.report import settings
from gifine.report.analysis import across_tasks, attrition, cells, families, pairing
from gifine.report.analysis.across_tasks import Better, Mean
from gifine.report.analysis.attrition import Attrition
from gifine.report.analysis.cells import Summary
from gifine.report.analysis.comparison import Basis, Comparison, Effect, Verdict
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.families import FEWEST_PAIRS, Rules
from gifine.report.reading import Run
from gifine.report.settings import Settings, Value


@dataclass(slots=True)
class Answer:
    """Of one change of a model, over its tasks; MNLI counts once, by its primary measure."""

    model: str
    extra: dict[str, Value]  # further keys that tell answers apart; those that differ by task are not among them
    gate: Settings
    comparisons: list[Comparison]  # one a task, in the order of tables
    effect: Effect  # of one task: that comparison's own
    mean: Mean | None  # None of one task, or where fewer than two have an estimate
    better: Better | None
    last: Estimate | None  # the same mean of the last epochs' differences, where runs chose the best one
    losses: Attrition
    combined: list[Comparison]  # that the mean is of
    alone: int = 0  # baselines that have no such gated run at all, not even a lost one
    is_by_run: bool = False  # tasks of it start from the same runs, and the mean's error has what these share
    doubt: str | None = None  # why its numbers allow no verdict
    is_declared: bool = False
    family: int = 0  # how many answers it was corrected with

    @property
    def left_out(self) -> list[Comparison]:
        """The tasks that the mean is without, if there is one."""
        kept = {id(each) for each in self.combined}
        return [each for each in self.comparisons if self.mean is not None and id(each) not in kept]

    def tasks(self, verdict: Verdict) -> list[Comparison]:
        """Those with this verdict after the correction over all comparisons of the model.

        So many tasks are truly helped or hurt, at least, with 95 % confidence for all changes at once: Holm's
        correction finds as many as the partial conjunction test of Dror et al. (2017, TACL) with Bonferroni's p. Its
        other variant, Fisher's, wants independent tasks: dev sets are, but seeds and pretrained weights are shared.
        """
        return [each for each in self.comparisons if each.effect.verdict is verdict]


@dataclass(slots=True, frozen=True)
class _ByRun:
    """The differences of K tasks by the R runs that these start from."""

    differences: np.ndarray  # (R, K), NaN where a task has none that is known
    shares: np.ndarray  # (K,): whether a task starts from a run that another one starts from, too


def give(
    comparisons: Sequence[Comparison],
    losses: Sequence[Attrition],
    runs: Sequence[Run],
    rules: Rules,
    against: Settings | None = None,
) -> list[Answer]:
    """An answer for each change, judged as comparisons are: the answers of a model are one family. `runs` are all."""
    baselines: dict[Settings, list[Run]] = {}
    for run in runs:
        if settings.is_baseline(run.gate, against):
            baselines.setdefault(run.setup, []).append(run)
    by_change = {(each.model, each.gate): each for each in losses}
    by_id = {run.run_id: run for run in runs}
    made = [
        _answer(group, extra, by_change[group[0].model, group[0].gate], rules.margin, by_id)
        for group, extra in _groups(comparisons)
    ]
    for each in made:
        each.alone = _alone(each, baselines)
    several = [each for each in made if each.mean is not None]
    families.judge_by_model(several, rules.margin, families.planned_changes(rules.plan))
    return made


def _groups(comparisons: Sequence[Comparison]) -> list[tuple[list[Comparison], dict[str, Value]]]:
    """The comparisons of each change, one a task, and what `families.splitting` tells them apart by.

    Each pre-training is apart: how well masked or replaced words are found is no score of a task like the others.
    """
    primary = [each for each in comparisons if each.is_primary]
    splitting = families.splitting(((each.model, each.gate, each.task.name), each.extra) for each in primary)
    groups: dict[tuple[object, ...], tuple[list[Comparison], dict[str, Value]]] = {}
    for each in primary:
        extra = {key: each.extra[key] for key in splitting}
        key = (each.model, each.gate, each.task.title if each.task.pretrains else None, *extra.values())
        groups.setdefault(key, ([], extra))[0].append(each)
    return list(groups.values())


def _answer(
    group: list[Comparison], extra: dict[str, Value], losses: Attrition, margin: float, runs: Mapping[str, Run]
) -> Answer:
    first = group[0]
    usable = [each for each in group if each.effect.estimate is not None and each.effect.summary.n >= FEWEST_PAIRS]
    shared = _by_run(usable, map(_differences, usable), runs)
    mean = _mean([each.effect.estimate for each in usable if each.effect.estimate is not None], shared)
    made = Answer(
        model=first.model,
        extra=extra,
        gate=first.gate,
        comparisons=group,
        effect=_effect(mean, usable) if mean is not None else first.effect if len(group) == 1 else _nothing(group),
        mean=mean,
        better=across_tasks.better([_differences(each) for each in group]),
        last=_last(group, runs),
        losses=losses,
        combined=usable if mean is not None else [],
        is_declared=all(each.is_declared for each in group),
        is_by_run=mean is not None and bool(shared.shares.any()),
    )
    if mean is not None:
        made.doubt = _few_runs(usable, shared) or _doubt(made, margin, runs)
    return made


def _mean(estimates: Sequence[Estimate], shared: _ByRun) -> Mean | None:
    """Over tasks, of each one's estimate and `_by_run` of the same differences."""
    mean = across_tasks.combine(estimates)
    return across_tasks.by_run(mean, estimates, shared.differences) if mean and shared.shares.any() else mean


def _by_run(
    comparisons: Sequence[Comparison],
    differences: Iterable[Sequence[float | None] | np.ndarray],
    runs: Mapping[str, Run],
) -> _ByRun:
    """A task is among those that start from its own runs. Of several pairs after one run it is their mean."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for place, (each, numbers) in enumerate(zip(comparisons, differences, strict=True)):
        for pair, number in zip(each.pairs, numbers, strict=True):
            if number is not None:
                key = (_beginning(pair.baseline, runs), _beginning(pair.gated, runs))
                found.setdefault(key, {}).setdefault(place, []).append(float(number))
    table = np.full((len(found), len(comparisons)), np.nan)
    for row, by_task in zip(table, found.values(), strict=True):
        for place, numbers in by_task.items():
            row[place] = np.mean(numbers)
    has = ~np.isnan(table)
    return _ByRun(table, has[has.sum(axis=1) > 1].any(axis=0))


def _beginning(run: Run, runs: Mapping[str, Run]) -> str:
    """The run_id of the first of those that it comes from, as far as they are known; its own if there is none."""
    for _ in runs:  # no more steps than there are runs, whatever records say
        before = runs.get(run.first_run or "")
        if before is None:
            break
        run = before
    return run.first_run or run.run_id


def _few_runs(comparisons: Sequence[Comparison], shared: _ByRun) -> str | None:
    """Why there is no verdict where nobody can tell what tasks owe to the runs that they share."""
    counts = np.sum(~np.isnan(shared.differences), axis=0)
    for each, shares, count in zip(comparisons, shared.shares, counts, strict=True):
        if shares and count < FEWEST_PAIRS:
            return f"tasks start from the same runs, and only {count} of these led to pairs on {each.task.bare_title}"
    return None


def _alone(answer: Answer, baselines: Mapping[Settings, list[Run]]) -> int:
    """Whoever deleted the gated runs may have seen their scores."""
    tried = [pair.baseline for each in answer.comparisons for pair in each.tried]
    known = {id(run) for run in tried}
    setups = {run.setup for run in tried}
    return sum(id(run) not in known for setup in setups for run in cells.independent(baselines[setup]))


def _effect(mean: Mean, usable: Sequence[Comparison]) -> Effect:
    crossed = all(each.effect.basis is Basis.CROSSED for each in usable)
    return Effect(
        Summary(sum(each.effect.summary.n for each in usable), mean.estimate.mean, None),
        basis=Basis.CROSSED if crossed else Basis.RUNS,
        estimate=mean.estimate,
        p=mean.estimate.p(),
    )


def _nothing(group: Sequence[Comparison]) -> Effect:
    n = sum(each.effect.summary.n for each in group)
    why = f"fewer than two tasks have {FEWEST_PAIRS} pairs and an error that can be told"
    return Effect(Summary(n, None, None), verdict=Verdict.UNDECIDED, why=why)


def _differences(comparison: Comparison) -> np.ndarray:
    baseline, gated = comparison.scores
    return np.asarray(gated) - np.asarray(baseline)


def _last(group: Sequence[Comparison], runs: Mapping[str, Run]) -> Estimate | None:
    chosen = [(each, each.choice) for each in group if each.choice is not None and each.choice.last is not None]
    found = [choice.last for _, choice in chosen if choice.last is not None]
    if len(group) == 1:
        return found[0] if found else None
    mean = _mean(found, _by_run([each for each, _ in chosen], [choice.differences for _, choice in chosen], runs))
    return mean.estimate if mean is not None else None


def _doubt(answer: Answer, margin: float, runs: Mapping[str, Run]) -> str | None:
    """As of a comparison: where the arms lose unlike numbers of runs, or the worst case over tasks leaves all open."""
    if answer.losses.is_beyond_chance:
        return answer.losses.words
    few = attrition.few_sound(answer.losses.sound, answer.losses.pairs)
    dependent = [pairing.dependence(each.tried)[1] for each in answer.combined]
    found = [each for each in (few, *dependent) if each is not None]
    if found:
        return found[0]
    if not any(each.worst for each in answer.comparisons):
        return None
    worst, best = (_end(answer.comparisons, end, runs) for end in (0, 1))
    tried = sum(len(each.tried) for each in answer.comparisons)
    lost = tried - sum(len(each.pairs) for each in answer.comparisons)
    return attrition.doubt((worst, best), lost, tried, margin)


def _end(comparisons: Sequence[Comparison], end: int, runs: Mapping[str, Run]) -> Estimate:
    """The mean over tasks with lost runs at their worst (0) or best (1).

    The error stays that of the runs that are left: with the larger one of the worst case, a task that may have
    collapsed would count for less, and hide it.
    """
    kept, found = [], []
    for each in comparisons:
        own = each.effect.estimate
        shifted = own if each.worst is None else each.worst[end]
        if shifted is not None:
            kept.append(each)
            found.append(shifted if own is None else replace(own, mean=shifted.mean))
    mean = _mean(found, _by_run(kept, map(_differences, kept), runs))
    assert mean is not None
    return mean.estimate
