"""What is known of each change over all tasks, in words: a sentence that may be quoted, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gifine.commands import counted
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Basis, Comparison, Verdict
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.analysis.planned import Held, Kind
from gifine.report.contents import Contents
from gifine.report.formats import phrases, tuned
from gifine.report.formats.words import LEFT_OUT, UNPAIRED, ends, signed

_MOST = 6  # changes that are told in words; all are in the table
_MOST_DECLARED = 3  # tasks that are told with their numbers


@dataclass(slots=True, frozen=True)
class Said:
    """Of one change: a sentence with its caveats, which may be quoted alone, and further ones."""

    quote: str
    details: list[str] = field(default_factory=list)


def answer(contents: Contents) -> list[Said]:
    """What the first lines of a report say: of each change, declared ones and those with a verdict first."""
    searched = [
        Said(tuned.sentence(each, contents), [tuned.expected(each)])
        for each in contents.tunings
        if each.comparison is not None
    ]
    ordered = sorted(contents.answers, key=_rank)
    said = [Said(sentence(each, contents), _details(each, contents)) for each in ordered[:_MOST]]
    left = ordered[_MOST:]
    if left:
        undecided = sum(each.effect.verdict is Verdict.UNDECIDED for each in left)
        how_many = "all" if undecided == len(left) > 1 else undecided
        words = f"{_settings(left, 'more')} {phrases.verb(len(left), 'is', 'are')} in the table, {how_many} of them"
        said.append(Said(f"{words[0].upper()}{words[1:]} undecided."))
    said += searched[:_MOST]
    if not said:
        why = "no changed run has a baseline that differs from it in the change alone"
        if any(each.refused for each in contents.tunings):
            why = "no runs of the recipes that were chosen were computed alike, as --strict wants it"
        said = [Said(f"Nobody can say: {why}.")]
    return said + [Said(each) for each in (_left_out(contents), _unpaired(contents)) if each]


def _rank(answer: Answer) -> tuple[bool, bool]:
    is_named = any(each.is_declared for each in answer.comparisons)
    return not is_named, answer.effect.verdict is Verdict.UNDECIDED


def _left_out(contents: Contents) -> str:
    """Records that count nowhere: whoever damages them changes the answer."""
    twice = sum(each.is_double for each in contents.problems)
    unread = len(contents.problems) - twice
    parts = [f"{phrases.count(unread, 'record')} cannot be read"] if unread else []
    if twice:
        asks = phrases.verb(twice, "asks", "ask")
        parts.append(f"{phrases.count(twice, 'record')} {asks} for the same result as another one")
    if not parts:
        return ""
    words = f"{phrases.joined(parts)}, and {phrases.verb(unread + twice, 'counts', 'count')} nowhere"
    return f"{words[0].upper()}{words[1:]}: the list is under “{LEFT_OUT}”."


def _unpaired(contents: Contents) -> str:
    """Runs that no comparison has, as their partners were deleted or never run."""
    alone, whole = sum(len(each.runs) for each in contents.unpaired), len(contents.runs)
    if not alone or not (contents.comparisons or contents.tunings):
        return ""
    verbs = phrases.verb(alone, "has no partner and is", "have no partner and are")
    words = f"Of {phrases.count(whole, 'run')}, {phrases.number(alone)} {verbs} in no comparison"
    return f"{words}: the list is under “{UNPAIRED}”."


def sentence(answer: Answer, contents: Contents) -> str:
    """The one to quote. Numbers in points of percent."""
    effect, meant, margin = answer.effect, answer.combined or answer.comparisons, contents.rules.margin
    other = f" in the place of {phrases.change(contents.against)}" if contents.against is not None else ""
    subject = f"{phrases.change(answer.gate)}{phrases.beside(answer.extra)}{other}{_tried(answer, contents)}"
    if not effect.summary.n:
        where = f" on {answer.comparisons[0].task.title}" if len(answer.comparisons) == 1 else ""
        return f"Of {subject.rstrip(',')}{where} with {answer.model}, no pair of runs has two scores yet."
    task = f" ({meant[0].task.title})" if len(meant) == 1 else ""
    tasks, seeds = f"{phrases.count(len(meant), 'task')}{task}", phrases.seeds(meant)
    words = f"Over {tasks} and {seeds}, {subject} changes the score of {answer.model}{phrases.difference(effect)}"
    if effect.summary.mean is None:
        words = f"Of {subject.rstrip(',')}, nothing can be said of the score of {answer.model} over {tasks} and {seeds}"
    words += f"{_where(answer)}{phrases.lost(answer.comparisons, effect)}{_without_gated(answer)}"
    return f"{words}: {phrases.conclusion(effect, margin)}{_contrary(answer)}{_declared(answer, contents)}."


def _tried(answer: Answer, contents: Contents) -> str:
    """That it is one of several is a caveat, though the verdict is corrected for it."""
    those = [each for each in contents.answers if each.model == answer.model]
    if answer.is_declared:
        those, which = [each for each in those if each.is_declared], _how_declared(contents)
        return f", one of {_settings(those)} {which}," if len(those) > 1 else f", {which},"
    return f", one of {_settings(those)} that were tried," if len(those) > 1 else ""


def _settings(answers: Sequence[Answer], more: str = "") -> str:
    """`three changes`, or `four settings of two changes`: with another learning rate a gate is no other change."""
    more = f"{more} " if more else ""
    gates = len({(each.model, each.gate) for each in answers})
    if gates == len(answers):
        return phrases.count(gates, f"{more}change")
    return f"{phrases.count(len(answers), f'{more}setting')} of {phrases.count(gates, 'change')}"


def _how_declared(contents: Contents) -> str:
    return _planned(contents.plan) if contents.plan is not None else "declared as primary"


def _declared(answer: Answer, contents: Contents) -> str:
    """What is known of tasks that were named before, where the answer is of others as well."""
    those = [each for each in answer.comparisons if each.is_declared]
    if answer.is_declared or not those:
        return ""
    family, how = those[0].family, _how_declared(contents)
    role = f"one of {phrases.count(family, 'comparison')} {how}" if family > 1 else how
    found: dict[str, list[Comparison]] = {}
    for each in those:
        known = phrases.difference(each.effect) if len(those) <= _MOST_DECLARED else ""
        changes = f"it changes the score{known}, " if known else ""
        found.setdefault(f"{changes}{phrases.conclusion(each.effect, contents.rules.margin)}", []).append(each)
    return "".join(f"; on {phrases.titles(tasks)}, {role}, {words}" for words, tasks in found.items())


def _planned(held: Held) -> str:
    """That it was planned, as far as the runs bear it out."""
    early, foreign = held.count(Kind.EARLY, Kind.LATE), held.count(Kind.OTHER, Kind.UNNAMED)
    missing = held.count(Kind.MISSING, Kind.UNFINISHED)
    which = "planned before the runs"
    undated = len(held.undated)
    if early or foreign or undated:
        older = f"{early:,} {phrases.verb(early, 'is', 'are')} older than it"
        unnamed = f"{foreign:,} {phrases.verb(foreign, 'does', 'do')} not name it"
        said = older if early else unnamed if foreign else f"of {undated:,} the start is not recorded"
        which = f"of a plan (of its {counted(len(held.present), 'run')} {said})"
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


def _contrary(answer: Answer) -> str:
    """Tasks of which the verdict over all tasks is not true."""
    if answer.mean is None or answer.effect.verdict is Verdict.UNDECIDED:
        return ""
    others = [each for each in (Verdict.HELPS, Verdict.HURTS) if each is not answer.effect.verdict]
    found = [f"{each} on {phrases.titles(answer.tasks(each))}" for each in others if answer.tasks(each)]
    return f", though it {phrases.joined(found)}" if found else ""


def _without_gated(answer: Answer) -> str:
    if not answer.alone:
        return ""
    return f", with {answer.alone} {'baseline that has' if answer.alone == 1 else 'baselines that have'} no changed run"


def _details(answer: Answer, contents: Contents) -> list[str]:
    found = [_tasks(answer, contents.rules.margin)] if len(answer.comparisons) > 1 else []
    if answer.mean is not None and answer.mean.prediction is not None:
        low, high = answer.mean.prediction
        found.append(
            f"On another task like these its true difference would be between {signed(low)} and {phrases.points(high)} "
            "(95 % prediction interval)."
        )
    if answer.is_by_run:
        found.append(
            "Tasks of it start from the same runs, or are what these were trained on, so luck of one is luck on all of "
            "them: the interval has what they have in common in it."
        )
    if answer.better is not None:
        pairs = sum(len(comparison.pairs) for comparison in answer.comparisons)
        each = answer.better
        alike = ", tasks weighed alike" if len(answer.comparisons) > 1 else ""
        found.append(
            f"In {100 * each.share:.0f} % of {phrases.count(pairs, 'pair')}{alike}, the changed run has the higher "
            f"score ({100 * each.low:.0f} – {100 * each.high:.0f} %; ties count half): a meaningful improvement is "
            f"{'' if each.is_meaningful else 'not '}shown."
        )
    if answer.last is not None and answer.effect.summary.mean is not None:
        found.append(
            f"With the last epoch in the place of the best one it is {phrases.points(answer.last.mean)} "
            f"({ends(answer.last.interval())})."
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
        (Verdict.SAME, f"makes no difference above {phrases.plain_points(margin)} on"),
    ):
        if answer.tasks(verdict):
            parts.append(f"{words} {phrases.titles(answer.tasks(verdict))}")
    decided = [verdict for verdict in (Verdict.HELPS, Verdict.HURTS) if answer.tasks(verdict)]
    undecided = len(answer.tasks(Verdict.UNDECIDED))
    if not parts:
        return f"Of single tasks, {'both' if whole == 2 else f'all {phrases.number(whole)}'} are undecided."
    if undecided:
        parts.append(f"is undecided on {phrases.number(undecided)}")
    said = f"Task by task, it {phrases.joined(parts)}"
    if decided:
        ats = [f"{verdict} on at least {phrases.number(len(answer.tasks(verdict)))}" for verdict in decided]
        said += f": with 95 % confidence it {phrases.joined(ats)} of {phrases.number(whole)}"
    return f"{said}."


def _attrition(answer: Answer) -> str:
    told = {
        side: phrases.joined([f"{count} {status}" for status, count in counts.items()]) if counts else "none"
        for side, counts in answer.losses.counts.items()
    }
    whole = phrases.count(answer.losses.pairs, "pair")
    return f"Lost or degenerate in {whole} of this change: changed runs {told['gated']}; baselines {told['baseline']}."
