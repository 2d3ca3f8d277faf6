"""Sweeps over hyper-parameters: what each arm is expected to score when both were tuned as much.

Runs of one model and task that differ in hyper-parameters (and in gate and seed) have tried recipes: each is a trial.
Arms are compared over the trials that both have, so never with unequal budgets. Trials that a random search has drawn
are no comparisons of their own; what is judged is the recipe that each arm would have chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gifine.config import HYPERPARAMETERS
from gifine.report import settings
from gifine.report.analysis import attrition, best_of, cells, comparison, pairing, selection, tuned_scores
from gifine.report.analysis.best_of import Curve
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.analysis.pairing import Pair, Unpaired
from gifine.report.analysis.tuned_scores import Halves, Scores
from gifine.report.reading import Run, progress
from gifine.report.settings import Settings, Task, Value
from gifine.runs.records import FINISHED
from gifine.runs.replicate import Replicate, Twin

FEWEST_TRIALS = 3  # of fewer, "the best of" says nothing

Frame = tuple[object, ...]  # what runs of one search share: all but hyper-parameters, gate and seed


@dataclass(slots=True)
class Trial:
    setup: Settings
    baseline: dict[Twin | Replicate, Run]  # by `pairing.shared`, whatever became of them
    gated: dict[Replicate, Run]  # several may share a baseline: those that draw the change anew
    number: tuple[int, int] | None  # search.seed and search.trial; None: given by hand
    seeds: set[Replicate]  # of gated runs that have finished, as their baseline has

    def words(self, keys: Sequence[str]) -> str:
        """The values of these keys, as on a command line."""
        return " ".join(f"{key}={settings.shown(self.setup.get(key))}" for key in keys)


@dataclass(slots=True)
class Tuning:
    """A gate against the baseline over the trials that both arms have tried."""

    model: str
    extra: dict[str, Value]  # further keys that tell searches apart
    gate: Settings
    task: Task
    trials: list[Trial]  # in the order of their numbers
    keys: list[str]  # hyper-parameters that they differ in
    choosing: list[Replicate]  # seeds that all trials have: a trial's score is the mean over these
    setups: list[Settings]  # all that were drawn or given, those too that one arm alone has a result of
    is_drawn: bool  # by a random search
    halves: Halves  # of dev, to choose on and to report
    reason: str | None  # why there are no halves
    baseline: Curve
    gated: Curve
    difference: Curve
    chosen: tuple[Trial, Trial]  # of baseline and gated
    against: Settings | None  # the arm that baselines are of; None: the plain model
    comparison: Comparison | None = None  # of these two; None: not drawn, or no seed that both have
    refused: list[str] = field(default_factory=list)  # of pairs of these two that `strict` leaves out: what differs

    @property
    def seeds(self) -> list[int | str]:
        """The names of `choosing`."""
        return [each.name for each in self.choosing]

    @property
    def alone(self) -> int:
        """Settings that one arm alone has a result of, which are left out."""
        return len(self.setups) - len(self.trials)

    @property
    def k(self) -> int:
        """The largest budget whose difference has an interval: half of the trials."""
        return len(self.trials) // 2


@dataclass(slots=True)
class _Search:
    """Settings of one gate and frame with the baseline's, by setup."""

    gate: Settings
    against: Settings | None
    is_drawn: bool
    setups: list[Settings]
    trials: list[Trial]  # those that both arms have finished


def compare(
    runs: Sequence[Run],
    pairs: Iterable[Pair],
    margin: float,
    *,
    with_predictions: bool = True,
    strict: bool = False,
    against: Settings | None = None,
) -> list[Tuning]:
    """All searches in these runs, of which `pairs` are twins, in the order of tables.

    They have no verdicts: `families.judge` gives them. `margin`, a fraction: as in `attrition.examine`. With `strict`
    no recipes are tested by runs that were not computed alike.
    """
    twins = {(id(each.baseline), id(each.gated)) for each in pairs}
    searches = progress([*_searches(runs, twins, against)], "tuning", "searches")
    found = [each for search in searches if (each := _tuning(search, with_predictions, strict)) is not None]
    _tell_apart(found)
    judged = [(each, each.comparison) for each in found if each.comparison is not None]
    attrition.examine([made for _, made in judged], margin, runs)
    selection.examine([made for _, made in judged])
    for each, made in judged:
        others = (pairing.other_circumstances(pair.baseline, pair.gated, strict=False) for pair in made.tried)
        if each.halves is Halves.NONE:
            made.doubt = "chosen on the examples that would test it"
        else:
            made.doubt = made.doubt or next(filter(None, others), pairing.dependence(made.tried)[1])
    return sorted(found, key=_place)


def without_trials(pairs: Iterable[Pair], tunings: Iterable[Tuning]) -> list[Pair]:
    """The pairs that are no trials of a random search: of these only what each arm has chosen is compared."""
    trials = {(id(setup), id(each.gate)) for each in tunings if each.is_drawn for setup in each.setups}
    return [each for each in pairs if (id(each.gated.setup), id(each.gated.gate)) not in trials]


def without_drawn(runs: Iterable[Run], tunings: Iterable[Tuning]) -> list[Run]:
    """The runs whose settings no random search has drawn: of each trial there would be too many figures."""
    setups = {id(setup) for each in tunings if each.is_drawn for setup in each.setups}
    return [run for run in runs if id(run.setup) not in setups]


def without_tested(unpaired: Iterable[Unpaired], tunings: Iterable[Tuning]) -> list[Unpaired]:
    """Those that no chosen recipe was tested on: runs of these have a partner of another recipe."""
    tested = {id(run) for made in comparisons(tunings) for run in pairing.members(made.tried)}
    return [each for each in unpaired if not all(id(run) in tested for run in each.runs)]


def comparisons(tunings: Iterable[Tuning]) -> list[Comparison]:
    """What is to be judged of them, in one family with all others."""
    return [each.comparison for each in tunings if each.comparison is not None]


def _searches(runs: Iterable[Run], twins: Container[tuple[int, int]], against: Settings | None) -> Iterator[_Search]:
    plain: dict[Settings, list[Run]] = {}
    groups: dict[tuple[Settings, Frame], dict[Settings, list[Run]]] = {}  # by gate and frame, then by setup
    frames: dict[Settings, Frame] = {}
    for run in runs:
        if settings.is_baseline(run.gate, against):
            plain.setdefault(run.setup, []).append(run)
            continue
        if against is not None and settings.is_baseline(run.gate):
            continue
        if run.setup not in frames:
            frames[run.setup] = _frame(run.setup)
        groups.setdefault((run.gate, frames[run.setup]), {}).setdefault(run.setup, []).append(run)
    for (gate, _), gated in groups.items():
        if len(gated) < FEWEST_TRIALS:
            continue
        spaces: dict[str | None, list[Trial]] = {}
        for setup, members in gated.items():
            trial = next((run.trial for run in [*plain.get(setup, []), *members] if run.trial is not None), None)
            space, number = (trial[0], trial[1:]) if trial is not None else (None, None)
            baselines = cells.independent(plain.get(setup, []))
            theirs = {pairing.shared(run.replicate, against): run for run in baselines}
            ours = {run.replicate: run for run in cells.independent(members)}
            both = {one for one, run in ours.items() if _is_twin(theirs.get(pairing.shared(one, against)), run, twins)}
            spaces.setdefault(space, []).append(Trial(setup, theirs, ours, number, both))
        searched = [each for space, each in spaces.items() if space is not None and len(each) >= FEWEST_TRIALS]
        for members in searched or [list(itertools.chain.from_iterable(spaces.values()))]:
            tried = [trial for trial in members if trial.seeds]
            if len(tried) >= FEWEST_TRIALS:
                yield _Search(gate, against, bool(searched), [trial.setup for trial in members], tried)


def _is_twin(baseline: Run | None, gated: Run, twins: Container[tuple[int, int]]) -> bool:
    return baseline is not None and (id(baseline), id(gated)) in twins and {baseline.status, gated.status} <= FINISHED


def _frame(setup: Settings) -> Frame:
    """Equal for setups that differ in hyper-parameters alone. Sections are shared by the setups that have them."""
    frame: list[object] = []
    for name, section in sorted(setup.sections.items()):
        if any(each.startswith(f"{name}.") for each in HYPERPARAMETERS):
            frame.append(
                (name, *((key, section[key]) for key in sorted(section) if not key.startswith(HYPERPARAMETERS)))
            )
        else:
            frame.append((name, id(section)))
    return tuple(frame)


def _tuning(search: _Search, with_predictions: bool, strict: bool) -> Tuning | None:
    trials = sorted(search.trials, key=lambda trial: trial.number or (0, 0))
    seeds = sorted(set.intersection(*(trial.seeds for trial in trials)))
    if not seeds:
        return None
    first = trials[0].gated[seeds[0]]
    found = tuned_scores.read(_runs(trials, seeds, search.against), with_predictions)
    arms = [
        np.asarray([_mean([found.scores[id(run)] for run in runs]) for runs in side]).T
        for side in zip(*(_arms(trial, seeds, search.against) for trial in trials), strict=True)
    ]
    baseline, gated, difference = best_of.curves(*arms)
    chosen = [trials[best_of.best(arm[0])] for arm in arms]
    keys = dict.fromkeys(key for trial in trials[1:] for key in trials[0].setup.differing(trial.setup))
    made = Tuning(
        model=settings.model(first.setup),
        extra={},
        gate=search.gate,
        task=first.task,
        trials=trials,
        keys=list(keys),
        choosing=seeds,
        setups=search.setups,
        is_drawn=search.is_drawn,
        halves=found.halves,
        reason=found.reason,
        baseline=baseline,
        gated=gated,
        difference=difference,
        chosen=(chosen[0], chosen[1]),
        against=search.against,
    )
    if search.is_drawn:
        made.comparison = _test(made, with_predictions, strict)
    return made


def _runs(trials: Iterable[Trial], seeds: Sequence[Replicate], against: Settings | None) -> list[Run]:
    """Each once: gated runs may share a baseline."""
    runs = (run for trial in trials for arm in _arms(trial, seeds, against) for run in arm)
    return list({id(run): run for run in runs}.values())


def _arms(trial: Trial, seeds: Sequence[Replicate], against: Settings | None) -> tuple[list[Run], list[Run]]:
    return [trial.baseline[pairing.shared(each, against)] for each in seeds], [trial.gated[each] for each in seeds]


def _mean(scores: Sequence[Scores]) -> Scores:
    chooses, reported = zip(*scores, strict=True)
    return float(np.mean(chooses)), float(np.mean(reported))


def _test(tuning: Tuning, with_predictions: bool, strict: bool) -> Comparison | None:
    """The chosen recipe of one arm against the other's, on the half that had no part in the choice.

    On seeds that had no part in it either, where there are enough; they are pairs by seed, not twins. Fills in
    `refused`.
    """
    theirs, ours = tuning.chosen[0].baseline, tuning.chosen[1].gated
    shared = {each: pairing.shared(each, tuning.against) for each in sorted(ours)}
    every = [Pair(theirs[seeds], ours[each]) for each, seeds in shared.items() if seeds in theirs]
    differing = [pairing.other_circumstances(each.baseline, each.gated, strict=True) for each in every]
    tuning.refused = [what for what in differing if what is not None] if strict else []
    both = [pair for pair, what in zip(every, differing, strict=True) if what is None or not strict]
    chose = {each.twin for each in tuning.choosing}
    fresh = [each for each in both if each.gated.replicate.twin not in chose]
    tried = fresh if len(fresh) >= FEWEST_PAIRS else both
    if not tried:
        return None
    measure = tuning.task.primary
    pairs = [each for each in tried if None not in (each.baseline.score(measure), each.gated.score(measure))]
    return Comparison(
        model=tuning.model,
        extra=tuning.extra,
        gate=tuning.gate,
        task=tuning.task,
        measure=measure,
        tried=tried,
        pairs=pairs,
        effect=tuned_scores.effect(pairs, tuning.halves, with_predictions),
        regular=None,
        failures=pairing.failures(tried),
        cautions=comparison.cautions(tried),
    )


def _tell_apart(tunings: Sequence[Tuning]) -> None:
    """Give searches of one model, gate and task the keys that they differ in, but hyper-parameters."""
    alike: dict[tuple[object, ...], list[Tuning]] = {}
    for each in tunings:
        alike.setdefault((each.model, each.task.name), []).append(each)
    for members in alike.values():
        first = members[0].trials[0].setup
        keys = dict.fromkeys(key for each in members for key in first.differing(each.trials[0].setup))
        for each in members:
            kept = [key for key in keys if not key.startswith(HYPERPARAMETERS)]
            each.extra.update({key: each.trials[0].setup.get(key) for key in kept})


def _place(tuning: Tuning) -> tuple[Any, ...]:
    return settings.order([tuning.model, *settings.gate_place(tuning.gate), tuning.task.name])
