"""Which comparisons are judged together, and what may be concluded of each.

All that was tried is one family: every change and task of a model, whatever other keys differ. Of many comparisons one
in twenty would show an effect where there is none; Holm's correction keeps the chance of any such claim in a family at
5 %, and the chance of any false "no difference" as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gifine.errors import ArgumentError, PlanError, did_you_mean
from gifine.report import settings
from gifine.report.analysis import cells, power, statistics
from gifine.report.analysis.comparison import Comparison, Effect, Verdict
from gifine.report.settings import Value
from gifine.runs import selections
from gifine.runs.preregistration import Preregistration
from gifine.runs.selections import Selection

FEWEST_PAIRS = 3  # for a verdict: of two, the deviation is hardly known
MARGIN = 0.005  # half a point of percent

_SEVERAL = object()


@dataclass(slots=True, frozen=True)
class Rules:
    """What is decided before the numbers are seen."""

    margin: float = MARGIN  # as a fraction: a smaller difference makes none
    primary: tuple[Selection, ...] = ()  # comparisons that answer the question; none: all do
    plan: Preregistration | None = None  # that has said so before the runs
    against: str | None = None  # the arm that others are compared with; None: the plain model

    @classmethod
    def of(cls, plan: Preregistration) -> Rules:
        """What a plan says."""
        return cls(plan.margin / 100, tuple(tuple(each.items()) for each in plan.primary), plan)


def judge(comparisons: Sequence[Comparison], rules: Rules) -> None:
    """Corrected p and verdict of all comparisons of primary measures; others stay descriptive.

    `helps` or `hurts`: p of no difference is below 0.05 after Holm's correction over the family. `no difference`: p of
    a difference of the margin or more is, after Holm's correction over the same family; of one comparison alone, that
    is the 90 % interval within the margin either way. `undecided`: all else, with fewer than three pairs, or where
    the comparison's `doubt` says that its numbers allow none. Undecided is not "no difference".

    Comparisons that were declared primary are a family of their own. All others are corrected over all. With a plan
    those that it has are such a family, or its primary ones are, with all that it has, whether these were run or not;
    what it does not have is corrected over all.

    Raises:
        ArgumentError: where `rules.primary` names a key that is none, or no comparison.
        PlanError: where a plan names such a key.
    """
    judged = [each for each in comparisons if each.is_primary]
    if rules.plan is not None:
        _follow(judged, rules.plan, rules.primary)
    elif judged:
        _declare(judged, rules.primary)
    planned = {model: _planned(rules.plan, model) for model in {each.model for each in judged}}
    judge_by_model(judged, rules.margin, planned)


class Judged(Protocol):
    """A comparison, or an answer over tasks."""

    model: str
    effect: Effect
    doubt: str | None
    is_declared: bool
    family: int


def judge_by_model(judged: Sequence[Judged], margin: float, planned: Mapping[str, int]) -> None:
    """Judge each model's as `judge` says: the margin as a fraction, and how many a plan has, run or not, by model."""
    for model in dict.fromkeys(each.model for each in judged):
        family = [each for each in judged if each.model == model]
        for each in family:
            estimate = each.effect.estimate
            each.effect.p_equivalent = estimate.p_equivalent(margin) if estimate is not None else None
        _correct(family, [each for each in family if not each.is_declared])
        declared = [each for each in family if each.is_declared]
        _correct(declared, declared, planned.get(model, 0))


def _declare(judged: Sequence[Comparison], primary: Sequence[Selection]) -> None:
    for selection in primary:
        cells.check_keys([each.tried[0].gated for each in judged], [key for key, _ in selection])
        found = [each for each in judged if _fits(each, selection)]
        if not found:
            raise ArgumentError(_missing(judged, selection))
        for each in found:
            each.is_declared = True


def _follow(judged: Sequence[Comparison], plan: Preregistration, primary: Sequence[Selection]) -> None:
    """As `_declare`, by a plan, some of whose comparisons may not have been run yet."""
    try:
        cells.check_keys([each.tried[0].gated for each in judged], sorted({key for each in primary for key, _ in each}))
    except ArgumentError as error:
        raise PlanError(f"{plan}: primary: {error}") from error
    for each in judged:
        of_plan = any(pair.gated.run_id in plan.runs for pair in each.tried)
        named = [_fits(each, selection) for selection in primary]
        each.is_declared = of_plan and (any(named) or not named)


def _planned(plan: Preregistration | None, model: str) -> int:
    """How many comparisons of a model its plan has, of the primary ones if it has such; run or not, they count."""
    if plan is None:
        return 0
    counts = Counter(each.is_primary for each in plan.hypotheses if each.model == model)
    return counts[True] if plan.primary else counts.total()


def planned_changes(plan: Preregistration | None) -> dict[str, int]:
    """By model, how many answers over tasks the plan has, of the primary ones if it has such; as `answers.give`."""
    if plan is None:
        return {}
    those = [each for each in plan.hypotheses if each.is_primary or not plan.primary]
    both = [(json.dumps(each.change, sort_keys=True), each) for each in those]
    keys = splitting(((each.model, change, each.task), each.others) for change, each in both)
    answers = {(each.model, (change, *(each.others.get(key) for key in keys))) for change, each in both}
    return dict(Counter(model for model, _ in answers))


def splitting(tried: Iterable[tuple[Hashable, Mapping[str, Value]]]) -> list[str]:
    """The keys that tell answers over tasks apart, of those that differ: where they have several values on one task.

    `tried` has for each comparison its model, change and task, and the values. Others, as a learning rate of each
    task's own, do not.
    """
    seen: dict[tuple[Hashable, str], set[Value]] = {}
    for place, values in tried:
        for key, value in values.items():
            seen.setdefault((place, key), set()).add(value)
    return list(dict.fromkeys(key for (_, key), values in seen.items() if len(values) > 1))


def _fits(comparison: Comparison, selection: Selection) -> bool:
    return selections.fits(selection, lambda key: _value(comparison, key))


def _value(comparison: Comparison, key: str) -> object:
    """What all its runs have; something that nobody names where they differ, as in seeds."""
    values = {cells.value(pair.gated, key) for pair in comparison.tried}
    value = values.pop() if len(values) == 1 else _SEVERAL
    return None if (key, value) == ("gi.layers", cells.ALL) else value


def _shown(comparison: Comparison, key: str) -> str:
    """As on the command line; `several` of what differs within the comparison, as its seeds do."""
    values = {settings.shown(cells.value(pair.gated, key)) for pair in comparison.tried}
    return values.pop() if len(values) == 1 else "several"


def _missing(judged: Sequence[Comparison], selection: Selection) -> str:
    for key, value in selection:
        there = list(dict.fromkeys(_shown(each, key) for each in judged))
        if not any(_fits(each, ((key, value),)) for each in judged):
            said = f"--primary {key}={value}: no comparison has it{did_you_mean(value, there)}"
            return f"{said}; there are {', '.join(there)}"
    return f"--primary {','.join(f'{key}={value}' for key, value in selection)}: no comparison has all of it"


def _correct(family: Sequence[Judged], those: Sequence[Judged], planned: int = 0) -> None:
    """Judge `those` of a family, by p corrected over the whole of it, or over as many as planned if these are more."""
    tested = sum(each.effect.p is not None for each in family)
    size = max(tested, planned)
    missing = [1.0] * (size - tested)  # those that were planned and not tested: as if nothing had been found
    different = statistics.holm([*(each.effect.p for each in family), *missing])
    alike = statistics.holm([*(each.effect.p_equivalent for each in family), *missing])
    chosen = {id(each) for each in those}
    for each, p_holm, p_equivalent in zip(family, different, alike, strict=False):
        if id(each) in chosen:
            each.family = size
            each.effect.p_holm, each.effect.p_equivalent_holm = p_holm, p_equivalent
            each.effect.verdict, each.effect.why = _verdict(each.effect, each.doubt)
            _tell_detectable(each.effect, statistics.ALPHA / max(size, 1))


def _verdict(effect: Effect, doubt: str | None) -> tuple[Verdict, str | None]:
    mean, p, p_equivalent = effect.summary.mean, effect.p_holm, effect.p_equivalent_holm
    if effect.summary.n < FEWEST_PAIRS or mean is None:
        return Verdict.UNDECIDED, f"needs {FEWEST_PAIRS} pairs"
    if doubt is not None:
        return Verdict.UNDECIDED, doubt
    if p is not None and p < statistics.ALPHA and mean != 0:
        return (Verdict.HELPS if mean > 0 else Verdict.HURTS), None
    if p_equivalent is not None and p_equivalent < statistics.ALPHA:
        return Verdict.SAME, None
    return Verdict.UNDECIDED, None


def _tell_detectable(effect: Effect, level: float) -> None:
    """The difference that would have been found in 80 % of such sweeps, at the first step of Holm's correction."""
    if effect.estimate is None or effect.summary.n < FEWEST_PAIRS:
        return
    effect.detectable = power.detectable(effect.estimate, level)
    low, high = (end / effect.estimate.error for end in effect.estimate.error_interval())
    effect.detectable_interval = low * effect.detectable, high * effect.detectable
