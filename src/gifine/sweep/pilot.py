"""How many seeds the comparisons of a grid take, by what finished pilot runs differ by, and for how long they run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gifine.commands import counted
from gifine.config import RunConfig
from gifine.errors import ArgumentError
from gifine.report import settings
from gifine.report.analysis import comparison, pairing, planning, predictions
from gifine.report.analysis.comparison import Basis, Comparison
from gifine.report.analysis.planning import MOST_SEEDS, Spread
from gifine.report.analysis.power import POWER
from gifine.report.analysis.statistics import ALPHA
from gifine.report.pool import Pool
from gifine.report.reading import Reader
from gifine.runs import records
from gifine.runs.records import Status
from gifine.runs.selections import Selection
from gifine.sweep import estimate, preregister
from gifine.sweep.estimate import Estimates
from gifine.sweep.preregister import Arm, Compared

_NAMED = 4  # keys, tasks
_FOR_EVER = 10**6  # seeds: what these cannot show, no number can


@dataclass(slots=True)
class Seeds:
    """The fewest for 80 % power; None: more than 1,000, or no number at all if it is not `possible`."""

    fewest: int | None
    at_most: int | None  # with the upper end of the interval of the pilot's deviation
    possible: bool

    def __str__(self) -> str:
        if self.fewest is None:
            return f"over {MOST_SEEDS:,}" if self.possible else "no number"
        upper = f"{self.at_most:,}" if self.at_most is not None else f"over {MOST_SEEDS:,}"
        return f"{self.fewest:,} (up to {upper})"


@dataclass(slots=True)
class Need:
    """What a comparison takes; without a spread, why nobody can say."""

    model: str
    task: str
    title: str  # of the task
    change: str
    alpha: float  # the level that decides: Holm's first step
    pilot: str  # which pairs, and what differs in them
    degenerate: int = 0  # of these pairs, in which a run answers the same whatever it reads
    reason: str | None = None  # why there is no spread, or why it does not have the dev set's part
    spread: Spread | None = None
    seeds: int = 0  # of these runs
    power: float | None = None  # to show a difference of the margin with them
    difference: Seeds | None = None  # to show one of the margin
    none: Seeds | None = None  # to show that there is none above the margin
    seconds_a_seed: float | None = None  # device seconds of all arms of this model and task; None: not known

    @property
    def most(self) -> float:
        """What rows of one task are compared by."""
        found = [each.fewest for each in (self.difference, self.none) if each is not None]
        return max((math.inf if n is None else n for n in found), default=-1.0)


@dataclass(slots=True)
class Needs:
    margin: float  # a fraction
    found: list[Need]
    pilot_seeds: list[int]
    shared: list[str]  # slugs of runs that are the pilot's and the grid's

    def by_task(self) -> list[tuple[Need, int]]:
        """Of each model and task the comparison that takes most seeds, and how many there are."""
        groups: dict[tuple[str, str], list[Need]] = {}
        for each in self.found:
            groups.setdefault((each.model, each.task), []).append(each)
        return [(max(group, key=lambda need: need.most), len(group)) for group in groups.values()]


def needs(
    configs: dict[str, RunConfig],
    paths: Sequence[Path],
    margin: float,
    primary: Sequence[Selection],
    finished: Iterable[dict[str, Any]],
) -> Needs:
    """What the comparisons of these runs, by run_id, take, by the finished runs below `paths`.

    How long runs take is learned from the pilot's records and from `finished` ones.

    Raises:
        RunError: for paths without runs.
        ArgumentError: if the pilot has nothing to say on any of the comparisons.
    """
    pool = Pool()
    compared = preregister.compared(configs, primary, pool)
    runs = Reader(paths, pool).read().runs
    tried = [each for each in comparison.compare(pairing.pair(runs)[0]) if each.is_primary]
    arms: dict[tuple[str, str], dict[int, Arm]] = {}  # of a model and task, each once
    for each in compared:
        arms.setdefault((each.changed.model, each.changed.task.name), {}).update(
            {id(arm): arm for arm in (each.changed, each.baseline)}
        )
    read = [*finished, *(records.entries(run.folder) for run in runs)]
    known = estimate.learn({record["run_id"]: record for record in read if "status" in record}.values())
    sizes = preregister.families(compared)
    found = []
    for each in compared:
        hypothesis = each.hypothesis
        alpha = ALPHA / sizes[hypothesis.model, hypothesis.is_primary]
        need = _need(each, _nearest(each.changed, tried), alpha, margin)
        need.seconds_a_seed = _seconds(arms[hypothesis.model, hypothesis.task].values(), known)
        found.append(need)
    if all(each.spread is None for each in found):
        raise ArgumentError(_useless(paths, tried, found))
    shared = [run.slug for run in runs if run.run_id in configs]
    return Needs(margin, found, sorted({pair.gated.seed for each in tried for pair in each.pairs}), shared)


def _nearest(arm: Arm, tried: Sequence[Comparison]) -> Comparison | None:
    """The pilot's comparison of the same model and task: of the same change, with the fewest other keys, the widest."""
    those = [
        each
        for each in tried
        if (settings.model(each.tried[0].gated.setup), each.measure) == (arm.model, arm.task.primary)
    ]

    def distance(each: Comparison) -> tuple[bool, bool, int, float]:
        setup = each.tried[0].gated.setup
        wide = each.effect.summary.sd or 0.0
        return len(each.pairs) < 2, each.gate is not arm.change, len(arm.setup.differing(setup)), -wide

    return min(those, key=distance, default=None)


def _need(each: Compared, pilot: Comparison | None, alpha: float, margin: float) -> Need:
    arm = each.changed
    need = Need(arm.model, arm.task.name, arm.task.title, settings.gate(arm.change), alpha, "none")
    need.seeds = len(arm.twins & each.baseline.twins)
    if pilot is None:
        need.reason = "the pilot has no pair of this model and task"
        return need
    count = len(pilot.pairs)
    need.pilot = counted(count, "pair") + (f" of {settings.gate(pilot.gate)}" if pilot.gate is not arm.change else "")
    need.degenerate = sum(Status.DEGENERATE in (pair.baseline.status, pair.gated.status) for pair in pilot.pairs)
    if need.degenerate:
        need.pilot += f", {need.degenerate} degenerate"
    setup = pilot.tried[0].gated.setup
    keys = arm.setup.differing(setup)
    if keys:
        words = [f"{key}={settings.shown(setup.get(key))}" for key in keys[:_NAMED]]
        need.pilot += f" with {', '.join(words)}" + (" …" if len(keys) > _NAMED else "")
    effect = pilot.effect
    if count < 2 or effect.summary.sd is None:
        need.reason = "two finished pairs are the least that have a deviation"
        return need
    if effect.estimate is None:
        need.reason = "the differences of its pairs are all the same: nothing can be planned by them"
        return need
    if effect.basis is Basis.CROSSED:
        split = arm.task.split(pilot.measure)
        examples = len(predictions.read(pilot.pairs[0].baseline, split).labels)
        need.spread = planning.spread(count, effect.summary.sd, effect.estimate.error, examples)
    else:
        need.spread, need.reason = planning.spread(count, effect.summary.sd), effect.reason
    if need.seeds > 1:
        need.power = planning.shows_difference(need.spread, need.seeds, margin, alpha)
    need.difference = _seeds(planning.shows_difference, need.spread, margin, alpha)
    need.none = _seeds(planning.shows_none, need.spread, margin, alpha)
    return need


def _seeds(shows: Callable[[Spread, int, float, float], float], spread: Spread, margin: float, alpha: float) -> Seeds:
    fewest, at_most = (planning.seeds(shows, each, margin, alpha) for each in (spread, spread.at_most()))
    return Seeds(fewest, at_most, shows(spread, _FOR_EVER, margin, alpha) >= POWER)


def _seconds(arms: Iterable[Arm], known: Estimates) -> float | None:
    """Device seconds of one seed in all these arms."""
    found = [known.seconds(arm.configs[0]) for arm in arms]
    return None if any(basis is estimate.Basis.UNKNOWN for _, basis in found) else sum(seconds for seconds, _ in found)


def _useless(paths: Sequence[Path], tried: Sequence[Comparison], found: Sequence[Need]) -> str:
    where = ", ".join(map(str, paths))
    if not tried:
        return f"--pilot {where}: has no run with a change and its baseline; gi.side=none,both makes both"
    wanted = {(each.model, each.task) for each in found}
    same = [each for each in found if each.reason and each.pilot != "none"]
    if same:
        return f"--pilot {where}: {same[0].model} on {same[0].title}: {same[0].reason}"
    there = list(dict.fromkeys(f"{each.model} on {each.task.title}" for each in tried))
    more = ", …" if len(there) > _NAMED else ""
    return (
        f"--pilot {where}: is of {', '.join(there[:_NAMED])}{more}, and these runs are of "
        f"{', '.join(f'{model} on {task}' for model, task in sorted(wanted)[:_NAMED])}{', …' * (len(wanted) > _NAMED)}"
    )


def rows(found: Needs, price: float | None) -> list[dict[str, str]]:
    """For people: a row a model and task, of the comparison that takes most seeds."""
    shown = []
    for need, count in found.by_task():
        row = {"model": need.model, "task": need.title, "change": need.change + f", widest of {count}" * (count > 1)}
        row["pilot"] = need.pilot
        spread = need.spread
        if spread is not None:
            low, high = spread.runs_interval()
            half = spread.dev_half_width()
            row["sd"] = f"{100 * spread.runs:.2f} ({100 * low:.2f} – {100 * high:.2f})"
            row["dev set"] = f"± {100 * half:.2f}" if half is not None else "not known"
        if need.power is not None:
            row["power"] = f"{100 * need.power:.0f} % ({need.seeds})"
        for name, seeds in (("to show a difference", need.difference), ("to show none", need.none)):
            row[name] = str(seeds) if seeds is not None else ""
            row[f"hours {name}"] = _hours(need, seeds, price)
        shown.append(row)
    return shown


def _hours(need: Need, seeds: Seeds | None, price: float | None) -> str:
    if seeds is None or seeds.fewest is None or need.seconds_a_seed is None:
        return ""
    hours = seeds.fewest * need.seconds_a_seed / 3600
    return f"{hours:,.3g}" + (f" (cost {hours * price:,.2f})" if price is not None else "")


def _all_hours(found: Needs, seeds: int, price: float | None) -> str:
    each = [need.seconds_a_seed for need, _ in found.by_task()]
    known = [seconds for seconds in each if seconds is not None]
    if not seeds or len(known) < len(each):
        return ""
    hours = seeds * sum(known) / 3600
    cost = f", {hours * price:,.2f} in all" if price is not None else ""
    return f" ({hours:,.3g} device hours for all models and tasks{cost})"


def notes(found: Needs, price: float | None) -> list[str]:
    """What the rows mean, and what to do."""
    margin = f"{100 * found.margin:.6g}"
    levels = {each.alpha for each in found.found}
    level = ", ".join(f"{ALPHA:g}/{ALPHA / alpha:.0f}" for alpha in sorted(levels, reverse=True))
    said = [
        f"Seeds for 80 % power at the level of Holm's first step ({level}): to show a difference of {margin} points, "
        f"or that there is none above {margin} points where there is none at all. sd: of a pair's difference, over "
        "seeds, with its 95 % interval (χ²); in brackets the seeds at its upper end. Dev set: half of the 95 % "
        "interval that ever so many seeds leave. Power: to show the difference with the seeds of these "
        "runs. Hours: of devices, all arms."
    ]
    unknown = [each for each in found.found if each.spread is None]
    said += dict.fromkeys(f"{each.model} on {each.title}, {each.change}: {each.reason}." for each in unknown)
    for each, _ in found.by_task():
        if each.degenerate:
            said.append(
                f"{each.model} on {each.title}: in {each.degenerate} of the pilot's pairs a run answers the same "
                "whatever it reads; sound runs vary otherwise, and take other numbers of seeds."
            )
        if each.spread is None:
            continue
        if each.spread.dev is None:
            said.append(
                f"{each.model} on {each.title}: seeds are for this dev set alone, and another one might say otherwise, "
                f"since {each.reason}."
            )
        elif each.difference is not None and not each.difference.possible:
            said.append(
                f"{each.model} on {each.title}: no number of seeds can show {margin} points; the dev set alone leaves "
                f"± {100 * (each.spread.dev_half_width() or 0):.2f}. The least that ever so many could show is "
                f"{100 * each.spread.floor(each.alpha):.2f} points."
            )
    finite = [
        seeds.fewest
        for need in found.found
        for seeds in (need.difference, need.none)
        if seeds is not None and seeds.fewest is not None
    ]
    first = max(found.pilot_seeds) + 1
    example = f", such as seed=range({first},{first + max(finite)})" if finite else ""
    hours = _all_hours(found, max(finite, default=0), price)
    said.append(f"The pilot's runs must not count in the test: give the sweep other seeds{example}{hours}.")
    if found.shared:
        said.append(
            f"{len(found.shared):,} of these runs are the pilot's, {', '.join(found.shared[:_NAMED])}"
            f"{', …' * (len(found.shared) > _NAMED)}: they would count."
        )
    return said
