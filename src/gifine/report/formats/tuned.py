"""Equally tuned arms in words: what the best of k trials is expected to score, and the recipes that were chosen."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gifine.commands import counted
from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.analysis.best_of import Interval
from gifine.report.analysis.comparison import Basis
from gifine.report.analysis.families import FEWEST_PAIRS, Rules
from gifine.report.analysis.tuned_scores import Halves
from gifine.report.analysis.tuning import Trial, Tuning
from gifine.report.contents import Contents
from gifine.report.formats import phrases, verdicts
from gifine.report.formats.words import Item, Sheet, ends, linked, p_value, percent, plain, signed
from gifine.report.settings import Settings

_HALVES = {
    Halves.SPLIT: "its epochs and recipe chosen on one half of dev, scores of the other",
    Halves.PREDICTIONS: "its recipe chosen on one half of dev, scores of the other; its epochs chosen on both",
    Halves.NONE: "its recipe chosen on the dev set that the scores are of, which flatters both arms",
}


_WHERE = {
    Halves.SPLIT: "the half of the development set that chose neither recipe nor epoch",
    Halves.PREDICTIONS: "the half of the development set that did not choose the recipe",
    Halves.NONE: "the development set that also chose the recipe",
}

# Of an arm, what its command has words for anyway, and what no command line gives.
_NAMED = {"gi.side", "change.name", "train.parameters", "gi.first", "change.first", "change.file"}


def sheet(contents: Contents) -> Sheet:
    heads = ["model", "change", "task", "trials", "k", "best of k: baseline", "best of k: changed", "difference"]
    heads += ["95 % interval", "chosen: baseline", "chosen: changed", "n", "difference of the chosen", "95 % interval"]
    heads += ["verdict", "p Holm", "p margin"]
    rows = [_row(each, contents.rules) for each in contents.tunings]
    return Sheet("tuning", "Changes and their baseline, tuned equally", heads, rows, _notes(contents))


def sentence(tuning: Tuning, contents: Contents) -> str:
    """What one search says of the recipes that were chosen, to be quoted; `tuning` has a comparison of them."""
    made = tuning.comparison
    assert made is not None
    trials, alike = len(tuning.trials), [each for each in contents.tunings if each.model == tuning.model]
    other = f" in the place of {phrases.change(contents.against)}" if contents.against is not None else ""
    subject = f"{phrases.change(tuning.gate)}{phrases.beside(tuning.extra)}{other}"
    subject += f", tuned by {phrases.count(trials, 'trial')} as its baseline was,"
    if len(alike) > 1:
        subject += f" one of {phrases.number(len(alike))} searches,"
    over = f"one task ({tuning.task.title}) and {phrases.seeds([made])}"
    words = f"Over {over}, {subject} changes the score of {tuning.model}{phrases.difference(made.effect)}"
    if made.effect.summary.mean is None:
        words = f"Of {subject.rstrip(',')}, nothing can be said of the score of {tuning.model} over {over}"
    words += f", {'given' if made.effect.basis is Basis.RUNS else 'on'} {_WHERE[tuning.halves]}"
    words += phrases.lost([made], made.effect)
    return f"{words}: {phrases.conclusion(made.effect, contents.rules.margin)}."


def expected(tuning: Tuning) -> str:
    """What the best of half of the trials would score, by arm."""
    place = tuning.k - 1
    without, gated = (percent(curve.means[place]) for curve in (tuning.baseline, tuning.gated))
    better = tuning.difference
    interval = f" (95 % interval {ends(better.intervals[place])})" if better.intervals[place] is not None else ""
    return (
        f"The best of {phrases.count(tuning.k, 'trial')} is expected to score {without} for the baseline and {gated} "
        f"for the change ({tuning.task.described(tuning.task.primary)}): "
        f"{phrases.points(better.means[place])}{interval}."
    )


def entries(tuning: Tuning) -> dict[str, Any]:
    """For programs; fractions, not percent."""
    arms = {
        side: {
            "expected_best": curve.means,
            "intervals": curve.intervals,
            "trials": [[run.run_id for run in arm.values()] for arm in tried],
        }
        for side, curve, tried in (
            ("baseline", tuning.baseline, [trial.baseline for trial in tuning.trials]),
            ("gated", tuning.gated, [trial.gated for trial in tuning.trials]),
        )
    }
    return {
        "model": tuning.model,
        **tuning.extra,
        **tuning.gate.values(),
        "task": tuning.task.name,
        "measure": tuning.task.primary,
        "drawn": tuning.is_drawn,
        "halves": str(tuning.halves),
        "seeds": tuning.seeds,
        "trials": [
            {key: trial.setup.get(key) for key in tuning.keys}
            | dict(zip(("search.seed", "search.trial"), trial.number or (None, None), strict=True))
            for trial in tuning.trials
        ],
        "left_out": tuning.alone,
        **arms,
        "difference": {"means": tuning.difference.means, "intervals": tuning.difference.intervals},
        "chosen": {
            side: tuning.trials.index(trial) for side, trial in zip(("baseline", "gated"), tuning.chosen, strict=True)
        },
    }


def _row(tuning: Tuning, rules: Rules) -> list[Item]:
    place, effect = tuning.k - 1, tuning.comparison.effect if tuning.comparison is not None else None
    every = [run for trial in tuning.trials for arm in (trial.baseline, trial.gated) for run in arm.values()]
    model = ", ".join([tuning.model, *(f"{key}={settings.shown(value)}" for key, value in tuning.extra.items())])
    words = [
        f"{percent(tuning.baseline.means[place])}{_within(tuning.baseline.intervals[place])}",
        f"{percent(tuning.gated.means[place])}{_within(tuning.gated.intervals[place])}",
        signed(tuning.difference.means[place]),
        ends(tuning.difference.intervals[place]),
    ]
    start = [model, settings.gate(tuning.gate), f"{tuning.task.title} ({tuning.task.described(tuning.task.primary)})"]
    items = [*map(plain, [*start, str(len(tuning.trials)), str(tuning.k)])]
    items += [linked(plain(word), every) for word in words]
    items += [
        linked(plain(_chosen(trial, tuning)), [*arm.values()])
        for trial, arm in zip(tuning.chosen, (tuning.chosen[0].baseline, tuning.chosen[1].gated), strict=True)
    ]
    if tuning.comparison is None or effect is None:
        verdict = "its settings are among the comparisons" if not tuning.is_drawn else ""
        verdict = "no pair was computed alike" if tuning.refused else verdict
        return [*items, *map(plain, ["", "", "", verdict, "", ""])]
    tested = pairing.members(tuning.comparison.pairs)
    mean = effect.summary.mean
    numbers = [str(effect.summary.n), signed(mean) if mean is not None else "–", ends(effect.interval)]
    items += [linked(plain(word), tested) for word in numbers]
    verdict = "; ".join([verdicts.conclusion(effect, rules), *tuning.comparison.cautions])
    return [*items, *map(plain, [verdict, p_value(effect.p_holm), p_value(effect.p_equivalent_holm)])]


def _chosen(trial: Trial, tuning: Tuning) -> str:
    """The trial's number, and its values without the section, which all share."""
    short = [key.rpartition(".")[2] for key in tuning.keys]
    values = ", ".join(
        f"{name} {settings.shown(trial.setup.get(key))}" for name, key in zip(short, tuning.keys, strict=True)
    )
    return f"trial {_number(trial)}: {values}" if trial.number is not None else values


def _number(trial: Trial) -> str:
    assert trial.number is not None
    seed, number = trial.number
    return str(number) if seed == 0 else f"{number} of search.seed={seed}"


def _notes(contents: Contents) -> list[str]:
    tunings = contents.tunings
    if not tunings:
        return []
    notes = [
        "A trial is a recipe that was tried with the change and without; settings that one arm alone has finished are "
        "left out. Best of k: the expected score, in percent, of the best of k trials, k being half of them, the "
        "largest budget of which so many trials tell how sure it is; the intervals are of other draws. A run without "
        "a score counts as the worst. The verdict is about the recipes that each arm chooses of all its trials, over n "
        f"seeds and the examples of the half that did not choose; it needs {FEWEST_PAIRS} seeds, and is corrected "
        "together with all comparisons of the model."
    ]
    alike: dict[tuple[str, str], dict[str, None]] = {}
    for each in tunings:
        alike.setdefault((each.task.title, _how(each)), {})[settings.gate(each.gate)] = None
    notes += [f"{task}, {phrases.joined([*gates])}: {how}" for (task, how), gates in alike.items()]
    return [*notes, *_advice(tunings)]


def _how(tuning: Tuning) -> str:
    said = f"a trial's score is the mean over seed{'s' * (len(tuning.seeds) != 1)} "
    said += f"{', '.join(map(str, tuning.seeds))}, {_HALVES[tuning.halves]}"
    if tuning.reason is not None:
        said += f" ({tuning.reason}; evaluate.split_dev=true makes halves)"
    if tuning.alone:
        said += f"; {counted(tuning.alone, 'setting')} {_be(tuning.alone)} left out"
    if tuning.refused:
        pairs = f"{counted(len(tuning.refused), 'pair')} of the chosen recipes {_be(len(tuning.refused))}"
        said += f"; {pairs} left out by --strict: {'; '.join(dict.fromkeys(tuning.refused))}"
    return f"{said}."


def _be(number: int) -> str:
    return phrases.verb(number, "was", "were")


def _advice(tunings: Sequence[Tuning]) -> Iterator[str]:
    """What would test the chosen recipes, where too few seeds did: of a task's arms, those that chose the same trial
    together."""
    by_task: dict[tuple[object, ...], list[Tuning]] = {}
    for each in tunings:
        if each.is_drawn and each.comparison is not None and each.comparison.effect.summary.n < FEWEST_PAIRS:
            by_task.setdefault((each.model, *each.extra.values(), each.task.name), []).append(each)
    for alike in by_task.values():
        asked: dict[str, dict[str, None]] = {}
        gates = {id(each): _gates(each) for each in alike}
        every = [gate for pair in gates.values() for gate in pair]
        for each in alike:
            for trial, gate in zip(each.chosen, gates[id(each)], strict=True):
                asked.setdefault(_trial(trial), {})[_asked(gate, every)] = None
        words = phrases.joined([f"once with {trial} {arm}" for trial, arms in asked.items() for arm in _together(arms)])
        arms = phrases.joined([settings.gate(each.gate) for each in alike])
        yield (
            f"{alike[0].task.title}, {arms}: to test what was chosen, give the search's command again with "
            f"{FEWEST_PAIRS} or more seeds that chose nothing, and in the place of its trials and arms, {words}."
        )


def _together(arms: Iterable[str]) -> Iterator[str]:
    """Arms that one key tells apart as a list of its values: `change=none,lora`."""
    by_key: dict[str, list[str]] = {}
    for arm in arms:
        key, _, value = arm.partition("=")
        by_key.setdefault(arm if " " in arm else key, []).append(value)
    yield from (key if " " in key else f"{key}={','.join(values)}" for key, values in by_key.items())


def _gates(tuning: Tuning) -> tuple[Settings, Settings]:
    assert tuning.comparison is not None
    first = tuning.comparison.tried[0]
    return first.baseline.gate, first.gated.gate


def _asked(gate: Settings, gates: Sequence[Settings]) -> str:
    """The words of a command line that choose an arm of `gates`, those of a search of GI's sides or of changes.

    With the keys in which it differs from others of the same change, such as `gi.level` or `change.rank`.
    """
    name, parameters = settings.other_change(gate), gate.get("train.parameters")
    of_changes = any(settings.other_change(each) is not None for each in gates)
    if settings.is_plain(gate):
        words, alike = ["change=none" if of_changes else "gi.side=none"], []
    else:
        side = f"gi.side={gate.get('gi.side')}"
        words = [f"change={name}"] if name is not None else ["change=gi", side] if of_changes else [side]
        alike = [each for each in gates if settings.other_change(each) == name and not settings.is_plain(each)]
    differing = {key for each in alike for key in gate.differing(each) if key not in _NAMED}
    keys = [key for key in gate.keys() if key in differing]  # noqa: SIM118 - no dict
    words += [shlex.quote(f"{key}={settings.shown(gate.get(key))}") for key in keys]
    return " ".join([*words, *([f"train.parameters={parameters}"] if parameters is not None else [])])


def _trial(trial: Trial) -> str:
    assert trial.number is not None
    seed, number = trial.number
    return f"search.trial={number}{f' search.seed={seed}' if seed else ''}"


def _within(interval: Interval) -> str:
    """In brackets, of a score; empty where there is none."""
    return f" ({percent(interval[0])} … {percent(interval[1])})" if interval is not None else ""
