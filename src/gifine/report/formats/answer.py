"""What is known of each change over all tasks, in words: a sentence that may be quoted, and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gifine.report import settings
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Basis, Comparison, Effect, Verdict
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.analysis.planned import Held, Kind
from gifine.report.contents import Contents
from gifine.report.formats import tuned
from gifine.report.settings import Settings

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SIDES = {"both": "both sides", "key": "the key side", "query": "the query side"}
_MOST = 6  # changes that are told in words; all are in the table


@dataclass(slots=True, frozen=True)
class Said:
    """Of one change: a sentence with its caveats, which may be quoted alone, and further ones."""

    quote: str
    details: list[str] = field(default_factory=list)


def answer(contents: Contents) -> list[Said]:
    """What the first lines of a report say: of each change, declared ones and those with a verdict first."""
    searched = [
        Said(tuned.sentence(each, change(each.gate), contents.rules))
        for each in contents.tunings
        if each.comparison is not None
    ]
    if not contents.answers and searched:
        return searched[:_MOST]
    if not contents.answers:
        return [Said("Nobody can say: no gated run has a baseline that differs from it in the gate alone.")]
    ordered = sorted(contents.answers, key=_rank)
    said = [Said(sentence(each, contents), _details(each, contents)) for each in ordered[:_MOST]]
    left = len(ordered) - _MOST
    if left > 0:
        undecided = sum(each.effect.verdict is Verdict.UNDECIDED for each in ordered[_MOST:])
        said.append(
            Said(f"{_count(left, 'more change').capitalize()} {_is(left)} in the table, {undecided} of them undecided.")
        )
    return [*said, *searched[:_MOST]]


def _rank(answer: Answer) -> tuple[bool, bool]:
    return not answer.is_declared, answer.effect.verdict is Verdict.UNDECIDED


def sentence(answer: Answer, contents: Contents) -> str:
    """The one to quote. Numbers in points of percent."""
    effect, meant = answer.effect, answer.combined or answer.comparisons
    subject = f"{change(answer.gate)}{_extra(answer)}{_tried(answer, contents)}"
    if not effect.summary.n:
        where = f" on {answer.comparisons[0].task.title}" if len(answer.comparisons) == 1 else ""
        return f"Of {subject.rstrip(',')}{where} with {answer.model}, no pair of runs has two scores yet."
    task = f" ({meant[0].task.title})" if len(meant) == 1 else ""
    words = (
        f"Over {_count(len(meant), 'task')}{task} and {_seeds(meant)}, {subject} changes the score of {answer.model}"
        if effect.summary.mean is not None
        else f"Of {subject.rstrip(',')}, nothing can be said of the score of {answer.model} over "
        f"{_count(len(meant), 'task')} and {_seeds(meant)}"
    )
    if effect.summary.mean is not None:
        words += f" by {_points(effect.summary.mean)}"
    if effect.estimate is not None:
        low, high = effect.estimate.interval()
        words += f" (95 % interval {_signed(low)} … {_signed(high)})"
    elif effect.summary.mean is not None:
        words += " (no interval: no error can be told)"
    verdict = f"{_conclusion(effect, contents.rules.margin)}{_contrary(answer)}"
    return f"{words}{_where(answer)}{_lost(answer)}{_without_gated(answer)}: {verdict}."


def change(gate: Settings) -> str:
    """`GI on both sides at level 0.3 in the last six layers`, `lora with rank=8`."""
    name = settings.other_change(gate)
    layers = gate.get("gi.layers" if name is None else "change.layers")
    words = name or f"GI on {_SIDES.get(str(gate.get('gi.side')), settings.shown(gate.get('gi.side')))}"
    words += f" at level {settings.shown(gate.get('gi.level'))}" if gate.get("gi.level") is not None else ""
    if isinstance(layers, int):
        words += f" in the last {_count(layers, 'layer')}" if layers > 1 else " in the last layer"
    others = settings.unusual(gate)
    return words + (f" with {_joined(others)}" if others else "")


def _seeds(comparisons: Sequence[Comparison]) -> str:
    sizes = [each.effect.summary.n for each in comparisons]
    low, high = min(sizes), max(sizes)
    if not low < high:
        return _count(low, "seed")
    return f"up to {_count(high, 'seed')}" if not low else f"{_number(low)} to {_count(high, 'seed')}"


def _extra(answer: Answer) -> str:
    words = [f"{key}={settings.shown(value)}" for key, value in answer.extra.items()]
    return f" with {_joined(words)}" if words else ""


def _tried(answer: Answer, contents: Contents) -> str:
    """That it is one of several is a caveat, though the verdict is corrected for it."""
    those = [each for each in contents.answers if each.model == answer.model]
    if answer.is_declared:
        those = [each for each in those if each.is_declared]
        which = _planned(contents.plan) if contents.plan is not None else "declared as primary"
        return f", one of {_count(len(those), 'change')} {which}," if len(those) > 1 else f", {which},"
    return f", one of {_count(len(those), 'change')} that were tried," if len(those) > 1 else ""


def _planned(held: Held) -> str:
    """That it was planned, as far as the runs bear it out."""
    early, foreign = held.count(Kind.EARLY, Kind.LATE), held.count(Kind.OTHER, Kind.UNNAMED)
    missing = held.count(Kind.MISSING, Kind.UNFINISHED)
    which = "planned before the runs"
    if early or foreign:
        said = f"{early:,} are older than" if early else f"{foreign:,} do not name"
        which = f"of a plan (of its {len(held.present):,} runs {said} it)"
    return which + (f" with {missing:,} of {len(held.plan.runs):,} runs missing" if missing else "")


def _where(answer: Answer) -> str:
    """What was scored, and when; of runs alone, that the development sets are taken as they are."""
    choices = [each.choice for each in answer.combined or answer.comparisons]
    is_given = answer.effect.basis is Basis.RUNS
    given, which = (", given these development sets", ", which") if is_given else (", on development sets", " that")
    if all(each is None for each in choices):
        return f"{given} after the last epoch"
    if all(each is not None and each.on_other_half for each in choices):
        return f"{given}{which} chose the best epoch with their other half"
    if all(each is not None and not each.on_other_half for each in choices):
        return f"{given}{which} also chose the best epoch"
    return given


def _lost(answer: Answer) -> str:
    """How many pairs have no difference, unless the verdict says so."""
    tried = sum(len(each.tried) for each in answer.comparisons)
    lost = tried - sum(len(each.pairs) for each in answer.comparisons)
    is_said = "pairs are lost" in (answer.effect.why or "")
    return f", with {lost} of {tried} pairs lost" if lost and not is_said else ""


def _contrary(answer: Answer) -> str:
    """Tasks of which the verdict over all tasks is not true."""
    if answer.mean is None or answer.effect.verdict is Verdict.UNDECIDED:
        return ""
    others = [each for each in (Verdict.HELPS, Verdict.HURTS) if each is not answer.effect.verdict]
    found = [f"{each} on {_titles(answer.tasks(each))}" for each in others if answer.tasks(each)]
    return f", though it {_joined(found)}" if found else ""


def _without_gated(answer: Answer) -> str:
    if not answer.alone:
        return ""
    return f", with {answer.alone} {'baseline that has' if answer.alone == 1 else 'baselines that have'} no gated run"


def _conclusion(effect: Effect, margin: float) -> str:
    if effect.verdict is Verdict.SAME:
        return f"no difference above {_plain_points(margin)}"
    if effect.verdict is not Verdict.UNDECIDED:
        return f"it {effect.verdict}"
    if effect.why is None:
        is_clear_alone = effect.interval is not None and (effect.interval[0] > 0 or effect.interval[1] < 0)
        corrected = " after the correction for all that was tried" if is_clear_alone else ""
        return f"undecided{corrected}, which does not mean that there is no difference"
    why = re.sub(r"-(?=\d)", "−", effect.why)
    return f"undecided, since {'a verdict ' if why.startswith('needs ') else ''}{why}"


def _details(answer: Answer, contents: Contents) -> list[str]:
    found = [_tasks(answer, contents.rules.margin)] if len(answer.comparisons) > 1 else []
    if answer.mean is not None and answer.mean.prediction is not None:
        low, high = answer.mean.prediction
        found.append(
            f"On another task like these its true difference would be between {_signed(low)} and {_points(high)} "
            "(95 % prediction interval)."
        )
    if answer.better is not None:
        pairs = sum(len(comparison.pairs) for comparison in answer.comparisons)
        each = answer.better
        alike = ", tasks weighed alike" if len(answer.comparisons) > 1 else ""
        found.append(
            f"In {100 * each.share:.0f} % of {_count(pairs, 'pair')}{alike}, the gated run has the higher score "
            f"({100 * each.low:.0f} – {100 * each.high:.0f} %; ties count half): a meaningful improvement is "
            f"{'' if each.is_meaningful else 'not '}shown."
        )
    if answer.last is not None and answer.effect.summary.mean is not None:
        low, high = answer.last.interval()
        found.append(
            f"With the last epoch in the place of the best one it is {_points(answer.last.mean)} "
            f"({_signed(low)} … {_signed(high)})."
        )
    if answer.losses.counts["baseline"] or answer.losses.counts["gated"]:
        found.append(_attrition(answer))
    for each in answer.left_out:
        few = each.effect.summary.n < FEWEST_PAIRS
        why = f"it has fewer than {FEWEST_PAIRS} pairs" if few else "nothing varies, so no error can be told"
        found.append(f"{each.task.title} is not in the mean: {why}.")
    return found


def _tasks(answer: Answer, margin: float) -> str:
    """On which tasks it does what, after the correction over all comparisons."""
    whole = len(answer.comparisons)
    parts = []
    for verdict, words in (
        (Verdict.HELPS, "helps on"),
        (Verdict.HURTS, "hurts on"),
        (Verdict.SAME, f"makes no difference above {_plain_points(margin)} on"),
    ):
        if answer.tasks(verdict):
            parts.append(f"{words} {_titles(answer.tasks(verdict))}")
    decided = [verdict for verdict in (Verdict.HELPS, Verdict.HURTS) if answer.tasks(verdict)]
    undecided = len(answer.tasks(Verdict.UNDECIDED))
    if not parts:
        return f"Of single tasks, {'both' if whole == 2 else f'all {_number(whole)}'} are undecided."
    if undecided:
        parts.append(f"is undecided on {_number(undecided)}")
    said = f"Task by task, it {_joined(parts)}"
    if decided:
        ats = [f"{verdict} on at least {_number(len(answer.tasks(verdict)))}" for verdict in decided]
        said += f": with 95 % confidence it {_joined(ats)} of {_number(whole)}"
    return f"{said}."


def _attrition(answer: Answer) -> str:
    told = {
        side: _joined([f"{count} {status}" for status, count in counts.items()]) if counts else "none"
        for side, counts in answer.losses.counts.items()
    }
    whole = _count(answer.losses.pairs, "pair")
    return f"Lost or degenerate in {whole} of this change: gated runs {told['gated']}; baselines {told['baseline']}."


def _count(number: int, thing: str) -> str:
    return f"{_number(number)} {thing}{'s' * (number != 1)}"


def _number(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _titles(comparisons: Sequence[Comparison]) -> str:
    return _joined([each.task.title for each in comparisons])


def _signed(fraction: float) -> str:
    """In points of percent, `+0.12` or `−0.21`."""
    return f"{100 * fraction:+.2f}".replace("-", "−")


def _points(fraction: float) -> str:
    return f"{_signed(fraction)} points"


def _plain_points(fraction: float) -> str:
    number = f"{100 * fraction:.6g}"
    return f"{number} point{'s' * (number != '1')}"
